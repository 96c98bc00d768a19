"""Runs the command line: `python -m hubserve` does the same as the command `hubserve`."""

from hubserve.cli import app

app()
