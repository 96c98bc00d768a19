"""Writes and reads the checkpoint of a one-shot run; only a run of the same search can read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hubserve.atomic import staged_file
from hubserve.errors import StrategyError

CHECKPOINT = "oneshot.pt"


def write_checkpoint(folder: Path, identity: list[Any], content: Mapping[str, Any]) -> None:
    """Writes the checkpoint in `folder`, replacing the previous one atomically.

    Also removes temporary files that killed processes have left.

    Args:
        folder: Folder of the run; it is created if it does not exist. Only one process at a time may write to it.
        identity: Describes the search; `read_checkpoint` compares it.
        content: The values to store by name, of types that `torch.load` reads with `weights_only=True`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{Path(CHECKPOINT).stem}.*"):
        left.unlink()
    with staged_file(folder / CHECKPOINT) as unfinished:
        torch.save({"identity": identity, **content}, unfinished)


def read_checkpoint(folder: Path, identity: list[Any]) -> dict[str, Any] | None:
    """Returns the content of the checkpoint in `folder`, with its tensors on the CPU; None if there is no checkpoint.

    Args:
        folder: Folder of the run.
        identity: Describes the search; it must equal what was passed to `write_checkpoint`.

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
    if found.get("identity") != identity:
        raise StrategyError(
            f"{path} is of another search: strategy, space, seed, epochs and batches were {found.get('identity')}, and are "
            f"now {identity}; take another folder, or delete the file to begin anew"
        )
    return found
