"""Classifies image files on all cores: threads decode and run batches, and rows come in the order of the files."""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from hubserve.batch.image_source import ListedImage
from hubserve.batch.rows import ImageRow, RowColumns
from hubserve.errors import ImageError, LogitsError
from hubserve.host import available_memory_bytes, cores
from hubserve.image_file import read_image_file
from hubserve.service.engine import Answer, Engine, Prepared

BATCH = 8
"""Number of images in a batch, which one thread decodes and runs. On a CPU larger ones gain nothing; threads run at once."""

GPU_BATCH = 64
"""Number of images in a batch on a GPU."""

WORKER_BYTES = 2**30
"""Memory in bytes that is reserved for each thread; decoding the largest allowed image takes most of it."""

MOST_FILE_BYTES = 2**29
"""Largest image file that is read, in bytes; a larger one gets a row with an error."""


def worker_count(workers: int | None) -> int:
    """Returns the number of threads: `workers`, or one for each core that this process may use if it is None.

    If there is not `WORKER_BYTES` of available memory for each of them, there are fewer, but at least one.
    """
    return max(1, int(min(workers or cores(), available_memory_bytes() / WORKER_BYTES)))


def classified_rows(
    engine: Engine, images: Iterable[ListedImage], columns: RowColumns, *, workers: int
) -> Iterator[list[ImageRow]]:
    """Classifies images and yields their rows in the same order, some at a time; memory does not grow with their number.

    An image that cannot be read, or whose logits are not finite, gets a row with the error.

    Args:
        engine: Engine that may be called by `workers` threads at once.
        images: Images to classify; they are asked for as threads become free.
        columns: How many classes a row has, and whether it has features.
        workers: Number of threads, at least 1.

    Raises:
        TopKError: `columns.top_k` is not between 1 and the number of classes.
        NoFeaturesError: `columns` has features, and the model has none.
        ExportError: The network cannot be run.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="predict")
    waiting: deque[Future[list[ImageRow]]] = deque()
    remaining, size = iter(images), BATCH if engine.device == "cpu" else GPU_BATCH
    try:
        while batch := list(itertools.islice(remaining, size)):
            waiting.append(pool.submit(_rows, engine, batch, columns))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _rows(engine: Engine, images: Sequence[ListedImage], columns: RowColumns) -> list[ImageRow]:
    """Returns the rows of one batch."""
    prepared = [_prepared(engine, image, columns) for image in images]
    readable = [found for found in prepared if isinstance(found, Prepared)]
    answers = iter(engine.answer(readable) if readable else ())
    return [
        _row(image.name, next(answers) if isinstance(found, Prepared) else found)
        for image, found in zip(images, prepared, strict=True)
    ]


def _prepared(engine: Engine, image: ListedImage, columns: RowColumns) -> Prepared | str:
    """Returns the prepared image, or why it cannot be read."""
    if image.path is None:
        return "there is no such file"
    try:
        if (size := os.stat(image.path).st_size) > MOST_FILE_BYTES:
            return f"a file of {size:,} bytes; at most {MOST_FILE_BYTES:,} are read"
        return engine.prepare(read_image_file(image.path), top_k=columns.top_k, features=columns.features)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ImageError as error:
        return str(error)
    except MemoryError:
        return "decoding takes more memory than there is"


def _row(name: str, found: Answer | LogitsError | str) -> ImageRow:
    if isinstance(found, Answer):
        return ImageRow(name, found.predictions, found.features)
    return ImageRow(name, error=str(found))
