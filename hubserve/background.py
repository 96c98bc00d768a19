"""Processes that outlive whoever starts them."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

NOBODYS_CHILD = ("/bin/sh", "-c", 'echo $$ >"$0"; "$@" &')
"""A session of its own is not enough: BentoML's supervisor signals all descendants of a worker that is to end. The shell that
starts the process ends at once, and then the process is not among them."""


def start_detached(
    command: Sequence[str],
    *,
    log: BinaryIO,
    lock: int,
    group_file: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Starts `command` in a session of its own, without input, deaf to SIGINT, and as nobody's child.

    Args:
        command: program and arguments.
        log: takes its output.
        lock: descriptor that stays open in it.
        group_file: gets the number of its process group, for `os.killpg`, before it starts.
        cwd: working folder; ours unless given.
        environment: in place of ours.

    Raises:
        OSError: there is no such program, or no process can be started. What becomes of the command is not known here.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    subprocess.run(
        [*NOBODYS_CHILD, str(group_file), *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=cwd,
        env=environment,
        start_new_session=True,
        pass_fds=(lock,),
    )
