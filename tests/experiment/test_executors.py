"""The executor of this process."""

from __future__ import annotations

import os

import pytest

from hubserve.experiment import Executor, InlineExecutor
from tests.experiment.conformance import ExecutorConformance, process_id


class TestInline(ExecutorConformance):
    make = InlineExecutor

    @pytest.fixture
    def executor(self) -> InlineExecutor:
        return InlineExecutor()

    def test_it_is_this_process_and_done_at_once(self, executor):
        future = executor.submit(process_id, 0)
        assert future.done()
        assert future.result() == os.getpid()
        assert isinstance(executor, Executor)

    def test_an_interrupt_is_not_a_failed_trial(self, executor):
        def interrupt():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            executor.submit(interrupt)
