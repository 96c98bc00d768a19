"""`TrainingCheckpoint`, the file of a training's state, from which an interrupted training goes on."""

import io
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from hubserve.atomic import write_atomic
from hubserve.errors import EvaluatorError


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint file, which is replaced atomically after each epoch.

    Attributes:
        path: The file; its folder is created if it does not exist.
        steps: Number of optimizer steps of the whole training; a checkpoint of a training of another length is refused.
    """

    path: Path
    steps: int

    def write(self, content: dict[str, Any]) -> None:
        """Writes the state, and that of torch's random number generators, to the file.

        Args:
            content: State by name, of values that `torch.load` reads with `weights_only`.

        Raises:
            OSError: The file cannot be written; a `StorageError` if the disk is full, read-only or not accessible.
        """
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        buffer = io.BytesIO()
        torch.save({"steps": self.steps, "random": torch.get_rng_state(), "cuda": cuda, **content}, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, buffer.getvalue())

    def read(self) -> dict[str, Any] | None:
        """Returns the state in the file, its tensors on the CPU, and restores the generators; None if there is no file.

        The generators of GPUs are restored if there are as many GPUs as when the file was written.

        Raises:
            EvaluatorError: The file is corrupt, or of a training with another number of steps.
        """
        if not self.path.is_file():
            return None
        try:
            content: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            if content["steps"] != self.steps:
                raise EvaluatorError(
                    f"{self.path} is of a training of {content['steps']} steps, and this one has {self.steps}: the settings or "
                    "the number of training images are others; put them back as they were, or delete it, and the training "
                    "begins anew"
                )
            torch.set_rng_state(content["random"])
            if len(content["cuda"]) == torch.cuda.device_count():
                torch.cuda.set_rng_state_all(content["cuda"])
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, UnpicklingError) as error:
            raise EvaluatorError(f"{self.path} is corrupt: {error}; delete it, and the training begins anew") from error
        return content
