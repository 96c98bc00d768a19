"""Trials on machines that need not share a file system with this one: their files and reports come back with the outcome."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from hubserve.atomic import write_atomic
from hubserve.errors import ExperimentError
from hubserve.experiment.trial_evaluation import HeldReports, Outcome, StudyTrial, evaluate
from hubserve.space import Arch, ModelSpace
from hubserve.training.evaluator import Evaluator


@dataclass(frozen=True)
class ReturnedOutcome(Outcome):
    """The result of an evaluation, with what it wrote and reported.

    Attributes:
        files: Content of each file in the trial's folder, by its path in the folder, with slashes.
        reports: Intermediate values by step; empty for a trial that reported into the storage of its study.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)


def evaluate_elsewhere(evaluator: Evaluator, space: ModelSpace, arch: Arch, trial: StudyTrial) -> ReturnedOutcome:
    """Scores `arch` as `evaluate` does, in a temporary folder of this machine, whose files are in the outcome.

    A trial without a channel keeps its intermediate values until it has ended.

    Raises:
        StorageError: A file could not be written or read, e.g. because the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="hubserve-trial-") as scratch:
        folder, held = Path(scratch), HeldReports()
        outcome = evaluate(evaluator, space, arch, replace(trial, folder=folder, channel=trial.channel or held))
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return ReturnedOutcome(outcome.state, outcome.scores, outcome.reason, files, held.values)


def write_returned(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes the files of a trial into its folder on this machine, each one atomically.

    Raises:
        ExperimentError: A path leaves the folder.
        OSError: A file cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    for name, content in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ExperimentError(f"a trial returned a file {name!r}, which is not in its folder {folder}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
