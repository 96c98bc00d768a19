"""A client of the HTTP service. It needs no model code: besides the errors it imports httpx2 alone."""

from __future__ import annotations

from hubserve.client.client import Client

__all__ = ["Client"]
