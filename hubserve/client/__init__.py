"""A client of the HTTP service. It needs no model code: besides the errors it imports httpx2 alone."""

from hubserve.client.client import Client

__all__ = ["Client"]
