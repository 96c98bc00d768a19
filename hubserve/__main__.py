"""`python -m hubserve` is `hubserve`."""

from __future__ import annotations

from hubserve.cli import app

app()
