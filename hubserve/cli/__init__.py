"""The command line. `app` is the entry point.

Commands import what they need when they run, so that `hubserve --help` answers without loading torch.
"""

import sys

if sys.platform == "win32":
    # Locks, process groups and signals of POSIX are used in many places; without them nothing would fail early.
    sys.exit("hubserve does not support Windows: use Linux, macOS, WSL or a container")

from hubserve.cli.main import app

__all__ = ["app"]
