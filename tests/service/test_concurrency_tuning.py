"""Which concurrency is chosen: measured by a clock that only the engines of the tests advance."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import pytest
from PIL import Image

from hubserve.errors import ExportError
from hubserve.service import concurrency_tuning as module
from hubserve.service.concurrency_tuning import (
    Concurrency,
    candidate_concurrencies,
    default_concurrency,
    fastest_concurrency,
    images_per_second,
    measure,
    photo,
)

ONE, FOUR, WIDE = (
    Concurrency(threads=1, max_batch=1),
    Concurrency(threads=1, max_batch=4),
    Concurrency(threads=1, session_threads=2, max_batch=4),
)


class Clock:
    """Time that stands still but for `advance`."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """An engine whose answer to a batch of n images takes `cost[n]` seconds of a clock."""

    def __init__(self, clock: Clock, cost: dict[int, float]) -> None:
        self.clock, self.cost, self.calls = clock, cost, []

    def prepare(self, image: bytes) -> bytes:
        return image

    def answer(self, batch: Sequence[bytes]) -> None:
        self.calls.append(len(batch))
        self.clock.now += self.cost[len(batch)]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(module, "cores", lambda: 2)


def engines(clock: Clock, costs: dict[int, dict[int, float]]):
    """Returns what `measure` loads, and the engines that were loaded, by their session_threads."""
    loaded: dict[int, FakeEngine] = {}

    def load(session_threads: int) -> FakeEngine:
        assert session_threads not in loaded
        loaded[session_threads] = FakeEngine(clock, costs[session_threads])
        return loaded[session_threads]

    return load, loaded


class TestImagesPerSecond:
    def test_whole_batches_until_the_time_is_over(self, clock):
        engine = FakeEngine(clock, {4: 0.5})
        assert images_per_second(engine, FOUR, b"image", seconds=1.6, clock=clock) == pytest.approx(16 / 2.0)
        assert engine.calls == [4, 4, 4, 4]

    def test_one_batch_at_least(self, clock):
        engine = FakeEngine(clock, {1: 3.0})
        assert images_per_second(engine, ONE, b"image", seconds=0.1, clock=clock) == pytest.approx(1 / 3)

    def test_each_thread_has_its_batches(self, clock):
        engine = FakeEngine(clock, {2: 1.0})
        setting = Concurrency(threads=3, max_batch=2)
        speed = images_per_second(engine, setting, b"image", seconds=0.5, clock=clock)
        assert len(engine.calls) >= 3
        assert speed == pytest.approx(2 * len(engine.calls) / (clock.now - 100.0))

    def test_an_engine_that_cannot_run(self, clock):
        engine = FakeEngine(clock, {})
        with pytest.raises(KeyError):
            images_per_second(engine, Concurrency(threads=2, max_batch=2), b"image", seconds=0.5, clock=clock)
        assert engine.calls


class TestMeasure:
    def test_the_fastest_is_chosen(self, clock):
        load, loaded = engines(clock, {1: {1: 0.010, 4: 0.050}, 2: {4: 0.020}})
        found = measure(load, [ONE, FOUR, WIDE], seconds=2.0, clock=clock)
        assert found == WIDE.model_copy(update={"images_per_second": 200.0})
        assert set(loaded) == {1, 2}

    @pytest.mark.parametrize(("cost", "chosen"), [(0.0385, ONE), (0.0375, FOUR)])
    def test_a_small_difference_keeps_the_first(self, clock, cost, chosen):
        """A batch of four in 0.0385 s is 3.9 % faster than four images in 0.04 s, and in 0.0375 s 6.7 %."""
        load, _ = engines(clock, {1: {1: 0.010, 4: cost}})
        found = measure(load, [ONE, FOUR], seconds=2.0, clock=clock)
        assert (found.threads, found.max_batch) == (chosen.threads, chosen.max_batch)

    def test_settings_for_which_no_time_is_left(self, clock):
        """The first call takes all of the time, and the second would be faster."""
        load, loaded = engines(clock, {1: {1: 5.0, 4: 0.001}})
        found = measure(load, [ONE, FOUR], seconds=2.0, clock=clock)
        assert found == ONE.model_copy(update={"images_per_second": 0.2})
        assert loaded[1].calls == [1]

    def test_the_better_of_two_rounds_counts(self, clock):
        """The first round is disturbed: the first of its calls takes a second."""
        load, loaded = engines(clock, {1: {1: 0.010}})

        def disturbed(session_threads: int) -> FakeEngine:
            engine = load(session_threads)
            engine.prepare = lambda image: setattr(clock, "now", clock.now + (not engine.calls)) or image
            return engine

        assert measure(disturbed, [ONE], seconds=4.0, clock=clock).images_per_second == 100.0
        assert len(loaded[1].calls) > 200


class TestCandidates:
    def test_the_default_is_the_first(self, two_cores):
        for device in ("cpu", "cuda"):
            found = candidate_concurrencies(device)
            assert found[0] == default_concurrency(device)
            assert len(set(found)) == len(found)

    def test_no_more_cores_than_there_are(self, two_cores):
        assert {setting.threads * setting.session_threads for setting in candidate_concurrencies("cpu")} == {2}
        assert {setting.session_threads for setting in candidate_concurrencies("cpu")} == {1, 2}

    def test_one_core(self, monkeypatch):
        monkeypatch.setattr(module, "cores", lambda: 1)
        assert {(setting.threads, setting.session_threads) for setting in candidate_concurrencies("cpu")} == {(1, 1)}


class TestFastest:
    @pytest.fixture(autouse=True)
    def own_home(self, tmp_path, monkeypatch, two_cores):
        monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
        return tmp_path

    @pytest.fixture
    def measured(self, monkeypatch):
        """The candidates of each measurement, whose result is the last one."""
        calls: list[list[Concurrency]] = []

        def found(load: object, settings: list[Concurrency]) -> Concurrency:
            calls.append(settings)
            return settings[-1].model_copy(update={"images_per_second": 7.0})

        monkeypatch.setattr(module, "measure", found)
        return calls

    def test_a_measurement_is_kept(self, measured):
        first = fastest_concurrency("a model", lambda count: None)
        assert first.images_per_second == 7.0
        assert fastest_concurrency("a model", lambda count: None) == first
        assert measured == [candidate_concurrencies("cpu")]

    def test_for_the_model_the_device_and_the_cores(self, measured, monkeypatch):
        fastest_concurrency("a model", lambda count: None)
        fastest_concurrency("another", lambda count: None)
        fastest_concurrency("a model", lambda count: None, device="cuda")
        monkeypatch.setattr(module, "cores", lambda: 4)
        fastest_concurrency("a model", lambda count: None)
        assert len(measured) == 4
        assert measured[2] == candidate_concurrencies("cuda")

    @pytest.mark.parametrize("content", ["{", '{"a model": {"threads": 0}}', "[]"])
    def test_a_file_that_cannot_be_read(self, measured, own_home, content):
        (own_home / "serving.json").write_text(content, "utf-8")
        fastest_concurrency("a model", lambda count: None)
        fastest_concurrency("a model", lambda count: None)
        assert len(measured) == 1

    def test_a_model_that_cannot_be_measured(self, own_home, caplog):
        def load(session_threads: int) -> FakeEngine:
            raise ExportError("it has no format 'onnx'")

        with caplog.at_level(logging.WARNING, "hubserve.service"):
            assert fastest_concurrency("a model", load) == default_concurrency()
        assert "not measured: it has no format 'onnx'" in caplog.text
        assert not (own_home / "serving.json").exists()


def test_the_photo_is_a_jpeg_of_the_size_of_a_photo():
    with Image.open(io.BytesIO(photo())) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (500, 375), "RGB")
    assert photo() == photo()
