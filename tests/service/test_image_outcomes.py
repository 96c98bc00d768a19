"""What a request waits for: all its images, each with its answer or its error."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future

import pytest

from hubserve.errors import LogitsError
from hubserve.service.image_outcomes import outcomes_of


def futures(count: int) -> list[Future]:
    made = [Future() for _ in range(count)]
    for future in made[1:]:
        future.set_running_or_notify_cancel()
    return made


def test_answers_and_errors_in_order():
    first, second, third, fourth = images = futures(4)
    error = LogitsError("a logit is NaN")

    async def wait():
        waiting = asyncio.ensure_future(outcomes_of(images))
        await asyncio.sleep(0)
        for work in (lambda: third.set_result("c"), lambda: second.set_exception(error)):
            thread = threading.Thread(target=work)
            thread.start()
            await asyncio.to_thread(thread.join)
        assert not waiting.done(), "two images have no answer yet"
        fourth.set_exception(CancelledError())
        first.set_result("a")
        return await waiting

    found = asyncio.run(wait())
    assert found[:3] == ["a", error, "c"]
    assert type(found[3]) is asyncio.CancelledError


def test_images_that_are_done_already():
    (image,) = futures(1)
    image.set_result("a")
    assert asyncio.run(outcomes_of([image])) == ["a"]


def test_who_waits_no_more_cancels_all_images():
    waiting, running = images = futures(2)

    async def wait():
        task = asyncio.ensure_future(outcomes_of(images))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        running.set_result("late")  # Its thread went on with it; nobody is told.

    asyncio.run(wait())
    assert waiting.cancelled()
    assert not running.cancelled()


def test_an_answer_after_the_end_of_the_loop_is_no_error(caplog):
    (image,) = futures(1)

    loop = asyncio.new_event_loop()
    task = loop.create_task(outcomes_of([image]))
    loop.run_until_complete(asyncio.sleep(0))
    image.set_running_or_notify_cancel()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    image.set_result("late")
    assert "exception calling callback" not in caplog.text
