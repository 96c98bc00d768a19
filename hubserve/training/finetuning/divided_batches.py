"""`divided_batches`: the training steps of an epoch, each divided among the processes that train together."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DividedBatch:
    """The part that this process has of the images of a training step.

    Attributes:
        indices: Indices of its images, (n,) int64.
        weight: Factor of its mean loss, so that the mean over all processes is the mean loss of all images of the step: the
            number of its images, divided by the mean number over the processes. 1 if all have the same number.
    """

    indices: Tensor
    weight: float


def divided_batches(n: int, batch_size: int, part: tuple[int, int]) -> list[DividedBatch]:
    """Returns the steps of an epoch over the indices 0 to n - 1, in a random order drawn with torch's global generator.

    Each step has `batch_size` images for each process. The last one has the images that are left over, none of which is
    dropped; if there are fewer than two for each process, they are added to the step before it, since batch norm cannot be
    trained on one image. The parts of one process differ from those of another by at most one image.

    Args:
        n: Number of images; with fewer than one for each process, a process has none.
        batch_size: Number of images of a step in each process.
        part: Pair (i, n): this process is the i-th, from 0, of n. The state of the generator must be the same in all of them.
    """
    rank, processes = part
    steps = list(torch.randperm(n).split(batch_size * processes))  # type: ignore[no-untyped-call]
    if len(steps) > 1 and len(steps[-1]) < 2 * processes:
        last = steps.pop()
        steps[-1] = torch.cat([steps[-1], last])
    own = [step[rank::processes] for step in steps]
    return [DividedBatch(mine, len(mine) * processes / len(step)) for mine, step in zip(own, steps, strict=True)]
