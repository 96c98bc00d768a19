"""A client of the HTTP service. It imports no code of models: only httpx2 and `hubserve.errors`."""

from hubserve.client.client import Client

__all__ = ["Client"]
