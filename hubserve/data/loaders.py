"""Loaders that yield batches from a data set or DataLoader, shuffled with a seed and divided among processes."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler

from hubserve.error_messages import first_line
from hubserve.errors import EvaluatorError

Batch = tuple[Any, Any]
"""Pair of inputs and targets, as a `DataLoader` yields it: tensors, or lists, tuples and dicts of them in any nesting."""

Data = Any
"""A `torch.utils.data.Dataset`, a `DataLoader`, another iterable of batches with a length, or a list with one of these."""


_NO_SHARED_MEMORY = re.compile(r"shared memory|bus error|/torch_|torch_shm", re.IGNORECASE)
"""What the errors say that torch raises where /dev/shm is full."""

MORE_SHARED_MEMORY = (
    "Set data.workers (num_workers of a DataLoader) lower, to 0 for none, or start the container with more: docker run "
    "--shm-size=2g"
)
"""What to do where the processes that read images have too little shared memory; one sentence."""


class DataModule(Protocol):
    """Protocol of an object that holds the training and the validation data, as `LightningDataModule` does."""

    def train_dataloader(self) -> Data:
        """Returns the training data."""

    def val_dataloader(self) -> Data:
        """Returns the validation data."""


def data_of(train: Data, val: Data, module: DataModule | None) -> tuple[Data, Data]:
    """Returns the training and the validation data, taken from `module` or from `train` and `val`.

    Args:
        train: Training data, or a list with one element; None for none.
        val: Validation data, or a list with one element; None for none.
        module: Data module that holds both; its methods `prepare_data()` and `setup("fit")` are called first, if it has them.
            None uses `train` and `val`.

    Raises:
        EvaluatorError: `module` is given together with `train` or `val`, or a list does not have exactly one element.
    """
    if module is None:
        return _only_one("train_dataloaders", train), _only_one("val_dataloaders", val)
    if train is not None or val is not None:
        raise EvaluatorError("datamodule and train_dataloaders or val_dataloaders are both given: leave one of them out")
    # What Lightning's trainer calls before it asks for loaders.
    for step, arguments in (("prepare_data", ()), ("setup", ("fit",))):
        if callable(prepare := getattr(module, step, None)):
            prepare(*arguments)
    return _only_one("train_dataloader()", module.train_dataloader()), _only_one("val_dataloader()", module.val_dataloader())


def _only_one(name: str, data: Data) -> Data:
    if not isinstance(data, (list, tuple)):
        return data
    if len(data) != 1:
        raise EvaluatorError(f"{name} is a list of {len(data)}; give one data set, or torch.utils.data.ConcatDataset of them")
    return data[0]


class Batches:
    """An iterable over the first `count` batches of a loader; `len` returns `count`.

    Args:
        loader: Iterable of batches.
        count: Number of batches to yield; the loader must yield at least as many.

    Raises (when iterated):
        EvaluatorError: The processes of the loader have too little shared memory.
    """

    def __init__(self, loader: Iterable[Batch], count: int) -> None:
        self._loader = loader
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        try:
            yield from itertools.islice(iter(self._loader), self._count)
        except (RuntimeError, OSError) as error:
            if not _NO_SHARED_MEMORY.search(str(error)):
                raise
            raise EvaluatorError(
                f"the processes that read images have too little shared memory (/dev/shm): {first_line(error)[:200]}. "
                f"{MORE_SHARED_MEMORY}"
            ) from error


def shuffled(data: Data, batch_size: int, seed: int, *, part: tuple[int, int] = (0, 1), in_order_too: bool = False) -> Any:
    """Returns a loader for one training epoch, in a random order drawn with `seed`.

    A data set is shuffled. A DataLoader that shuffles is copied, and the copy shuffles with `seed`; a DataLoader with another
    order keeps its order, and so does another iterable. A last batch of one item, with which BatchNorm cannot be trained, is
    joined with the batch before it.

    Args:
        data: Data set, DataLoader, or iterable of batches with a length.
        batch_size: Number of items in a batch; only used if `data` is a data set.
        seed: Seed of the order, and of the random numbers in the loader's workers.
        part: Pair (i, n), i counted from 0, for n processes that train together: the loader yields the i-th of n equal parts;
            up to n - 1 items that are left over are dropped.
        in_order_too: Whether a DataLoader with a `SequentialSampler`, which is usual for validation data, is shuffled, too.

    Raises:
        EvaluatorError: `data` has none of these types, or cannot be divided into parts.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(data, Dataset):
        sampler: Any = RandomSampler(data, generator=generator)  # type: ignore[arg-type]
        return DataLoader(data, **_batching(_Part(sampler, part, even=True), batch_size), generator=generator)
    if isinstance(data, DataLoader) and data.batch_size is not None:
        sampler = data.sampler
        if in_order_too and type(sampler) is SequentialSampler:
            sampler = RandomSampler(sampler.data_source)
        return _same_but(data, _Part(_seeded(sampler, generator), part, even=True), generator, training=True)
    return in_order(data, batch_size, part=part)


def in_order(data: Data, batch_size: int, *, part: tuple[int, int] = (0, 1)) -> Any:
    """Returns a loader for one pass over the data in a fixed order: that of the indices, even for a DataLoader that shuffles.

    Args:
        data: Data set, DataLoader, or iterable of batches with a length.
        batch_size: Number of items in a batch; only used if `data` is a data set.
        part: Pair (i, n), i counted from 0, for the i-th of n processes that work together: the loader yields every n-th item,
            from item i on.

    Raises:
        EvaluatorError: `data` has none of these types, or cannot be divided into parts.
    """
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size, sampler=_Part(SequentialSampler(data), part, even=False))  # type: ignore[arg-type]
    if not isinstance(data, Sized) or not isinstance(data, Iterable):
        raise EvaluatorError(
            f"data of type {type(data).__name__}: give a torch data set, a DataLoader, or an iterable of batches with a length"
        )
    if isinstance(data, DataLoader) and data.batch_size is not None:
        return _same_but(data, _Part(_fixed(data.sampler), part, even=False), data.generator)
    if part == (0, 1):
        return data
    raise EvaluatorError(
        f"{type(data).__name__} cannot be divided among {part[1]} processes; give a torch data set or a plain DataLoader"
    )


def _batching(sampler: Sampler[int], batch_size: int) -> dict[str, Any]:
    """Returns arguments for a DataLoader that make batches of `batch_size` indices of `sampler`, and never a last one of 1.

    If one index is left over, it joins the batch before it.
    """
    count = len(sampler)  # type: ignore[arg-type]
    if batch_size > 1 and count > batch_size and count % batch_size == 1:
        return {"batch_sampler": _LastOneJoined(sampler, batch_size)}
    return {"batch_size": batch_size, "sampler": sampler}


class _LastOneJoined(Sampler[list[int]]):
    """A sampler of batches of another sampler's indices; the one index that is left over joins the last batch."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        self._sampler = sampler
        self._batch_size = batch_size

    def __len__(self) -> int:
        return int(len(self._sampler) // self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self._sampler)
        for number in range(1, len(self) + 1):
            yield list(itertools.islice(indices, self._batch_size + (number == len(self))))


def _seeded(sampler: Any, generator: torch.Generator) -> Any:
    """Returns a copy of a random sampler that draws its order from `generator`; other samplers are returned unchanged."""
    if type(sampler) is RandomSampler:
        drawn = sampler.num_samples if sampler.replacement else None
        return RandomSampler(sampler.data_source, sampler.replacement, drawn, generator)
    if type(sampler) is SubsetRandomSampler:
        return SubsetRandomSampler(sampler.indices, generator)
    return sampler


def _fixed(sampler: Any) -> Any:
    if type(sampler) is RandomSampler:
        return SequentialSampler(sampler.data_source)
    return list(sampler.indices) if type(sampler) is SubsetRandomSampler else sampler


class _Part(Sampler[int]):
    """A sampler that yields every n-th index of another sampler, so that n processes share the indices.

    Args:
        sampler: Sampler of all indices.
        part: Pair (i, n): every n-th index is yielded, from the i-th on.
        even: Whether to drop the last indices so that all n parts have the same length, which training needs because all
            processes must make the same number of steps.
    """

    def __init__(self, sampler: Any, part: tuple[int, int], *, even: bool) -> None:
        self._sampler = sampler
        self._part = part
        self._stop = len(sampler) // part[1] * part[1] if even else len(sampler)

    def __len__(self) -> int:
        return len(range(self._part[0], self._stop, self._part[1]))

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self._sampler), self._part[0], self._stop, self._part[1])


_SAME = (
    "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "prefetch_factor",
)  # fmt: skip
"""Names of the `DataLoader` arguments that `_same_but` copies."""


def _same_but(
    loader: DataLoader[Any], sampler: Any, generator: torch.Generator | None, *, training: bool = False
) -> DataLoader[Any]:
    """Returns a copy of a DataLoader with another sampler and random generator.

    Args:
        loader: DataLoader to copy.
        sampler: Sampler of the copy.
        generator: Random generator of the copy.
        training: Whether one item that is left over joins the last batch, unless `loader` drops the last batch.
    """
    same: dict[str, Any] = {name: getattr(loader, name) for name in _SAME}
    size = loader.batch_size or 1
    if training and not loader.drop_last:
        return DataLoader(loader.dataset, **_batching(sampler, size), generator=generator, **same)
    return DataLoader(loader.dataset, size, sampler=sampler, drop_last=loader.drop_last, generator=generator, **same)
