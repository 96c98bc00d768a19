"""Writes and reads the checkpoint of a one-shot run; only a run of the same search can read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from hubserve.atomic import staged_file
from hubserve.errors import StrategyError

CHECKPOINT = "oneshot.pt"


@dataclass(frozen=True)
class Identity:
    """Describes the search that a checkpoint belongs to.

    Attributes:
        strategy: Class name of the strategy.
        space: The space, as `repr` writes it.
        seed: Seed of the run.
        epochs: Number of epochs of the run. A run may have more than the one that wrote the checkpoint.
        batches: Number of batches of an epoch.
        settings: Further settings by name, without those at their defaults. Checkpoints of version 0.1.0, which had none of
            them, can be read if it is empty.
    """

    strategy: str
    space: str
    seed: int
    epochs: int
    batches: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_list(self) -> list[Any]:
        """Returns the values as a checkpoint holds them; `settings` is left out if it is empty."""
        values = [getattr(self, each.name) for each in fields(self)]
        return values if self.settings else values[:-1]

    def differences(self, found: Any) -> str:
        """Returns which values differ from those of a checkpoint, as text; an empty string if none does.

        More epochs than before are no difference.

        Args:
            found: What the checkpoint holds as its identity.
        """
        if not isinstance(found, list) or len(found) not in (5, 6):
            return f"its identity is {found!r}"
        names = [each.name for each in fields(self)][:5]
        before = dict(zip(names, found, strict=False)) | (found[5] if len(found) == 6 else {})
        now = {name: getattr(self, name) for name in names} | dict(self.settings)
        if isinstance(before["epochs"], int) and before["epochs"] < self.epochs:
            before["epochs"] = self.epochs
        return ", ".join(
            f"{name} was {before.get(name, 'not set')} and is {now.get(name, 'not set')}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        )


def epochs_of(content: Mapping[str, Any]) -> int:
    """Returns the number of epochs of the run that wrote a checkpoint, whose content `read_checkpoint` returned."""
    return int(content["identity"][3])


def write_checkpoint(folder: Path, identity: Identity, content: Mapping[str, Any]) -> None:
    """Writes the checkpoint in `folder`, replacing the previous one atomically.

    Also removes temporary files that killed processes have left.

    Args:
        folder: Folder of the run; it is created if it does not exist. Only one process at a time may write to it.
        identity: Describes the search; `read_checkpoint` compares it.
        content: The values to store by name, of types that `torch.load` reads with `weights_only=True`.

    Raises:
        OSError: The file cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{Path(CHECKPOINT).stem}.*"):
        left.unlink()
    with staged_file(folder / CHECKPOINT) as unfinished:
        torch.save({"identity": identity.to_list(), **content}, unfinished)


def read_checkpoint(folder: Path, identity: Identity) -> dict[str, Any] | None:
    """Returns the content of the checkpoint in `folder`, with its tensors on the CPU; None if there is no checkpoint.

    Args:
        folder: Folder of the run.
        identity: Describes the search; it must equal what was passed to `write_checkpoint`, and may have more epochs.

    Raises:
        StrategyError: The checkpoint was written by another search, or it cannot be read.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        raise StrategyError(f"{path} cannot be read ({error}); delete it to begin anew") from error
    if differences := identity.differences(found.get("identity")):
        raise StrategyError(
            f"{path} is of another search: {differences}; put the settings and the data back as they were, take another "
            "folder, or delete the file to begin anew"
        )
    return found
