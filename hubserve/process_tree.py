"""All processes below one process: listed from /proc, their memory added up, ended together.

A process that moved to a group or session of its own is found as well, and one whose parent has ended, as long as the process
at the top is the one that the kernel gives such orphans to (`adopt_orphans`). Without /proc, as on macOS, nothing is found.
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
    """Makes this process the new parent of all processes below it whose own parents end, or no longer; Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def end_with_parent() -> None:
    """Has the kernel kill this process when its parent ends, however that happens; Linux only. Lasts through exec."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Ids of all processes below `pid`, those that ended and wait for their parent left out."""
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
    """(id, id of its parent) of each process of this machine that is alive."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                # Behind the name of the program, which may hold spaces and brackets.
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state not in (b"Z", b"X"):
                    found.append((int(name), int(parent)))
    return found


def memory_bytes(pid: int, limit: float = 0.0) -> int:
    """Memory of all processes below `pid`, in bytes; pages that several of them share count once where it matters.

    Args:
        pid: The process at the top, itself left out.
        limit: Where the sum that counts shared pages for each process is below this, that one is returned: it is faster.
    """
    below = descendants(pid)
    quick = sum(_field(f"/proc/{each}/status", b"RssAnon:", b"RssShmem:") for each in below)
    return quick if quick <= limit else sum(_field(f"/proc/{each}/smaps_rollup", b"Pss_Anon:", b"Pss_Shmem:") for each in below)


def _field(path: str, *names: bytes) -> int:
    """Sum of the fields `names` of a file of /proc, in bytes; 0 where the process has ended."""
    try:
        with open(path, "rb") as file:
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(names))
    except (OSError, ValueError, IndexError):
        return 0


def kill_descendants(pid: int, *, seconds: float) -> bool:
    """Kills all processes below `pid`, also those that they start meanwhile; whether none is left after `seconds`."""
    end = time.monotonic() + seconds
    while below := descendants(pid):
        # Stopped first: what is stopped starts no further process while the others are being killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for each in below:
                with suppress(OSError):
                    os.kill(each, number)
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def kill_tree(pid: int, *, seconds: float) -> None:
    """Kills `pid` and all processes below it."""
    kill_descendants(pid, seconds=seconds)
    with suppress(OSError):
        os.kill(pid, signal.SIGKILL)
