"""Trials in processes."""

from __future__ import annotations

import os

import pytest
import torch

from hubserve.errors import ExperimentError
from hubserve.experiment import Constraint, NasExperiment, ProcessExecutor
from hubserve.strategy import Random
from tests.experiment.conformance import Lent, RemoteConformance, add
from tests.experiment.small import Small, Value, value
from tests.process_tree import listening, tree

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture(scope="module")
def started():
    with two_processes() as executor:
        yield executor


def two_processes():
    return ProcessExecutor(2, threads=1)


class TestProcesses(RemoteConformance):
    make = staticmethod(two_processes)

    @pytest.fixture
    def executor(self, started):
        return started

    def test_threads_are_bounded(self, executor):
        assert executor.submit(torch.get_num_threads).result(timeout=120) == 1

    def test_they_have_no_socket_that_another_process_can_open(self, executor):
        worker = executor.submit(os.getpid).result(timeout=120)
        assert worker in tree(os.getpid())
        # Not the whole tree of this process, in which servers of other tests may run.
        assert {address for pid in tree(worker) for address in listening(pid)} == set()

    def test_an_experiment_runs_in_them(self, executor, tmp_path):
        experiment = NasExperiment(
            Small(),
            Value(),
            Random(seed=1),
            max_trials=12,
            constraints=[Constraint("params", "<=", 2000)],
            input_shape=(3, 8, 8),
            folder=tmp_path,
            executor=Lent(executor, 2),
        )
        experiment.run()
        done = [record for record in experiment.trials if record.state == "complete"]
        assert len(done) == 12
        assert all(record.scores["default"] == value(record.arch) for record in done)


def test_numbers_must_make_sense():
    with pytest.raises(ExperimentError, match="workers = 0"):
        ProcessExecutor(0)
    with pytest.raises(ExperimentError, match="not started"):
        ProcessExecutor(1).submit(add, 1, 2)
