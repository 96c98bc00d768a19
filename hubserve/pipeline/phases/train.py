"""Phase "train": trains the winner of a search from new weights, or loads the weights that the search saved."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from hubserve.errors import JobError
from hubserve.evaluator import Classification, Trial
from hubserve.hub.pretrained import load_weights
from hubserve.jobs import Run
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.training.weights_file import WEIGHTS_FILE

FOLDER, SCORES = "retrained", "scores.json"


@dataclass(frozen=True)
class TrainedWinner:
    """The network of a search's winner with its final weights.

    Attributes:
        model: The network in eval mode.
        weights: Origin of the weights: "trial" (the winner's trial), "shared" (the supernet) or "retrained" (this phase).
        scores: Scores on the validation part by name.
    """

    model: nn.Module
    weights: Literal["trial", "shared", "retrained"]
    scores: dict[str, float]


def train(resolved: ResolvedSearch, winner: Winner, run: Run, status: StatusWriter) -> TrainedWinner:
    """Trains the winner from newly initialised weights if the job has `retrain`, else loads the weights that the search saved.

    The result is saved in retrained/scores.json; the weights are saved in the same folder.

    Raises:
        JobError: The job does not retrain and the search left no weights.
    """
    evaluator = resolved.retrain_evaluator
    if evaluator is None:
        if winner.weights is None:
            raise JobError("the search left no weights of its winner; say in the job how to retrain it")
        return TrainedWinner(load_weights(resolved.space, winner.arch, winner.weights), winner.kind, winner.scores)
    folder = run.path / FOLDER
    scores = load_or_compute(folder / SCORES, lambda: _train(resolved, winner, evaluator, folder, status))
    return TrainedWinner(load_weights(resolved.space, winner.arch, folder / WEIGHTS_FILE), "retrained", scores)


def _train(
    resolved: ResolvedSearch, winner: Winner, evaluator: Classification, folder: Path, status: StatusWriter
) -> dict[str, float]:
    epochs = evaluator.max_epochs
    status.begin("retrain", f"training the winner for {epochs} epochs")

    def on_epoch(epoch: int, value: float) -> None:
        status.progress(f"epoch {epoch + 1} of {epochs}: val_acc {value:.4f}", share=(epoch + 1) / epochs)

    return evaluator.evaluate(
        resolved.space, winner.arch, ReportingTrial(seed=resolved.job.seed, folder=folder, on_epoch=on_epoch)
    )


@dataclass(frozen=True)
class ReportingTrial(Trial):
    """A trial that belongs to no study and passes each reported value to a callback.

    Attributes:
        on_epoch: Called after each epoch with its number, from 0, and val_acc.
    """

    on_epoch: Callable[[int, float], None] = lambda epoch, value: None

    def report(self, step: int, value: float) -> None:
        self.on_epoch(step, value)
