"""A process with all its descendants: which they are, and which sockets of theirs take connections."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def tree(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    with suppress(OSError):
        for task in (PROC / str(pid) / "task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def listening(pid: int) -> set[str]:
    """Sockets of the tree that a process outside it can open, such as "tcp 127.0.0.1:3000", "unix @name", "udp 0.0.0.0:53"."""
    return listening_of(tree(pid))


def listening_of(pids: list[int]) -> set[str]:
    """Sockets of these processes alone, as `listening` names them."""
    inodes = {inode for one in pids for inode in _sockets(one)}
    found = set()
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        for line in _rows(kind):
            if line[9] in inodes and (line[3] == "0A" or not kind.startswith("tcp")):
                found.add(f"{kind} {_address(line[1])}")
    for line in _rows("unix"):
        # A pair of connected sockets has no path, and takes no connections.
        if line[6] in inodes and (int(line[3], 16) & 0x10000 or len(line) > 7):
            found.add(f"unix {' '.join(line[7:])}")
    return found


def connections(pid: int, port: int) -> int:
    """Number of connections at a local port for TCP that a process has accepted."""
    inodes = _sockets(pid)
    rows = [line for kind in ("tcp", "tcp6") for line in _rows(kind)]
    return sum(line[9] in inodes and line[3] == "01" and int(line[1].split(":")[1], 16) == port for line in rows)


def _sockets(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _rows(kind: str) -> list[list[str]]:
    with suppress(OSError):
        return [line.split() for line in (PROC / "net" / kind).read_text().splitlines()[1:]]
    return []


def _address(text: str) -> str:
    address, port = text.split(":")
    if len(address) == 8:
        address = ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))
    return f"{address}:{int(port, 16)}"
