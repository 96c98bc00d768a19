"""The command line `hubserve`; `app` is its entry point.

Commands import the modules that they need when they run, so that `hubserve --help` answers fast, without importing torch.
"""

import sys

if sys.platform == "win32":
    # Without this check, commands would fail late, where they use the locks, process groups and signals of POSIX.
    sys.exit("hubserve does not support Windows: use Linux, macOS, WSL or a container")

from hubserve.cli.main import app

__all__ = ["app"]
