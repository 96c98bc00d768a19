"""Checks that the answer of a model to an image does not depend on the other images of its batch."""

from collections.abc import Iterable

import numpy as np

from hubserve.errors import ParityError
from hubserve.package.parity import FLOAT16, Bounds
from hubserve.package.runner import Batch, Runner


def check_alone(runner: Runner, batches: Iterable[Batch], *, bounds: Bounds) -> float:
    """Compares the logits of each image alone with those of the same image in a batch of others.

    The service classifies images of several requests in one batch, so an answer must depend on its own image only.

    Args:
        runner: Runner that is checked.
        batches: Batches of prepared images, at least one, each of at least two images.
        bounds: The logits may differ by at most `bounds.error`, or `FLOAT16.error` if that is None, as a share of the standard
            deviation of the logits of the batches. Its other attributes are ignored.

    Returns:
        The largest absolute difference between a logit of an image alone and in its batch.

    Raises:
        ParityError: The logits differ by more or are not finite, or the runner does not return one row for each image.
        HubserveError: The runner failed; see the runners.
    """
    pairs = []
    for batch in batches:
        together = runner(batch)
        alone = [runner(batch[place : place + 1]) for place in range(len(batch))]
        if any(row.shape != (1, *together.shape[1:]) for row in alone) or len(together) != len(batch):
            raise ParityError(
                f"{runner.name} answers a single image with logits of shape {alone[0].shape}, and {len(batch)} images with "
                f"{together.shape}; expected (1, classes) and ({len(batch)}, classes)"
            )
        pairs.append((together.astype(np.float64), np.concatenate(alone).astype(np.float64)))
    together, alone_logits = (np.concatenate(logits) for logits in zip(*pairs, strict=True))
    share = FLOAT16.error if bounds.error is None else bounds.error
    error, allowed = float(np.abs(together - alone_logits).max()), float(share or 0.0) * float(together.std())
    if not error <= allowed:  # NaN is not, either.
        raise ParityError(
            f"{runner.name} answers an image otherwise alone than in a batch of others: its logits differ by {error:.3g} "
            f"where {allowed:.3g} is allowed. The service puts images of several requests in one batch, so the answer to an "
            "image must depend on that image alone. It does not with batch norm without running statistics, with dropout in "
            "evaluation, or with a mean, softmax or attention over the axis of the batch"
        )
    return error
