"""`SpeechSynthesis`: the evaluator that trains a network to turn phonemes into mel spectrograms, and scores its loss."""

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional

from hubserve.data.loaders import Data, DataModule, data_of
from hubserve.data.speech.speech_data import SpeechTarget
from hubserve.errors import EvaluatorError
from hubserve.training.evaluator import Objective
from hubserve.training.optimizers_and_schedules import MakeOptimizer
from hubserve.training.settings import TrainerArguments, TrainingSettings, known_settings
from hubserve.training.supervised import SupervisedEvaluator


class SpeechSynthesis(SupervisedEvaluator):
    """An evaluator that trains a network such as those of LightSpeech and scores its loss "val_loss"; a search minimises it.

    A batch is a pair (inputs, `SpeechTarget`), as `hubserve.data.speech.speech_data.padded` makes it. The inputs are the
    phonemes, the phoneme of each frame, and in training the pitch and the frames without a voice. In train mode the network
    returns mel, log(1 + duration) and (pitch, logit of no voice); in eval mode it returns mel and durations.

    The training loss is the sum of four: the mean absolute error of the mel spectrogram, the mean squared error of
    log(1 + duration), the mean absolute error of the normalised pitch of frames with a voice, and the binary cross entropy of
    having none. The validation loss is the sum of the first two, of what a network in eval mode returns: its durations are
    whole numbers, and its mel spectrogram is that of the pitch that it predicts. So the two losses cannot be compared.

    Args:
        learning_rate: Learning rate of the optimizer, at least 0; a schedule multiplies it by a factor.
        weight_decay: Weight decay of the optimizer, at least 0.
        optimizer: Class of torch.optim, a functools.partial of one, or "adam", "adamw", "rmsprop", or "sgd" (with Nesterov
            momentum 0.9).
        train_dataloaders: DataLoader or iterable of batches with a length, for training; None if nothing is trained.
        val_dataloaders: DataLoader or iterable of batches with a length, for validation; None if nothing is validated.
        datamodule: Object with both data, such as a `SpeechData`, given in place of the two arguments above.
        **more_settings: Further settings of the training, such as `schedule`, `max_epochs`, `accelerator` and `precision`.
            `TrainingSettings` explains all of them.

    Raises:
        EvaluatorError: An argument is unknown or has a value that is not allowed, or `datamodule` is given together with
            `train_dataloaders` or `val_dataloaders`.

    >>> evaluator = SpeechSynthesis(learning_rate=3e-3, datamodule=spoken_numbers(), max_epochs=6)
    >>> evaluator.fit(model)
    {'val_mel_l1': 0.45, 'val_loss': 0.53, 'train_loss': 1.3}
    """

    objectives = (Objective("val_loss", "minimize"),)
    score_name: ClassVar[str] = "val_mel_l1"

    def __init__(
        self,
        learning_rate: float = 0.003,
        weight_decay: float = 0.0,
        optimizer: str | MakeOptimizer = torch.optim.Adam,
        train_dataloaders: Data = None,
        val_dataloaders: Data = None,
        datamodule: DataModule | None = None,
        **more_settings: Unpack[TrainerArguments],
    ) -> None:
        more = known_settings(more_settings, export_onnx=False)
        settings = TrainingSettings(nn.L1Loss, learning_rate, weight_decay, optimizer, **more)
        super().__init__(settings, data_of(train_dataloaders, val_dataloaders, datamodule))

    def loss(self, output: Any, target: SpeechTarget) -> Tensor:
        mel, durations, *more = _parts(output)
        if not more:  # In eval mode the durations are whole numbers.
            return mel_error(mel, target).mean() + duration_error(torch.log1p(durations.float()), target)
        return mel_error(mel, target).mean() + duration_error(durations, target) + _pitch_error(more[0], target)

    def score(self, output: Any, target: Any) -> Tensor:
        """Returns the mean absolute error of the mel spectrogram of each utterance, (batch,)."""
        return mel_error(_parts(output)[0], target)


def mel_error(mel: Tensor, target: SpeechTarget) -> Tensor:
    """Returns the mean absolute error of each mel spectrogram (batch, frames, bands) of a batch, without padding: (batch,)."""
    error = (mel - target.mel).abs().mean(2) * target.frames
    return error.sum(1) / target.frames.sum(1)


def duration_error(log_durations: Tensor, target: SpeechTarget) -> Tensor:
    """Returns the mean squared error of log(1 + duration), (batch, length), without padding, as a scalar."""
    error = (log_durations - torch.log1p(target.durations.float())).square() * target.phonemes
    return error.sum() / target.phonemes.sum()


def _pitch_error(pitch: Tensor, target: SpeechTarget) -> Tensor:
    """Returns the error of the pitch of frames with a voice plus that of having none, (batch, frames, 2), as a scalar."""
    error = ((pitch[..., 0] - target.pitch).abs() * target.voiced).sum() / target.voiced.sum().clamp(min=1)
    entropy = functional.binary_cross_entropy_with_logits(pitch[..., 1], (~target.voiced).to(pitch.dtype), reduction="none")
    return error + (entropy * target.frames).sum() / target.frames.sum()


def _parts(output: Any) -> tuple[Tensor, ...]:
    """Returns the outputs of a network. Raises EvaluatorError if they are not those that the class describes."""
    if isinstance(output, tuple) and len(output) in (2, 3):
        return output
    found = f"a tuple of {len(output)}" if isinstance(output, tuple) else type(output).__name__
    raise EvaluatorError(
        f"the network returns {found}; SpeechSynthesis needs (mel, log durations, pitch) in train mode and (mel, durations) in "
        "eval mode, as the networks of LightSpeech return them"
    )
