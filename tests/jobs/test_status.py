"""Tests of which epoch of a fine-tuning is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.jobs import EpochRow, best_epoch
from hubserve.jobs.status import highest_epoch


def rows(*accuracies: float, images: int | None) -> list[EpochRow]:
    return [
        EpochRow(epoch=i, train_loss=None, val_acc=acc, val_loss=1.0, seconds=i, val_images=images)
        for i, acc in enumerate(accuracies)
    ]


class TestBestEpoch:
    # The standard error of a difference is sqrt(2 * .8 * .2 / 200) = .04 where the highest accuracy is .8.
    @pytest.mark.parametrize(
        ("accuracies", "kept"),
        [((0.8, 0.761), 1), ((0.8, 0.759), 0), ((0.5, 0.8, 0.77, 0.7), 2), ((0.5, 0.8, 0.7, 0.78), 3), ((0.1,), 0)],
    )
    def test_it_is_the_last_that_is_as_good_within_sampling_error(self, accuracies: tuple[float, ...], kept: int) -> None:
        assert best_epoch(rows(*accuracies, images=200)).epoch == kept

    def test_the_more_images_the_less_is_luck(self) -> None:
        assert best_epoch(rows(0.8, 0.79, images=200)).epoch == 1
        assert best_epoch(rows(0.8, 0.79, images=200_000)).epoch == 0

    def test_runs_that_do_not_know_the_number_of_images_keep_the_highest(self) -> None:
        assert best_epoch(rows(0.8, 0.79, images=None)).epoch == 0

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 1000))
    def test_weights_that_are_kept_on_the_way_are_those_of_the_end(self, accuracies: list[float], images: int) -> None:
        history = rows(*accuracies, images=images)
        so_far = [history[: i + 1] for i in range(len(history))]
        kept = [found[-1] for found in so_far if best_epoch(found) is found[-1]]
        assert kept[-1] is best_epoch(history)
        assert best_epoch(history).epoch >= highest_epoch(history).epoch
