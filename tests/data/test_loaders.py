"""Batches from data sets, loaders and modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from hubserve.data.loaders import Batches, in_order, shuffled
from hubserve.errors import EvaluatorError
from hubserve.evaluator import Classification

NUMBERS = TensorDataset(torch.arange(10), torch.arange(10) * 10)


def first(loader):
    return [inputs.tolist() for inputs, _ in loader]


def flat(batches):
    return [item for batch in batches for item in batch]


@pytest.mark.parametrize("data", [NUMBERS, DataLoader(NUMBERS, 4, shuffle=True)], ids=["set", "loader"])
def test_the_seed_orders_the_training_data(data):
    one = first(shuffled(data, 4, seed=1))
    assert [len(batch) for batch in one] == [4, 4, 2]
    assert sorted(flat(one)) == list(range(10))
    assert one == first(shuffled(data, 4, seed=1))
    assert one != first(shuffled(data, 4, seed=2))


def test_a_loader_keeps_what_it_was_made_with():
    def collate(items):
        return torch.tensor([a.item() for a, _ in items]) + 100, None

    loader = DataLoader(NUMBERS, 3, shuffle=True, drop_last=True, collate_fn=collate)
    again = shuffled(loader, 64, seed=1)
    assert len(again) == 3
    assert all(100 <= item < 110 for item in flat(first(again)))


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, 3, shuffle=True)], ids=["set", "loader"])
@pytest.mark.parametrize(("count", "sizes"), [(10, [3, 3, 4]), (4, [4]), (9, [3, 3, 3]), (11, [3, 3, 3, 2]), (1, [1])])
def test_a_last_batch_of_one_joins_the_one_before_it(wrap, count, sizes):
    loader = shuffled(wrap(TensorDataset(torch.arange(count), torch.arange(count))), 3, seed=1)
    batches = first(loader)
    assert [len(batch) for batch in batches] == sizes
    assert len(loader) == len(sizes)
    assert sorted(flat(batches)) == list(range(count))


def test_what_is_left_out_stays_left_out():
    """A loader that drops the last batch, batches of one, and the order of validation data."""
    assert [len(batch) for batch in first(shuffled(DataLoader(NUMBERS, 3, shuffle=True, drop_last=True), 3, seed=1))] == [
        3,
        3,
        3,
    ]
    assert len(first(shuffled(NUMBERS, 1, seed=1))) == 10
    assert [len(batch) for batch in first(in_order(NUMBERS, 3))] == [3, 3, 3, 1]
    assert [len(batch) for batch in first(shuffled(NUMBERS, 2, seed=1, part=(0, 2)))] == [2, 3]


def test_an_order_of_its_own_is_kept():
    assert flat(first(shuffled(DataLoader(NUMBERS, 4), 64, seed=1))) == list(range(10))
    assert first(in_order(NUMBERS, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    batches = [(torch.tensor([1]), torch.tensor([2]))]
    assert in_order(batches, 4) is batches


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, 3)])
def test_validation_data_is_mixed_for_those_that_learn_from_it(wrap):
    data = TensorDataset(torch.arange(12.0), torch.arange(12) // 4)
    evaluator = Classification(val_dataloaders=wrap(data), batch_size=3)
    assert flat(first(evaluator.val_batches())) == list(range(12))
    mixed = [flat(first(evaluator.mixed_val_batches(seed))) for seed in (1, 1, 2)]
    assert mixed[0] == mixed[1] != mixed[2]
    assert all(sorted(each) == list(range(12)) != each for each in mixed)
    assert len(Classification(val_dataloaders=wrap(data), batch_size=3, limit_val_batches=2).mixed_val_batches(0)) == 2


def test_subsets_are_kept_and_ordered_by_the_seed():
    """As scripts divide one data set in two."""
    loader = DataLoader(NUMBERS, 2, sampler=SubsetRandomSampler([1, 3, 5, 7, 9]))
    one = flat(first(shuffled(loader, 64, seed=1)))
    assert sorted(one) == [1, 3, 5, 7, 9]
    assert one == flat(first(shuffled(loader, 64, seed=1))) != flat(first(shuffled(loader, 64, seed=2)))
    assert flat(first(in_order(loader, 64))) == [1, 3, 5, 7, 9]


@pytest.mark.parametrize("data", [NUMBERS, DataLoader(NUMBERS, 2, shuffle=True)], ids=["set", "loader"])
def test_parts_together_are_the_whole(data):
    parts = [first(shuffled(data, 2, seed=1, part=(i, 3))) for i in range(3)]
    assert [len(flat(part)) for part in parts] == [3, 3, 3]
    assert len(set(flat(flat(parts)))) == 9
    validated = [flat(first(in_order(data, 2, part=(i, 3)))) for i in range(3)]
    assert sorted(flat(validated)) == list(range(10))


def test_what_cannot_be_divided_is_refused():
    with pytest.raises(EvaluatorError, match="list cannot be divided among 2"):
        in_order([(1, 2)], 4, part=(0, 2))
    with pytest.raises(EvaluatorError, match="data of type generator"):
        in_order((x for x in [1]), 4)


def test_a_module_is_prepared_first():
    class Module:
        steps: tuple = ()

        def prepare_data(self):
            self.steps += ("prepare",)

        def setup(self, stage):
            self.steps += (stage,)

        def train_dataloader(self):
            assert self.steps == ("prepare", "fit")
            return DataLoader(NUMBERS, 5, shuffle=True)

        def val_dataloader(self):
            return [DataLoader(NUMBERS, 2)]

    module = Module()
    evaluator = Classification(datamodule=module)
    assert len(evaluator.train_batches(0)) == 2
    assert first(evaluator.val_batches())[0] == [0, 1]


def failing(error):
    yield torch.zeros(1), torch.zeros(1)
    raise error


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("unable to write to file </torch_4711_1_0>: No space left on device (28)"),
        RuntimeError(
            "DataLoader worker (pid 4711) is killed by signal: Bus error. It is possible that dataloader's workers ..."
        ),
        RuntimeError("unable to open shared memory object </torch_4711_1> in read-write mode: Too many open files (24)"),
        OSError(28, "No space left on device: '/torch_shm_manager'"),
    ],
)
def test_where_shared_memory_is_full_the_advice_is_fewer_workers(error):
    with pytest.raises(
        EvaluatorError, match=r"too little shared memory \(/dev/shm\): .* Set data\.workers .* --shm-size=2g"
    ) as found:
        list(Batches(failing(error), 3))
    assert found.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("Expected 4D input"), OSError(28, "No space left on device: '/data/x.png'")])
def test_other_errors_of_a_loader_are_its_own(error):
    with pytest.raises(type(error)) as found:
        list(Batches(failing(error), 3))
    assert found.value is error


SMALL_SHARED_MEMORY = """
import torch
from torch.utils.data import DataLoader, TensorDataset
from hubserve.errors import EvaluatorError
from hubserve.evaluator import Classification

data = TensorDataset(torch.zeros(8, 3, 256, 256), torch.zeros(8))
try:
    list(Classification(train_dataloaders=DataLoader(data, 4, shuffle=True, num_workers=1)).train_batches(0))
except EvaluatorError as error:
    print(error)
"""


@pytest.mark.slow
def test_really_full_shared_memory():
    """A batch has 3 MB, and /dev/shm, in namespaces of its own, 1 MB."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow user and mount namespaces")
    script = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$0" -c "$1"'
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, SMALL_SHARED_MEMORY]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert "too little shared memory (/dev/shm): " in ran.stdout, ran.stdout + ran.stderr
    assert "Set data.workers (num_workers of a DataLoader) lower, to 0 for none" in ran.stdout
