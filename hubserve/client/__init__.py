"""Clients of the HTTP service. They import no code of models: httpx2 and `hubserve.errors`, and numpy for arrays alone."""

from hubserve.client.answers import ClassifiedImage, ClassifiedText, EmbeddedImage, PredictedClass
from hubserve.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "ClassifiedImage", "ClassifiedText", "Client", "EmbeddedImage", "PredictedClass"]
