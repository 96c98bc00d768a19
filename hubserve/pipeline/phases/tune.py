"""Phase "fine-tune": fine-tunes the model that the job names under `start`, after an estimate of the time that it takes."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from hubserve.errors import HubserveError, JobError
from hubserve.hub.pretrained import load_weights
from hubserve.hub.registry import get_space
from hubserve.jobs import EpochRow, FineTuneRecipe, Run, best_epoch
from hubserve.jobs.progress_text import estimate_text
from hubserve.pipeline.phases.profile import UNPUBLISHED
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.pipeline.time_estimates import estimate_seconds
from hubserve.training.finetuning.fine_tune import Progress, fine_tune
from hubserve.training.finetuning.new_head import NewHead, with_new_head, with_old_head
from hubserve.training.trial_weights import WEIGHTS_FILE, save_weights

FOLDER, SCORES, UNFINISHED = "fine_tuned", "scores.json", "unfinished"


@dataclass(frozen=True)
class TunedNetwork:
    """The fine-tuned network.

    Attributes:
        model: The network in eval mode.
        settings: Arguments of the network's space, including the number of classes.
        history: Scores of all epochs; the network has the weights of the best epoch.
    """

    model: nn.Module
    settings: dict[str, Any]
    history: tuple[EpochRow, ...]

    @property
    def best(self) -> EpochRow:
        """The epoch whose weights the network has."""
        return best_epoch(self.history)


def tune(resolved: ResolvedFineTuning, run: Run, status: StatusWriter) -> TunedNetwork:
    """Fine-tunes the network, or loads it if the run folder already has the result.

    The result is saved in fine_tuned/scores.json; the weights are saved in the same folder. The time that the parts of the job
    take is estimated before.

    Raises:
        JobError: The model cannot be rebuilt, or scores.json is corrupt.
        DatasetError: An image cannot be read.
        EvaluatorError: The training fails, see `fine_tune`; `DivergedError` if the loss is not finite any more.
    """
    source, classes = resolved.source, len(resolved.parts.labels)
    settings = {**source.settings, "num_labels": classes}
    folder = run.path / FOLDER
    found = load_or_compute(folder / SCORES, lambda: _tune(resolved, run, status))
    history = tuple(EpochRow.model_validate(row) for row in found["epochs"])
    status.epochs(history)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    model = load_weights(get_space(source.space, settings), source.arch, folder / WEIGHTS_FILE)
    return TunedNetwork(model, settings, history)


def _tune(resolved: ResolvedFineTuning, run: Run, status: StatusWriter) -> dict[str, Any]:
    parts, recipe = resolved.parts, resolved.job.recipe
    status.begin("fine-tune", "fine-tuning")
    network = start_network(resolved, keep_head=False)
    _estimate(resolved, network.model, run, status)
    history = fine_tune(
        network,
        parts.train,
        parts.val,
        recipe,
        labels=parts.labels,
        seed=resolved.job.seed,
        folder=run.path / FOLDER / UNFINISHED,
        progress=written_progress(status, recipe),
    )
    save_weights(network.model, run.path / FOLDER)
    return {"epochs": [row.model_dump() for row in history]}


def _estimate(resolved: ResolvedFineTuning, model: nn.Module, run: Run, status: StatusWriter) -> None:
    """Writes the estimated durations of the parts of the job to the status, unless an interrupted process has done so."""
    if status.status.estimated_seconds is not None:
        return
    status.progress("estimating the time")
    seconds = estimate_seconds(
        model,
        resolved.parts,
        resolved.job.recipe,
        formats=resolved.formats,
        profile_seconds=(resolved.job.publish or UNPUBLISHED).profile_seconds,
        folder=run.path / FOLDER / UNFINISHED,
    )
    status.estimate(seconds)
    status.write(message=estimate_text(status.status))


def start_network(resolved: ResolvedFineTuning, *, keep_head: bool) -> NewHead:
    """Returns the network of the job's model with a head for the classes of the data.

    Args:
        resolved: The job.
        keep_head: Whether the head is that of the model, which must have these classes; False makes a new one.

    Raises:
        JobError: The model cannot be rebuilt.
    """
    source = resolved.source
    try:
        space, state = get_space(source.space, source.settings), source.model.state_dict()
        if keep_head:
            return with_old_head(space, source.arch, state)
        return with_new_head(space, source.arch, state, classes=len(resolved.parts.labels))
    except HubserveError as error:
        raise JobError(f"start.model: {source.name} cannot be rebuilt here: {error}") from error


def written_progress(status: StatusWriter, recipe: FineTuneRecipe) -> Progress:
    """Returns functions that write the epochs and the progress of a training to the status of its job."""

    def on_epoch(history: Sequence[EpochRow]) -> None:
        last = history[-1]
        status.epochs(history)
        status.progress(f"epoch {last.epoch}: val_acc {last.val_acc:.4f}", share=_share(last, recipe))

    return Progress(
        step=lambda message, share: status.progress(message, share=share),
        epoch=on_epoch,
        features=lambda seconds: status.took("features", seconds),
    )


def _share(last: EpochRow, recipe: FineTuneRecipe) -> float | None:
    """Returns the share of the epochs or seconds, in (0, 1], that is used after an epoch; None if nothing is used yet."""
    shares = [last.epoch / recipe.epochs] if recipe.epochs else []
    shares += [last.seconds / recipe.seconds] if recipe.seconds else []
    return min(1.0, max(shares)) or None
