"""Archs are learned from validation data of all classes, and from all of it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from hubserve.evaluator import Classification
from hubserve.strategy import DARTS, ENAS, Proxyless
from hubserve.strategy.oneshot import darts, enas, proxyless
from tests.strategy.oneshot.data import Noise
from tests.supernet.spaces import TINY, images

LOOKS = {
    "DARTS": (DARTS, darts.DartsSearch, "arch_step", lambda train, val: val[1]),
    "Proxyless": (Proxyless, proxyless.ProxylessSearch, "arch_step", lambda train, val: val[1]),
    "ENAS": (lambda: ENAS(final_samples=1), enas.EnasSearch, "_learn", lambda x, target: target),
}


def by_class(n: int, n_classes: int) -> TensorDataset:
    """Images as they lie in folders: one class after the other."""
    return TensorDataset(images(n), torch.arange(n) * n_classes // n)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOKS)
def test_all_classes_in_each_batch_and_all_batches_in_time(name, monkeypatch, tmp_path):
    make, kind, step, targets_of = LOOKS[name]
    seen: list[list[int]] = []
    taught = getattr(kind, step)

    def watched(self, *args):
        seen.append(targets_of(*args).tolist())
        return taught(self, *args)

    monkeypatch.setattr(kind, step, watched)

    def run(epochs, **settings):
        evaluator = Classification(
            train_dataloaders=TensorDataset(images(8), torch.arange(8)),
            val_dataloaders=DataLoader(by_class(24, 3), 6),
            batch_size=4,
            max_epochs=epochs,
        )
        seen.clear()
        make().run(TINY["NasBench201"], evaluator, seed=1, device="cpu", **settings)
        return list(seen)

    first = run(3)
    assert len(first) == 6
    assert all(len(set(batch)) > 1 for batch in first)
    assert first[:2] != first[2:4] != first[4:]
    assert run(3) == first

    def stop_in_the_third_epoch():
        return len(seen) == 5

    run(3, folder=tmp_path, should_stop=stop_in_the_third_epoch)
    assert run(3, folder=tmp_path) == first[4:]


def test_a_list_of_batches_is_shuffled_and_no_batch_left_out():
    evaluator = Noise(batches=5)
    places = {id(batch): i for i, batch in enumerate(evaluator.batches)}
    orders = [[places[id(batch)] for batch in evaluator.mixed_val_batches(seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2]) == [5, 6, 7, 8, 9]
