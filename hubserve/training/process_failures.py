"""`ProcessFailures`: carries the errors of processes that train together to the process that started them."""

import pickle
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from hubserve.atomic import write_atomic
from hubserve.errors import EvaluatorError, HubserveError

GRACE_SECONDS = 1.0
"""Seconds for which a process waits before it ends with its error.

If another process was killed, that one is found to have ended first. If all processes raise the same error, as at the end of a
trial that is pruned, the first process has the time to record its own."""


@dataclass(frozen=True)
class ProcessFailures:
    """Records of the errors that processes raised, in a folder, one file for each process.

    The error of one process makes the others fail, too, since they cannot reach it any more. So a record has the time at which
    it was written: the earliest one is of the process that failed first.

    Attributes:
        folder: An existing folder, which has only records of this training.
    """

    folder: Path

    def record(self, rank: int, error: Exception) -> None:
        """Records an error; waits for `GRACE_SECONDS` unless it is a `HubserveError` of the first process.

        If the file cannot be written, the error is not recorded, and none is raised.

        Args:
            rank: Number of the process, from 0.
            error: The error that ends the process.
        """
        text = f"{type(error).__name__}: {error}"
        content = pickle.dumps((time.time(), rank, text, _portable(error)))
        with suppress(OSError):
            write_atomic(self.folder / f"failure-{rank}", content)
        if rank or not isinstance(error, HubserveError):
            time.sleep(GRACE_SECONDS)

    def cause(self, ended: ProcessExitedException | ProcessRaisedException) -> HubserveError:
        """Returns the error that ended the training.

        It is the `HubserveError` that a process raised, of several that of the process with the smallest number. Otherwise it
        is an `EvaluatorError` with a sentence about the process that was killed, or else about the first other error.

        Args:
            ended: What torch found about the first process that ended.
        """
        records = [pickle.loads(file.read_bytes()) for file in sorted(self.folder.glob("failure-*"))]
        raised = [(rank, error) for _, rank, _, error in records if error is not None]
        if raised:
            return min(raised, key=lambda found: found[0])[1]  # type: ignore[no-any-return]
        if records and not (isinstance(ended, ProcessExitedException) and ended.signal_name):
            _, rank, text, _ = min(records)
            return EvaluatorError(f"process {rank} of a training on several devices failed: {text}")
        if isinstance(ended, ProcessRaisedException):
            last = str(ended).strip().rpartition("\n")[2]
            return EvaluatorError(f"process {ended.error_index} of a training on several devices failed: {last}")
        how = ended.signal_name or f"exit code {ended.exit_code}"
        return EvaluatorError(
            f"process {ended.error_index} of a training on several devices was ended by {how}: killed, or out of memory; the "
            "others were ended, too"
        )


def _portable(error: Exception) -> HubserveError | None:
    """Returns a copy of `error`, without its cause, if it is a `HubserveError` that survives pickle; else None."""
    if isinstance(error, HubserveError):
        with suppress(Exception):
            copy: HubserveError = pickle.loads(pickle.dumps(error))
            return copy
    return None
