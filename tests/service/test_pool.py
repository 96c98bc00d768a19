"""The pool: batches fill by themselves, nobody waits in vain, and too much is refused at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import pytest

from hubserve.errors import ImageError, ModelNotFoundError, OverloadedError
from hubserve.service.engine import Engine
from hubserve.service.pool import Pool
from tests.pictures import noise, photo
from tests.stores import small_package


@pytest.fixture(scope="module")
def engine():
    return Engine(small_package(), device="cpu")


class Gate:
    """Finds one engine for every name but "nosuch", and holds the threads until it is opened."""

    def __init__(self, engine):
        self.engine, self.open, self.held = engine, threading.Event(), threading.Semaphore(0)

    def find(self, name):
        self.held.release()
        assert self.open.wait(30)
        if name == "nosuch":
            raise ModelNotFoundError("no nosuch")
        return f"{name}:1", self.engine


@pytest.fixture
def gate(engine):
    return Gate(engine)


def make(gate, **settings):
    return Pool(gate.find, **{"threads": 1, "max_batch": 4, "max_waiting": 8, **settings})


def results(futures):
    _, waiting = wait(futures, timeout=30)
    assert not waiting
    return [future.exception() or future.result() for future in futures]


def test_answers_are_the_engine_s_own(gate, engine):
    gate.open.set()
    pool = make(gate, threads=2)
    data = [photo("chelsea"), noise(), photo("coffee"), noise(seed=1)]
    for (tag, answer), picture in zip(results(pool.submit("a", data, 3)), data, strict=True):
        assert tag == "a:1"
        expected = engine.classify(picture, top_k=3).predictions
        assert [p.index for p in answer.predictions] == [p.index for p in expected]
        assert [p.probability for p in answer.predictions] == pytest.approx([p.probability for p in expected], abs=1e-5)
    pool.close()


def test_what_waits_becomes_a_batch(gate):
    pool = make(gate)
    first = pool.submit("a", [noise()], None)
    assert gate.held.acquire(timeout=10)
    later = [future for _ in range(6) for future in pool.submit("a", [noise()], None)]
    gate.open.set()
    sizes = [answer.batch_size for _, answer in results(first + later)]
    assert sizes == [1, 4, 4, 4, 4, 2, 2]
    pool.close()


def test_models_have_batches_of_their_own(gate):
    pool = make(gate)
    first = pool.submit("a", [noise()], None)
    assert gate.held.acquire(timeout=10)
    later = [future for name in ("a", "b", "a") for future in pool.submit(name, [noise()], None)]
    gate.open.set()
    answers = results(first + later)
    assert [tag for tag, _ in answers] == ["a:1", "a:1", "b:1", "a:1"]
    assert [answer.batch_size for _, answer in answers] == [1, 2, 1, 2]
    pool.close()


def test_a_wrong_picture_spoils_no_other(gate):
    gate.open.set()
    pool = make(gate)
    good, wrong, unknown, other = results(
        pool.submit("a", [noise(), b"hello"], None) + pool.submit("nosuch", [noise()], None) + pool.submit("a", [noise()], None)
    )
    assert isinstance(wrong, ImageError)
    assert isinstance(unknown, ModelNotFoundError)
    assert good[1].predictions == pytest.approx(other[1].predictions)
    pool.close()


def test_too_many_are_refused_at_once_and_none_of_them_is_taken(gate):
    pool = make(gate, max_waiting=3)
    taken = pool.submit("a", [noise()], None)
    assert gate.held.acquire(timeout=10)
    taken += pool.submit("a", [noise()] * 2, None)
    start = time.perf_counter()
    with pytest.raises(OverloadedError, match="2 pictures wait and at most 3 may, so 2 more are not taken"):
        pool.submit("a", [noise()] * 2, None)
    assert time.perf_counter() - start < 1
    taken += pool.submit("a", [noise()], None)
    gate.open.set()
    assert len(results(taken)) == 4
    # With room again, work goes on.
    assert results(pool.submit("a", [noise()], None))
    pool.close()


def test_a_request_larger_than_the_queue_is_taken_when_nothing_waits(gate):
    gate.open.set()
    pool = make(gate, max_waiting=2)
    assert len(results(pool.submit("a", [noise()] * 5, None))) == 5
    pool.close()


def test_who_has_left_is_not_worked_for(gate):
    pool = make(gate)
    first = pool.submit("a", [noise()], None)
    assert gate.held.acquire(timeout=10)
    left, stays = pool.submit("a", [noise()] * 2, None)
    assert left.cancel()
    gate.open.set()
    (answer,) = results([stays])
    assert answer[1].batch_size == 1
    results(first)
    pool.close()


def test_close_finishes_what_waits(gate):
    pool = make(gate, threads=3)
    futures = pool.submit("a", [noise()] * 7, None)
    threading.Timer(0.2, gate.open.set).start()
    pool.close()
    assert all(future.done() for future in futures)
