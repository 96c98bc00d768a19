"""The batch queue: batches fill by themselves, nobody waits in vain, and too much is refused at once."""

from __future__ import annotations

import threading
from concurrent.futures import wait

import pytest

from hubserve.errors import ImageError, OverloadedError
from hubserve.service.batch_queue import BatchQueue
from hubserve.service.engine import Engine
from tests.images import noise, photo
from tests.stores import small_package


@pytest.fixture(scope="module")
def engine():
    return Engine(small_package(), device="cpu")


class Gate:
    """An engine that holds the threads until it is opened."""

    def __init__(self, engine):
        self.engine, self.open, self.held = engine, threading.Event(), threading.Semaphore(0)

    def prepare(self, data, *, top_k=None, features=False):
        self.held.release()
        assert self.open.wait(30)
        return self.engine.prepare(data, top_k=top_k)

    def answer(self, pictures):
        return self.engine.answer(pictures)


@pytest.fixture
def gate(engine):
    return Gate(engine)


def make(**settings):
    return BatchQueue(**{"threads": 1, "max_batch": 4, "max_waiting": 8, **settings})


def results(futures):
    _, waiting = wait(futures, timeout=30)
    assert not waiting
    return [future.exception() or future.result() for future in futures]


def test_answers_are_the_engine_s_own(engine):
    batch_queue = make(threads=2)
    data = [photo("chelsea"), noise(), photo("coffee"), noise(seed=1)]
    for answer, image in zip(results(batch_queue.submit(engine, data, 3)), data, strict=True):
        expected = engine.classify(image, top_k=3).predictions
        assert [p.index for p in answer.predictions] == [p.index for p in expected]
        assert [p.probability for p in answer.predictions] == pytest.approx([p.probability for p in expected], abs=1e-5)
    batch_queue.close()


def test_what_waits_becomes_a_batch(gate):
    reported = []
    batch_queue = make(on_batch=lambda _, size: reported.append(size))
    first = batch_queue.submit(gate, [noise()], None)
    assert gate.held.acquire(timeout=10)
    later = [future for _ in range(6) for future in batch_queue.submit(gate, [noise()], None)]
    gate.open.set()
    sizes = [answer.batch_size for answer in results(first + later)]
    assert sizes == [1, 4, 4, 4, 4, 2, 2]
    assert reported == [1, 4, 2]
    batch_queue.close()


def test_models_have_batches_of_their_own(gate, engine):
    batch_queue = make()
    first = batch_queue.submit(gate, [noise()], None)
    assert gate.held.acquire(timeout=10)
    later = [future for one in (gate, engine, gate) for future in batch_queue.submit(one, [noise()], None)]
    gate.open.set()
    assert [answer.batch_size for answer in results(first + later)] == [1, 2, 1, 2]
    batch_queue.close()


def test_a_wrong_picture_spoils_no_other(engine):
    batch_queue = make()
    good, wrong, other = results(
        batch_queue.submit(engine, [noise(), b"hello"], None) + batch_queue.submit(engine, [noise()], None)
    )
    assert isinstance(wrong, ImageError)
    assert good.predictions == pytest.approx(other.predictions)
    batch_queue.close()


def test_too_many_are_refused_at_once_and_none_of_them_is_taken(gate):
    batch_queue = make(max_waiting=4)
    taken = batch_queue.submit(gate, [noise()], None)
    assert gate.held.acquire(timeout=10)
    taken += batch_queue.submit(gate, [noise()] * 2, None)
    assert batch_queue.inside == 3
    batch_queue.check_room()
    with pytest.raises(OverloadedError, match="3 images wait and at most 4 may, so 2 more are not taken"):
        batch_queue.submit(gate, [noise()] * 2, None)
    taken += batch_queue.submit(gate, [noise()], None)
    with pytest.raises(OverloadedError, match="4 images wait and at most 4 may, so 1 more"):
        batch_queue.check_room()
    gate.open.set()
    assert len(results(taken)) == 4
    # With room again, work goes on.
    assert results(batch_queue.submit(gate, [noise()], None))
    batch_queue.close()
    assert batch_queue.inside == 0


def test_a_request_larger_than_the_house_is_taken_when_it_is_empty(engine):
    batch_queue = make(max_waiting=2)
    assert len(results(batch_queue.submit(engine, [noise()] * 5, None))) == 5
    batch_queue.close()


def test_who_has_left_is_not_worked_for(gate):
    batch_queue = make()
    first = batch_queue.submit(gate, [noise()], None)
    assert gate.held.acquire(timeout=10)
    left, stays = batch_queue.submit(gate, [noise()] * 2, None)
    assert left.cancel()
    gate.open.set()
    (answer,) = results([stays])
    assert answer.batch_size == 1
    results(first)
    batch_queue.close()


def test_what_did_not_begin_is_left_out_of_a_batch_that_did(engine):
    first, behind = Gate(engine), Gate(engine)
    batch_queue = make()
    before = batch_queue.submit(first, [noise()], None)
    assert first.held.acquire(timeout=10)
    slow, left, stays = batch_queue.submit(behind, [noise()] * 3, None)
    first.open.set()
    assert behind.held.acquire(timeout=10)
    # They are one batch, and the first of them is at work.
    assert left.cancel()
    behind.open.set()
    assert [answer.batch_size for answer in results([*before, slow, stays])] == [1, 2, 2]
    assert behind.held.acquire(timeout=10)
    assert not behind.held.acquire(blocking=False)
    batch_queue.close()
    assert batch_queue.inside == 0


def test_close_does_not_wait_for_ever(gate, caplog):
    batch_queue = make()
    futures = batch_queue.submit(gate, [noise()], None)
    assert gate.held.acquire(timeout=10)
    batch_queue.close(0.05)
    assert "1 threads are still at work after 0.05 s" in caplog.text
    gate.open.set()
    results(futures)


def test_close_finishes_what_waits(gate):
    batch_queue = make(threads=3)
    futures = batch_queue.submit(gate, [noise()] * 7, None)
    threading.Timer(0.2, gate.open.set).start()
    batch_queue.close()
    assert all(future.done() for future in futures)
