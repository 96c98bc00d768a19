"""Phase "train": trains the winner of a search from new or inherited weights, or loads the weights that the search saved."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from torch import nn

from hubserve.errors import JobError
from hubserve.evaluator import Trial
from hubserve.hub.pretrained import load_weights
from hubserve.jobs import Run
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.training.received_messages import received
from hubserve.training.supervised import SupervisedEvaluator
from hubserve.training.trial_weights import WEIGHTS_FILE

FOLDER, SCORES, UNFINISHED, CHECKPOINT = "retrained", "scores.json", "unfinished", "training.pt"

Origin = Literal["trial", "shared", "retrained", "fine-tuned"]


@dataclass(frozen=True)
class TrainedWinner:
    """The network of a search's winner with its final weights.

    Attributes:
        model: The network in eval mode.
        weights: Origin of the weights: "trial" (the winner's trial), "shared" (the supernet), "retrained" (this phase, from new
            weights) or "fine-tuned" (this phase, from the weights of the trial or the supernet).
        scores: Scores on the validation part by name.
    """

    model: nn.Module
    weights: Origin
    scores: dict[str, float]


def train(resolved: ResolvedSearch, winner: Winner, run: Run, status: StatusWriter) -> TrainedWinner:
    """Trains the winner if the job has `retrain`, else loads the weights that the search saved.

    The result is saved in retrained/scores.json; the weights are saved in the same folder. A run that was interrupted goes on
    after the last complete epoch, whose state is in retrained/unfinished.

    Raises:
        JobError: The search left no weights, and the job does not retrain or retrains inherited ones.
        WeightsError: The file of weights cannot be read.
        DivergedError: The loss or a score is not finite any more.
    """
    evaluator, retrain = resolved.retrain_evaluator, resolved.job.retrain
    if evaluator is None or retrain is None:
        return TrainedWinner(_inherited(resolved, winner, "say in the job how to retrain it"), winner.kind, winner.scores)
    folder = run.path / FOLDER
    scores = load_or_compute(folder / SCORES, lambda: _train(resolved, winner, evaluator, folder, status))
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    weights: Origin = "retrained" if retrain.start == "new" else "fine-tuned"
    return TrainedWinner(load_weights(resolved.space, winner.arch, folder / WEIGHTS_FILE), weights, scores)


def _inherited(resolved: ResolvedSearch, winner: Winner, advice: str) -> nn.Module:
    if winner.weights is None:
        raise JobError(f"the search left no weights of its winner; {advice}")
    return load_weights(resolved.space, winner.arch, winner.weights)


def _train(
    resolved: ResolvedSearch, winner: Winner, evaluator: SupervisedEvaluator, folder: Path, status: StatusWriter
) -> dict[str, float]:
    epochs, score = evaluator.max_epochs, evaluator.objectives[0].name
    status.begin("retrain", f"training for {epochs} epochs")

    def on_epoch(epoch: int, value: float) -> None:
        status.progress(f"epoch {epoch + 1} of {epochs}: {score} {value:.4f}", share=(epoch + 1) / epochs)

    def fit(on_epoch: Callable[[int, float], None]) -> dict[str, float]:
        checkpoint = folder / UNFINISHED / CHECKPOINT
        trial = ReportingTrial(seed=resolved.job.seed, folder=folder, checkpoint=checkpoint, on_epoch=on_epoch)
        if resolved.job.retrain is not None and resolved.job.retrain.start == "inherited":
            network = _inherited(resolved, winner, "write retrain.start = new")
            return evaluator.fit(network, trial, channels_last=resolved.space.channels_last)
        return evaluator.evaluate(resolved.space, winner.arch, trial)

    if evaluator.settings.n_devices == 1:
        return fit(on_epoch)
    with received(lambda row: on_epoch(*row)) as connection:
        return fit(SentEpochs(connection))


@dataclass(frozen=True)
class SentEpochs:
    """A callback for `ReportingTrial` that sends (epoch, score) to the process that runs the job.

    Attributes:
        connection: Connection to that process.
    """

    connection: Connection

    def __call__(self, epoch: int, value: float) -> None:
        self.connection.send((epoch, value))


@dataclass(frozen=True)
class ReportingTrial(Trial):
    """A trial that belongs to no study and passes each reported value to a callback.

    Attributes:
        on_epoch: Called after each epoch with its number, from 0, and the value of the first objective.
    """

    on_epoch: Callable[[int, float], None] = lambda epoch, value: None

    def report(self, step: int, value: float) -> None:
        self.on_epoch(step, value)
