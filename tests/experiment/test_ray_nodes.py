"""Searches on a cluster of two Ray nodes on this machine, which do not share all folders."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator
from hubserve.experiment import NasExperiment
from hubserve.process_tree import descendants
from hubserve.strategy import Random
from tests.experiment.small import Small, value
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray")]

RAY = Path(sys.executable).with_name("ray")
SECOND = "second"
"""Name of the resource that only the second node has."""


@dataclass(frozen=True)
class TwoNodes:
    """A running cluster.

    Attributes:
        dashboard: URL of the head that takes jobs; the head has one core.
        hidden: Folder that the second node sees empty; None where no file system can be mounted.
        second: Process that started the second node, which has one core.
    """

    dashboard: str
    hidden: Path | None
    second: subprocess.Popen[bytes]

    def kill_second(self) -> None:
        """Ends all processes of the second node at once, as a power failure does."""
        for process in (self.second.pid, *descendants(self.second.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.second.wait()


def mountable() -> bool:
    """Whether a process may have file systems of its own."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory) -> Iterator[TwoNodes]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=True,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    address = ray.get_runtime_context().gcs_address
    hidden = tmp_path_factory.mktemp("hidden") if mountable() else None
    start = [str(RAY), "start", "--address", address, "--num-cpus", "1", "--node-ip-address", "127.0.0.1", "--block"]
    start += ["--resources", f'{{"{SECOND}": 1}}', "--disable-usage-stats"]
    if hidden is not None:
        start = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hidden), *start]
    with (tmp_path_factory.mktemp("log") / "second").open("wb") as log:
        # Its workers import the tests' modules, as the head's do.
        env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        second = subprocess.Popen(start, stdout=log, stderr=log, env=env)
    both = TwoNodes(f"http://{ray._private.worker.get_dashboard_url()}", hidden, second)
    try:
        until(lambda: ray.cluster_resources().get("CPU") == 2, seconds=90)
        yield both
    finally:
        both.kill_second()
        ray.shutdown()
        # `ray start` leaves a file with the address, which `ray.init` and other tests would take for a running cluster's.
        ray._common.utils.reset_ray_address()


class Noting(Evaluator):
    """Notes each beginning in a folder that all nodes see, and writes and reports what must come back.

    Args:
        seen: The folder.
        seconds: That an evaluation takes.
    """

    def __init__(self, seen: Path, seconds: float) -> None:
        self._seen = seen
        self._seconds = seconds

    def evaluate(self, space, arch, trial):
        import ray

        node = ray.get_runtime_context().get_node_id()
        with (self._seen / "begun").open("a") as file:
            file.write(f"{trial.number} {node}\n")
        trial.report(0, 0.25)
        trial.folder.mkdir(parents=True, exist_ok=True)
        (trial.folder / "weights.safetensors").write_text(node)
        time.sleep(self._seconds)
        return {"default": value(arch)}


def begun(seen: Path) -> list[tuple[int, str]]:
    """(number, node) of each trial that began, in their order."""
    lines = (seen / "begun").read_text().splitlines() if (seen / "begun").exists() else []
    return [(int(number), node) for number, node in map(str.split, lines)]


def experiment(folder: Path, seen: Path, *, seconds: float = 0.3, **settings) -> NasExperiment:
    from hubserve.experiment import RayExecutor

    executor = RayExecutor(needs=settings.pop("needs", ()))
    return NasExperiment(
        Small(), Noting(seen, seconds), Random(seed=1), folder=folder, executor=executor, max_trials=8, seed=1, **settings
    )


def hidden_folder(nodes: TwoNodes) -> Path:
    if nodes.hidden is None:
        pytest.skip("no file system can be mounted here (unshare --mount), so the nodes share all folders")
    return nodes.hidden


def test_weights_come_from_a_node_that_does_not_have_the_folder(nodes, tmp_path):
    folder = hidden_folder(nodes) / "search"
    search = experiment(folder, tmp_path)
    search.run()
    assert [record.state for record in search.trials] == ["complete"] * 8
    where = dict(begun(tmp_path))
    assert len(set(where.values())) == 2, "all trials were on one node"
    assert {r.number: (r.folder / "weights.safetensors").read_text() for r in search.trials} == where
    assert all(trial.intermediate_values == {0: 0.25} for trial in search.study.trials)


def test_what_a_node_lacks_is_refused_before_the_first_trial(nodes, tmp_path):
    images = hidden_folder(nodes) / "images"
    images.mkdir()
    with pytest.raises(ExperimentError, match=rf"machine \S+ \([0-9.]+, node \w+\) has no {images}: trials read it"):
        experiment(tmp_path / "data", tmp_path, needs=[images]).run()
    pruned = experiment(images / "search", tmp_path, pruner=optuna.pruners.MedianPruner())
    with pytest.raises(ExperimentError, match=r"has no .*study.journal: trials with a pruner report"):
        pruned.run()
    assert begun(tmp_path) == []


def test_a_pruner_on_a_file_system_that_the_nodes_share(nodes, tmp_path):
    search = experiment(tmp_path / "search", tmp_path, pruner=optuna.pruners.ThresholdPruner(lower=-1))
    search.run()
    assert [record.state for record in search.trials] == ["complete"] * 8
    assert all(trial.intermediate_values == {0: 0.25} for trial in search.study.trials)


def test_a_submitted_job_runs_on_the_cluster(nodes, tmp_path):
    """The recipe of docs/clusters.md."""
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    env = os.environ | {"HUBSERVE_HOME": str(tmp_path / "home"), "BENTOML_HOME": str(tmp_path / "store")}
    variables = {name: env[name] for name in ("HUBSERVE_HOME", "BENTOML_HOME")} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    submit = [
        str(RAY),
        "job",
        "submit",
        "--address",
        nodes.dashboard,
        "--runtime-env-json",
        json.dumps({"env_vars": variables}),
    ]
    command = [sys.executable, "-m", "hubserve", "search", str(job)]
    ran, end = None, time.monotonic() + 60
    # The agent that takes jobs begins after the dashboard that is asked for it.
    while ran is None or ("No available agent" in ran.stdout + ran.stderr and time.monotonic() < end):
        ran = subprocess.run([*submit, "--", *command], capture_output=True, text=True, env=env, timeout=280)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert "succeeded" in ran.stdout
    assert [path.name for path in (tmp_path / "store" / "models").iterdir()] == ["submitted"]


JOB = """
name: submitted
space: {name: NasBench201, settings: {stem_out_channels: 4, num_modules_per_stack: 1}}
data: {name: digits, settings: {size: 8, augment: false}}
strategy: {name: Random}
recipe: {epochs: 1, batch_size: 256, optimizer: sgd, learning_rate: 0.1, weight_decay: 0}
objectives: [val_acc]
budget: {trials: 4}
executor: {kind: ray, workers: 2}
publish: {name: submitted, profile_seconds: 1}
seed: 0
"""


def test_a_node_that_is_killed_loses_no_trial_and_doubles_none(nodes, tmp_path):
    """The last test here: the node does not come back."""
    import ray

    head = ray.get_runtime_context().get_node_id()
    search = experiment(tmp_path / "search", tmp_path, seconds=2)
    running = threading.Thread(target=search.run)
    running.start()
    until(lambda: any(node != head for _, node in begun(tmp_path)), seconds=60)
    nodes.kill_second()
    running.join(120)
    assert not running.is_alive()
    assert [(record.number, record.state) for record in search.trials] == [(number, "complete") for number in range(8)]
    numbers = [number for number, _ in begun(tmp_path)]
    (lost,) = [number for number, node in begun(tmp_path) if node != head]
    assert sorted(numbers) == sorted([*range(8), lost]), "what ran on the node ran again, and nothing else did"
    assert [(r.folder / "weights.safetensors").read_text() for r in search.trials] == [head] * 8
