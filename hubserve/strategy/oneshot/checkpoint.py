"""The checkpoint of a one-shot run, which only the same search may read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hubserve.atomic import staged_file
from hubserve.errors import StrategyError

CHECKPOINT = "oneshot.pt"


def write_checkpoint(folder: Path, identity: list[Any], content: Mapping[str, Any]) -> None:
    """Replaces the checkpoint in `folder` by one rename.

    Removes the unfinished files of processes that were killed while they wrote.

    Args:
        folder: Folder of the run; it is made where it does not exist. One process at a time may write there.
        identity: Describes the search; `read_checkpoint` compares it.
        content: Name -> what `torch.load` reads with `weights_only`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{Path(CHECKPOINT).stem}.*"):
        left.unlink()
    with staged_file(folder / CHECKPOINT) as unfinished:
        torch.save({"identity": identity, **content}, unfinished)


def read_checkpoint(folder: Path, identity: list[Any]) -> dict[str, Any] | None:
    """The content written last, on the CPU; None where nothing was written.

    Raises:
        StrategyError: The checkpoint is of another search, or corrupt.
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
