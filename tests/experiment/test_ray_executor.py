"""Trials on a Ray cluster of this machine, started once for all tests here."""

from __future__ import annotations

import contextlib
import json
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
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


def local_ray():
    from hubserve.experiment import RayExecutor

    return RayExecutor(2)


@pytest.mark.slow
class TestRay(RemoteConformance):
    make = staticmethod(local_ray)

    @pytest.fixture
    def executor(self, cluster):
        from hubserve.experiment import RayExecutor

        with RayExecutor() as executor:
            yield executor

    def test_as_many_at_once_as_there_is_room_for(self, executor):
        assert executor.workers == 2

    @pytest.mark.slow
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


OWN_CLUSTER = """
import json, os, subprocess, sys
from hubserve.experiment import RayExecutor
from hubserve.process_tree import descendants

with RayExecutor(1, address="local") as executor:
    assert executor.submit(sum, [1, 2]).result(60) == 3
    import ray

    below = {os.getpid(), *descendants(os.getpid())}
    print(json.dumps([sorted(below), ray.get_runtime_context().gcs_address]), flush=True)
    sys.stdin.readline()
"""

OTHER = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("connected")
"""


@pytest.mark.slow
def test_a_ray_of_ones_own_is_for_this_process_alone(tmp_path):
    """All its ports are on the loopback address, and a process without its token is refused."""
    pytest.importorskip("ray")
    pytest.importorskip("psutil")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    job = subprocess.Popen(
        [sys.executable, "-c", OWN_CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean
    )
    try:
        below, address = json.loads(job.stdout.readline())
        addresses = [sock for pid in below for sock in listening(pid)]
        assert len(addresses) >= 3
        assert {ip for ip, _ in addresses} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        assert address.startswith("127.0.0.1:")
        # Refused by Ray, some versions of which try again and again; with the token it takes 5 s on an idle machine.
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER, address], env=clean | {"HOME": str(tmp_path)}, stdout=subprocess.PIPE
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert other.wait(40) != 0
        other.kill()
        assert b"connected" not in other.communicate()[0]
    finally:
        job.communicate("\n", timeout=60)


def listening(pid: int) -> list[tuple[str, int]]:
    """(address, port) of each TCP socket on which a process listens."""
    import psutil

    try:
        return [(c.laddr.ip, c.laddr.port) for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"]
    except psutil.NoSuchProcess:
        return []


AFTER_ANOTHER_CLUSTER = """
import ray
from hubserve.experiment import RayExecutor

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
ray.shutdown()
with RayExecutor(1) as executor:
    print(executor.submit(sum, [1, 2]).result(60))
"""


@pytest.mark.slow
def test_a_process_that_used_a_cluster_without_a_token_can_start_one_with_it():
    pytest.importorskip("ray")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run([sys.executable, "-c", AFTER_ANOTHER_CLUSTER], env=clean, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "3"
