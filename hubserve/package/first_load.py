"""The first load of an ONNX file, in a process of its own with a limit of time and of memory.

A file may hold a loop of 2^62 rounds, constants that take hours to fold, or a tensor of a terabyte, and a thread that loads
one cannot be stopped. So the process that serves, or a command, loads a file itself only once another one has done it. That
is remembered by the hash of the file, what ran it and its version, in HUBSERVE_HOME/loaded; files that this user's own exports
wrote count as known, since their logits were compared with PyTorch's on this machine.

Environment:
    HUBSERVE_LOAD_SECONDS: Longest time of a first load, 60 s unless set.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from hubserve import errors, home
from hubserve.errors import HubserveError, LoadLimitError, OutputError
from hubserve.host import available_memory_bytes
from hubserve.package import trust

WORKER = "hubserve.workers.first_load"

FOLDER = "loaded"

SECONDS = 60.0
"""Longest time of a first load, unless HUBSERVE_LOAD_SECONDS says another."""

MEMORY_SHARE = 0.75
"""Largest share of the memory that is available on the machine, or in the container, that a first load may take."""

_known: set[str] = set()
"""What was loaded, for this process: the folder may be one that cannot be written."""


class FirstLoad:
    """A process that loads an ONNX file and runs it; it ends by itself when its time is over.

    Args:
        path: ONNX file.
        sha256: Hash of its content.
        backends: What runs it, one after the other: "onnx", another format in ONNX, or "openvino".
        input_size: Height and width of its input, in pixels.
        batches: Batch sizes that are run.
        device: "cpu", "cuda" or "auto". On a GPU the memory is not limited.
        seconds: Longest time; None takes HUBSERVE_LOAD_SECONDS.
        memory_bytes: Largest memory beside that of the libraries; at most 75 % of what is available; None takes that.
        nice: How much the process gives way to others, as in os.nice.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        path: Path,
        sha256: str,
        backends: Sequence[str],
        *,
        input_size: int,
        batches: Sequence[int] = (1, 2),
        device: str = "cpu",
        seconds: float | None = None,
        memory_bytes: float | None = None,
        nice: int = 0,
    ) -> None:
        self._path, self._keys = path, [_key(sha256, backend, device) for backend in backends]
        self.seconds = seconds or float(os.environ.get("HUBSERVE_LOAD_SECONDS") or SECONDS)
        available = min(available_memory_bytes() * MEMORY_SHARE, 2.0**62)
        self._memory_bytes = min(memory_bytes or available, available)
        request = {
            "path": str(path.resolve()),
            "backends": list(backends),
            "input_size": input_size,
            "batches": list(batches),
            "device": device,
            "seconds": self.seconds,
            "memory_bytes": int(self._memory_bytes),
            "nice": nice,
        }
        command = [sys.executable, "-W", "ignore", "-m", WORKER, json.dumps(request)]
        self.started = time.monotonic()
        # A session of its own: Ctrl-C reaches us alone, and we end it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    @property
    def ended(self) -> bool:
        """Whether it has ended; it is ended here where its time is over."""
        if self._process.poll() is None and time.monotonic() - self.started > self.seconds:
            self._process.kill()
        return self._process.poll() is not None

    def kill(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def check(self) -> None:
        """Waits for the end, and remembers the file where it was loaded.

        Raises:
            LoadLimitError: It took too long or too much memory, or the process crashed.
            HubserveError: The error that loading or running it raised.
        """
        try:
            # The process ends itself first: this is for one that is stopped, or has not come so far.
            output, _ = self._process.communicate(timeout=max(0.0, self.started + self.seconds + 5 - time.monotonic()))
        except subprocess.TimeoutExpired:
            output = b""
        finally:
            self.kill()
        try:
            answer = json.loads(output.splitlines()[-1])
        except (ValueError, IndexError):
            raise LoadLimitError(self._reason(-(self._process.returncode or 0))) from None
        if answer.get("memory"):
            raise LoadLimitError(self._memory_reason())
        if answer:
            kind: type[HubserveError] = getattr(errors, answer["type"], HubserveError)
            raise kind(answer["message"])
        _remember(self._keys)

    def _reason(self, number: int) -> str:
        if number == signal.SIGALRM or time.monotonic() - self.started >= self.seconds:
            return (
                f"{self._path} was not loaded and run within {self.seconds:g} s, so it is refused; HUBSERVE_LOAD_SECONDS is "
                "the limit, and a file that exceeds any may never end"
            )
        if number == signal.SIGKILL:
            return self._memory_reason()
        name = signal.Signals(number).name if number in list(signal.Signals) else f"exit code {-number}"
        return f"{self._path} ended the process that loaded it for the first time ({name}), so it is refused"

    def _memory_reason(self) -> str:
        return f"{self._path} takes more than the {self._memory_bytes / 1e6:,.0f} MB that loading it may take, so it is refused"


def is_known(sha256: str, backend: str, device: str = "cpu") -> bool:
    """Whether a file was loaded before by this backend, or written by this user's own export."""
    key = _key(sha256, backend, device)
    if key in _known or trust.was_written_here(sha256):
        return True
    with suppress(OutputError, OSError):
        return (home.home() / FOLDER / key).is_file()
    return False


def _remember(keys: Sequence[str]) -> None:
    _known.update(keys)
    with suppress(OutputError, OSError):
        folder = home.home() / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for key in keys:
            (folder / key).touch()


def _key(sha256: str, backend: str, device: str) -> str:
    """Another version of the library may do something else with the same file."""
    library = "openvino" if backend == "openvino" else "onnxruntime"
    version = next((metadata.version(name) for name in (library, f"{library}-gpu") if _installed(name)), "")
    return hashlib.sha256(f"{sha256} {library} {version} {device}".encode()).hexdigest()


def _installed(name: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        metadata.version(name)
        return True
    return False
