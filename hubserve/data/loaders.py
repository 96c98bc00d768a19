"""Batches from whatever people have: a torch data set, a DataLoader, or a data module."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sized
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler

from hubserve.errors import EvaluatorError

Batch = tuple[Any, Any]
"""Inputs and targets, as a DataLoader gives them."""

Data = Any
"""A `torch.utils.data.Dataset`, a `DataLoader`, any other iterable of batches with a length, or a list with one of these."""


class DataModule(Protocol):
    """What a training and a validation set may be given as together; Lightning's data modules fit."""

    def train_dataloader(self) -> Data:
        """The training data."""
        ...

    def val_dataloader(self) -> Data:
        """The validation data."""
        ...


def data_of(train: Data, val: Data, module: DataModule | None) -> tuple[Data, Data]:
    """The training and the validation data, each None where it was not given.

    Raises:
        EvaluatorError: given twice.
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
    """The first batches of a loader.

    Args:
        loader: of all batches.
        count: that are given.
    """

    def __init__(self, loader: Iterable[Batch], count: int) -> None:
        self._loader = loader
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        return itertools.islice(iter(self._loader), self._count)


def shuffled(data: Data, batch_size: int, seed: int, *, part: tuple[int, int] = (0, 1), in_order_too: bool = False) -> Any:
    """A loader for one training pass, in the order of `seed`.

    A data set is shuffled; a DataLoader that shuffles does so by `seed`, and one with an order of its own keeps it.

    Args:
        data: see Data.
        batch_size: where `data` is a data set.
        seed: of the order, and of what the loader's workers draw.
        part: (i, n): the i-th of n equal parts of the pass, for processes that train together.
        in_order_too: also shuffle a DataLoader that goes from the first index to the last: for validation data that is usual,
            and means nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(data, Dataset):
        sampler: Any = RandomSampler(data, generator=generator)  # type: ignore[arg-type]
        return DataLoader(data, batch_size, sampler=_Part(sampler, part, even=True), generator=generator)
    if isinstance(data, DataLoader) and data.batch_size is not None:
        sampler = data.sampler
        if in_order_too and type(sampler) is SequentialSampler:
            sampler = RandomSampler(sampler.data_source)
        return _same_but(data, _Part(_seeded(sampler, generator), part, even=True), generator)
    return in_order(data, batch_size, part=part)


def in_order(data: Data, batch_size: int, *, part: tuple[int, int] = (0, 1)) -> Any:
    """A loader for one pass in a fixed order; that of a data set, and of a loader that shuffles, is that of the indices."""
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


def _seeded(sampler: Any, generator: torch.Generator) -> Any:
    """`sampler`, its order drawn from `generator` where it draws one; others keep their order."""
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
    """Every n-th index of a sampler.

    Args:
        sampler: of all indices.
        part: (i, n).
        even: leave out the last indices where otherwise some parts would be longer: in training all must make the same steps.
    """

    def __init__(self, sampler: Any, part: tuple[int, int], *, even: bool) -> None:
        self._sampler = sampler
        self._part = part
        self._stop = len(sampler) // part[1] * part[1] if even else len(sampler)

    def __len__(self) -> int:
        return len(range(self._part[0], self._stop, self._part[1]))

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(iter(self._sampler), self._part[0], self._stop, self._part[1])


def _same_but(loader: DataLoader[Any], sampler: Any, generator: torch.Generator | None) -> DataLoader[Any]:
    return DataLoader(
        loader.dataset,
        loader.batch_size,
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=generator,
        prefetch_factor=loader.prefetch_factor,
    )
