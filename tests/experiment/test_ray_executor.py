"""Trials on a Ray cluster of this machine, started once for all tests here."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from hubserve.errors import ExperimentError
from hubserve.experiment import NasExperiment
from hubserve.strategy import Random
from tests.experiment.conformance import RemoteConformance
from tests.experiment.small import Small, Value, value

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, _node_ip_address="127.0.0.1"
    )
    yield
    ray.shutdown()


def local_ray():
    from hubserve.experiment import RayExecutor

    return RayExecutor(2)


class TestRay(RemoteConformance):
    make = staticmethod(local_ray)

    @pytest.fixture
    def executor(self, cluster):
        from hubserve.experiment import RayExecutor

        with RayExecutor() as executor:
            yield executor

    def test_as_many_at_once_as_there_is_room_for(self, executor):
        assert executor.workers == 2

    def test_an_experiment_runs_on_it(self, cluster, tmp_path):
        from hubserve.experiment import RayExecutor

        experiment = NasExperiment(Small(), Value(), Random(seed=1), max_trials=12, folder=tmp_path, executor=RayExecutor())
        experiment.run()
        assert [record.state for record in experiment.trials] == ["complete"] * 12
        assert all(record.scores["default"] == value(record.arch) for record in experiment.trials)

    @pytest.mark.slow
    @pytest.mark.parametrize("workers", [2, None])
    def test_the_cluster_that_the_environment_names_is_used(self, cluster, workers):
        """As `ray job submit` names it: no other one is started, and it is not told how many cores it has."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        code = f"""
import ray
from hubserve.experiment import RayExecutor

with RayExecutor({workers}) as executor:
    print(executor.workers, ray.get_runtime_context().get_node_id(), executor.submit(sum, [1, 2]).result(60))
"""
        env = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[-3:] == ["2", node, "3"]
        assert ray.is_initialized()

    def test_a_trial_that_fits_nowhere_is_refused(self, cluster):
        from hubserve.experiment import RayExecutor

        with pytest.raises(ExperimentError, match="too few resources for a trial"), RayExecutor(cpus_per_trial=64):
            pass
