"""Searched neural architectures in production: model spaces, exact pre-searched models, export, HTTP serving."""

__version__ = "0.1.0"
