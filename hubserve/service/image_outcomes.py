"""`outcomes_of`: waits in the event loop for the images of a request, which other threads classify."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

from hubserve.service.engine import Answer
from hubserve.service.tensor_engine import TensorAnswer


async def outcomes_of(images: Sequence[Future[Answer | TensorAnswer]]) -> list[Answer | TensorAnswer | BaseException]:
    """Waits until each image has its answer or error, and returns these in order. If it is cancelled, it cancels all images.

    Errors are returned, not raised; that of a dropped image is asyncio.CancelledError.

    `asyncio.gather` and `asyncio.wrap_future` would do the same, but need two futures and a call of the event loop for each
    image. Here, the thread that answers the last image of a request makes the only call.

    Args:
        images: Futures of the images, or of the tensors of a request, at least one.
    """
    loop = asyncio.get_running_loop()
    all_done: asyncio.Future[None] = loop.create_future()
    left = itertools.count(len(images) - 1, -1)

    def note(_: Future[Answer | TensorAnswer]) -> None:
        # Called in the threads that classify; `next` is atomic.
        if next(left) == 0 and not loop.is_closed():
            loop.call_soon_threadsafe(_end, all_done)

    for image in images:
        image.add_done_callback(note)
    try:
        await all_done
    except asyncio.CancelledError:
        for image in images:
            image.cancel()
        raise
    return [_outcome(image) for image in images]


def _end(future: asyncio.Future[None]) -> None:
    """Ends the waiting for a future, unless it was cancelled."""
    if not future.done():
        future.set_result(None)


def _outcome(image: Future[Answer | TensorAnswer]) -> Answer | TensorAnswer | BaseException:
    """Returns the answer of an image that is done, or its error; asyncio.CancelledError if the image was dropped."""
    try:
        error = image.exception()
    except CancelledError as cancelled:
        error = cancelled
    if error is None:
        return image.result()
    return asyncio.CancelledError() if isinstance(error, CancelledError) else error
