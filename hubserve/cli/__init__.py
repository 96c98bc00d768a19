"""The command line. `app` is the entry point.

Commands import what they need when they run, so that `hubserve --help` answers without loading torch.
"""

from __future__ import annotations

from hubserve.cli.main import app

__all__ = ["app"]
