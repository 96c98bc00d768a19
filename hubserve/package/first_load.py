"""Loads an ONNX file for the first time in a separate process, with limits on its time and memory.

A file may hold a loop of 2^62 rounds, constants that take hours to fold, or a tensor of a terabyte, and a thread that loads
such a file cannot be stopped. So a server or a command loads a file itself only after a separate process has loaded it.

Files that were loaded are recorded in HUBSERVE_HOME/loaded, by the hash of the file, the library with its version, and the
device. Files that this user's own exports wrote need no first load: the export has already run them on this machine and
compared their logits with those of PyTorch.

Environment:
    HUBSERVE_LOAD_SECONDS: Time limit of a first load in seconds; 60 if it is not set.
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
from hubserve.package.manifest import InputEntry

WORKER = "hubserve.workers.first_load"

FOLDER = "loaded"

SECONDS = 60.0
"""Time limit of a first load in seconds if HUBSERVE_LOAD_SECONDS is not set."""

MEMORY_SHARE = 0.75
"""Largest share of the available memory of the machine or container that a first load may take."""

_known: set[str] = set()
"""Keys (see `_key`) of the files that were loaded, for this process: it may be unable to write HUBSERVE_HOME/loaded."""


class FirstLoad:
    """A separate process that loads an ONNX file and runs it; the constructor starts the process.

    The process ends when it is done or when its time limit is reached. Call `check` to wait for it and get the result.

    Args:
        path: Path of the ONNX file.
        sha256: SHA-256 of its content, in hexadecimal.
        backends: What loads and runs the file, one after the other: names of ONNX formats such as "onnx", or "openvino". Files
            of models other than image classifiers are always run by ONNX Runtime.
        inputs: Inputs of the model. An image classifier is run on zeros, and other models on made-up inputs.
        batches: Batch sizes that are run.
        device: "cpu", "cuda" or "auto". The load is recorded for this name, so one for "auto" is not known for "cpu" or "cuda".
            The memory of the process is limited only for "cpu".
        seconds: Time limit in seconds; None takes HUBSERVE_LOAD_SECONDS, or 60 s if it is not set.
        memory_bytes: Memory in bytes that the process may take in addition to that of its libraries. It is limited to 75 % of
            the available memory, which is also what None means.
        nice: Number by which the priority of the process is lowered, as in `os.nice`.

    Attributes:
        seconds: Time limit in seconds.
        started: Time of `time.monotonic()` at which the process was started.

    Raises:
        OSError: The process cannot be started.
        LoadLimitError: `seconds` is None and HUBSERVE_LOAD_SECONDS is not a number above 0.
    """

    def __init__(
        self,
        path: Path,
        sha256: str,
        backends: Sequence[str],
        *,
        inputs: Sequence[InputEntry],
        batches: Sequence[int] = (1, 2),
        device: str = "cpu",
        seconds: float | None = None,
        memory_bytes: float | None = None,
        nice: int = 0,
    ) -> None:
        self._path, self._keys = path, [_key(sha256, backend, device) for backend in backends]
        self.seconds = seconds or _seconds()
        available = min(available_memory_bytes() * MEMORY_SHARE, 2.0**62)
        self._memory_bytes = min(memory_bytes or available, available)
        request = {
            "path": str(path.resolve()),
            "backends": list(backends),
            "inputs": [entry.model_dump(mode="json") for entry in inputs],
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
        """Whether the process has ended. If it still runs after its time limit, it is killed, and has ended a moment later."""
        if self._process.poll() is None and time.monotonic() - self.started > self.seconds:
            self._process.kill()
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kills the process and waits until it has ended; does nothing if it has ended already."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def check(self) -> None:
        """Waits until the process has ended; if it loaded and ran the file, records that, so that `is_known` returns True.

        A process that has not ended 5 s after its time limit is killed. Call it once.

        Raises:
            LoadLimitError: Loading or running the file took too much time or memory, or the process crashed or was killed.
            HubserveError: Loading or running the file failed; the class and the message are those of the error in the process,
                usually ExportError.
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


def _seconds() -> float:
    """Returns HUBSERVE_LOAD_SECONDS, or `SECONDS` if it is not set. Raises LoadLimitError if it is not a number above 0."""
    text = os.environ.get("HUBSERVE_LOAD_SECONDS") or str(SECONDS)
    with suppress(ValueError):
        if (seconds := float(text)) > 0:
            return seconds
    raise LoadLimitError(f"HUBSERVE_LOAD_SECONDS is {text!r}; set a number of seconds above 0, or unset it for {SECONDS:g}")


def is_known(sha256: str, backend: str, device: str = "cpu") -> bool:
    """Returns whether a file needs no first load: it was loaded before, or this user's own export wrote it.

    Args:
        sha256: SHA-256 of the content of the file, in hexadecimal.
        backend: What will load it: the name of an ONNX format, or "openvino". All ONNX formats count as one.
        device: "cpu" or "cuda".
    """
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
    """Returns the name under which a load is recorded: a hash of the file's hash, the library, its version and the device.

    The version is part of it because another version of the library may fail on the same file.
    """
    library = "openvino" if backend == "openvino" else "onnxruntime"
    version = next((metadata.version(name) for name in (library, f"{library}-gpu") if _installed(name)), "")
    return hashlib.sha256(f"{sha256} {library} {version} {device}".encode()).hexdigest()


def _installed(name: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        metadata.version(name)
        return True
    return False
