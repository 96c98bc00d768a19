"""Large requests: they wait in an order that is fair, take a share of the room, and are dropped when their client is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect, Request

from hubserve.errors import LateAnswerError, OverloadedError
from hubserve.service.awaited_request import AwaitedRequest
from hubserve.service.batch_queue import BatchQueue
from tests.images import encoded
from tests.waiting import until

HEAVY = encoded(Image.new("L", (7000, 7000)))
MIDDLE = encoded(Image.new("L", (3000, 4000)))
LIGHT = encoded(Image.new("L", (400, 400)))


class Recorder:
    """An engine that notes what it decodes, as soon as it may."""

    def __init__(self):
        self.order, self.at_work, self.most_at_work = [], 0, 0
        self.open, self.lock = threading.Event(), threading.Lock()

    def prepare(self, data, *, top_k=None, features=False):
        with self.lock:
            self.at_work += data is HEAVY
            self.most_at_work = max(self.most_at_work, self.at_work)
            self.order.append(data)
        assert self.open.wait(30)
        time.sleep(0.01 if data is HEAVY else 0)
        with self.lock:
            self.at_work -= data is HEAVY
        return data

    def answer(self, images):
        return list(images)


@pytest.fixture
def engine():
    return Recorder()


@pytest.fixture
def make():
    made = []

    def queue(**settings):
        made.append(BatchQueue(**{"threads": 1, "max_batch": 4, "max_waiting": 64, **settings}))
        return made[-1]

    yield queue
    for queue in made:
        queue.close()
        assert queue.inside == 0
        assert queue._pixels == pytest.approx(0)


def finish(engine, *futures):
    engine.open.set()
    assert not wait([future for some in futures for future in some], timeout=30)[1]


def test_a_light_image_passes_the_heavy_ones_of_a_request_before_it(make, engine):
    queue = make()
    heavy = queue.submit(engine, [HEAVY] * 16, None)
    until(lambda: engine.order)
    light = queue.submit(engine, [LIGHT], None)
    finish(engine, heavy, light)
    assert engine.order[:3] == [HEAVY, LIGHT, HEAVY]


def test_a_heavy_image_is_passed_by_as_much_work_as_it_is_itself(make, engine):
    queue = make(max_waiting=1000, max_batch=1)
    first = queue.submit(engine, [LIGHT], None)
    until(lambda: engine.order)
    heavy = queue.submit(engine, [HEAVY], None)
    light = queue.submit(engine, [LIGHT] * 100, None)
    finish(engine, first, heavy, light)
    # 49 megapixels and one, among images of 0.16 and one.
    assert 40 <= engine.order.index(HEAVY) <= 45


def test_heavy_images_leave_a_thread_free_and_are_one_at_a_time(make, engine):
    queue = make(threads=3)
    heavy = queue.submit(engine, [HEAVY] * 5, None)
    until(lambda: engine.order)
    light = queue.submit(engine, [LIGHT], None)
    until(lambda: LIGHT in engine.order)
    finish(engine, heavy, light)
    assert engine.most_at_work == 1


def test_a_batch_waits_for_no_large_image(make, engine):
    reported = []
    queue = make(on_batch=lambda _, size: reported.append(size))
    first = queue.submit(engine, [LIGHT], None)
    until(lambda: engine.order)
    finish(engine, first, queue.submit(engine, [LIGHT, LIGHT, MIDDLE, LIGHT], None))
    assert reported == [1, 2, 1, 1]


class TestAdmission:
    def test_a_few_large_requests_leave_room_for_others(self, make, engine):
        """Four requests of 16 images of 49 megapixels were 64 images, so everybody else was refused."""
        queue = make()
        taken = [queue.submit(engine, [HEAVY] * 16, None)]
        for _ in range(3):
            with pytest.raises(OverloadedError, match=r"a request may have at most half .* so 16 more of 784.0 megapixels"):
                queue.submit(engine, [HEAVY] * 16, None)
        taken += [queue.submit(engine, [HEAVY] * 4, None)]
        taken += [queue.submit(engine, [LIGHT], None) for _ in range(40)]
        for future in (one for some in taken for one in some):
            future.cancel()
        finish(engine)

    def test_images_of_middle_size_do_not_fill_the_queue_either(self, make, engine):
        queue = make()
        taken, refused = [], 0
        for _ in range(8):
            try:
                taken += queue.submit(engine, [MIDDLE] * 16, None)
            except OverloadedError:
                refused += 1
        assert (len(taken), refused) == (48, 5)
        taken += queue.submit(engine, [LIGHT] * 16, None)
        with pytest.raises(OverloadedError, match="64 images wait and at most 64 may, so 1 more are not taken"):
            queue.submit(engine, [LIGHT], None)
        for future in taken:
            future.cancel()
        finish(engine)

    def test_arrays_weigh_by_their_elements(self, make, engine):
        queue = make(max_waiting_pixels=10_000_000)
        taken = queue.submit(engine, [LIGHT], None)
        with pytest.raises(OverloadedError, match=r"so 9 more of 17\.3 megapixels are not taken"):
            queue.submit(engine, list(np.zeros((9, 3, 800, 800), np.float32)), None)
        finish(engine, taken)

    def test_a_phone_s_photos_are_as_welcome_as_before(self, make, engine):
        queue = make()
        taken = [queue.submit(engine, [MIDDLE], None) for _ in range(64)]
        for (future,) in taken:
            future.cancel()
        finish(engine)


class TestDropped:
    def test_before_the_decoding_and_room_is_there_at_once(self, make, engine):
        steps = []
        queue = make(on_drop=steps.append)
        futures = queue.submit(engine, [HEAVY] * 16, None)
        until(lambda: engine.order)
        for future in futures:
            future.cancel()
        assert queue.inside == 1
        assert [future.data for future in futures[1:]] == [b""] * 15
        engine.open.set()
        until(lambda: not queue.inside)
        until(lambda: len(steps) == 16)
        assert engine.order == [HEAVY]
        assert sorted(steps) == ["decode"] * 15 + ["infer"]

    def test_before_the_inference(self, make, engine):
        reported, steps = [], []
        queue = make(on_batch=lambda _, size: reported.append(size), on_drop=steps.append)
        (gone,) = queue.submit(engine, [LIGHT], None)
        until(lambda: engine.order)
        assert not gone.cancel()
        engine.open.set()
        until(lambda: steps == ["infer"])
        assert reported == []


def _request(receive) -> Request:
    return Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive)


class TestAwaited:
    def test_a_client_that_disconnects(self):
        async def receive():
            await asyncio.sleep(0.15)
            return {"type": "http.disconnect"}

        async def handle():
            async with AwaitedRequest(_request(receive), 30):
                await asyncio.sleep(20)

        start = time.monotonic()
        with pytest.raises(ClientDisconnect):
            asyncio.run(handle())
        assert time.monotonic() - start < 5

    def test_the_time_is_over(self):
        async def receive():
            await asyncio.sleep(60)

        async def handle():
            async with AwaitedRequest(_request(receive), 0.2):
                await asyncio.sleep(20)

        with pytest.raises(LateAnswerError, match=r"not classified within 0\.2 s"):
            asyncio.run(handle())

    def test_a_fast_answer_has_no_task_of_its_own(self):
        async def receive():
            raise AssertionError("the connection was watched")

        async def handle():
            async with AwaitedRequest(_request(receive), 30):
                await asyncio.sleep(0.01)
                return len(asyncio.all_tasks())

        assert asyncio.run(handle()) == 1

    def test_another_cancellation_stays_one(self):
        async def handle():
            async with AwaitedRequest(_request(lambda: asyncio.sleep(60)), 30):
                await asyncio.sleep(20)

        async def cancel():
            task = asyncio.ensure_future(handle())
            await asyncio.sleep(0.2)
            task.cancel()
            await task

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancel())

    def test_it_costs_microseconds(self):
        async def handle():
            async with AwaitedRequest(_request(None), 30):
                pass

        async def many():
            start = time.process_time()
            for _ in range(2000):
                await handle()
            return (time.process_time() - start) / 2000

        assert min(asyncio.run(many()) for _ in range(3)) < 100e-6
