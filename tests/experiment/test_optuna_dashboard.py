"""Optuna's dashboard shows a study of ours: its objectives, its costs and who is feasible.

The dashboard is no extra of ours: HUBSERVE_TEST_DASHBOARD names a Python that has it (pip install optuna-dashboard).
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from socket import socket

import httpx2
import pytest

from hubserve.complexity import complexity
from hubserve.evaluator import Objective
from hubserve.experiment import Constraint, NasExperiment
from hubserve.strategy import NSGA2
from tests.experiment.small import SHAPE, Small, Value
from tests.waiting import until

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
from optuna_dashboard import run_server
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

storage = sys.argv[1] if "://" in sys.argv[1] else JournalStorage(JournalFileBackend(sys.argv[1]))
run_server(storage, host="127.0.0.1", port=int(sys.argv[2]))
"""


@contextmanager
def dashboard(place: str):
    python = os.environ.get("HUBSERVE_TEST_DASHBOARD") or (sys.executable if find_spec("optuna_dashboard") else None)
    if python is None:
        pytest.skip("optuna-dashboard is not installed, and HUBSERVE_TEST_DASHBOARD names no Python that has it")
    with socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.Popen([python, "-c", PROGRAM, place, str(port)], env=variables, stderr=subprocess.DEVNULL)
    client = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)

    def answers():
        assert process.poll() is None, "the dashboard ended"
        try:
            return client.get("/api/studies").status_code == 200
        except httpx2.TransportError:
            return False

    try:
        until(answers, seconds=120)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_it_shows_objectives_costs_and_constraints(tmp_path, kind):
    storage = {} if kind == "journal" else {"storage": f"sqlite:///{tmp_path}/study.db"}
    experiment = NasExperiment(
        Small(),
        Value(),
        NSGA2(seed=1),
        name="mine",
        folder=tmp_path,
        max_trials=12,
        constraints=[Constraint("params", "<=", 500), Constraint("macs", ">=", 2000)],
        objectives=[Objective("default"), Objective("macs", "minimize")],
        input_shape=SHAPE,
        seed=1,
        **storage,
    )
    experiment.run()
    with dashboard(storage.get("storage") or str(tmp_path / "study.journal")) as client:
        (study,) = client.get("/api/studies").json()["study_summaries"]
        assert (study["study_name"], study["directions"]) == ("mine", ["maximize", "minimize"])
        shown = client.get(f"/api/studies/{study['study_id']}").json()
    assert shown["objective_names"] == ["default", "macs"]
    sortable = {entry["key"] for entry in shown["union_user_attrs"] if entry["sortable"]}
    assert {"params", "macs", "seconds"} <= sortable
    records = experiment.trials
    assert {trial["number"] for trial in shown["best_trials"]} == {record.number for record in experiment.pareto_front}
    for record, trial in zip(records, shown["trials"], strict=True):
        cost = complexity(Small().freeze(record.arch), SHAPE)
        assert trial["constraints"] == [cost.params - 500, 2000 - cost.macs]
        assert float({entry["key"]: entry["value"] for entry in trial["user_attrs"]}["params"]) == cost.params
        if record.state == "complete":
            assert trial["values"] == [record.scores["default"], cost.macs]
