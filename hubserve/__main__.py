"""`python -m hubserve` is `hubserve`."""

from hubserve.cli import app

app()
