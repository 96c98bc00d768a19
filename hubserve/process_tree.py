"""Lists all descendants of a process from /proc, sums their memory, and kills them.

Descendants in other process groups and sessions are found, too. Those whose parent has ended are found if the process at the
top adopts orphans (`adopt_orphans`). Without /proc, as on macOS, no descendants are found.
"""

import ctypes
import os
import signal
import time
from collections import defaultdict
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

PAUSE_SECONDS = 0.02


def adopt_orphans(adopt: bool = True) -> None:
    """Makes this process the new parent of each descendant whose own parent ends; does nothing except on Linux.

    Args:
        adopt: False ends the adoption; later orphans get the parent that the kernel chooses by default.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def end_with_parent() -> None:
    """Has the kernel kill this process when its parent ends for any reason; does nothing except on Linux.

    The setting stays in force when the process runs another program by exec.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Returns the ids of all descendants of the process `pid`, in no particular order, without zombies."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for child, parent in _parents():
        children[parent].append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.pop(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _parents() -> list[tuple[int, int]]:
    """Returns (id, id of its parent) of each process on this machine that has not ended; empty without /proc."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                # The fields follow the name of the program in brackets, which may itself contain spaces and brackets.
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found.append((int(name), int(parent)))
    return found


def memory_bytes(pid: int, limit: float = 0.0) -> int:
    """Returns the anonymous and shared memory of all descendants of a process together, in bytes, without cached files.

    A fast sum, which counts a page once for each process that shares it, is computed first. If it exceeds `limit`, a slower
    sum that counts each page once is returned instead.

    Args:
        pid: Id of the process at the top, whose own memory is not included.
        limit: Bytes up to which the fast sum is returned, since it is never too small.
    """
    below = descendants(pid)
    quick = sum(_field(f"/proc/{each}/status", b"RssAnon:", b"RssShmem:") for each in below)
    return quick if quick <= limit else sum(_field(f"/proc/{each}/smaps_rollup", b"Pss_Anon:", b"Pss_Shmem:") for each in below)


def _field(path: str, *names: bytes) -> int:
    """Returns the sum of the fields `names` in a file of /proc, in bytes; 0 if the process has ended."""
    try:
        with open(path, "rb") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(names))
    except (OSError, ValueError, IndexError):
        return 0


def kill_descendants(pid: int, *, seconds: float) -> bool:
    """Kills all descendants of `pid`, also those started meanwhile, and waits at most `seconds` for them to end.

    Returns:
        Whether no descendant is left.
    """
    end = time.monotonic() + seconds
    while below := descendants(pid):
        # All are stopped first, as a stopped process cannot start another one while the others are killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for each in below:
                with suppress(OSError):
                    os.kill(each, number)
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def kill_tree(pid: int, *, seconds: float) -> None:
    """Kills the process `pid` and all its descendants; waits at most `seconds` for the descendants to end."""
    kill_descendants(pid, seconds=seconds)
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
