"""Makes the golden artefacts: what commit 4304603 writes, for tests that a later version still opens it and goes on with it.

    OMP_NUM_THREADS=1 PYTHON_OF_THAT_COMMIT make.py      # the interpreter of a venv with hubserve at 4304603

It writes beside itself, into runs/, store/, package/, experiment/, latency_table.json and expected.json, which must not exist.
All data are scikit-learn's digits or random numbers. Processes that are to be killed are found by the number in their own run
folder's file `pid`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUNS, STORE, PACKAGE, EXPERIMENT, TABLE = (
    HERE / name for name in ("runs", "store", "package", "experiment", "latency_table.json")
)
os.environ |= {
    "HUBSERVE_HOME": str(RUNS),
    "BENTOML_HOME": str(STORE),
    "HUBSERVE_OFFLINE": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "OMP_NUM_THREADS": "1",
}

import numpy as np  # noqa: E402 - the environment comes first
import torch  # noqa: E402
from study_parts import finished, interrupted  # noqa: E402

from hubserve import aliases, jobs, store  # noqa: E402
from hubserve.evaluator.datasets import load_dataset  # noqa: E402
from hubserve.export.manifest import ALL_FORMATS, Provenance  # noqa: E402
from hubserve.export.package import Package, Source, add_profile, read_package, write_package  # noqa: E402
from hubserve.export.profile import Protocol  # noqa: E402
from hubserve.hub import NasBench201  # noqa: E402
from hubserve.hub.card import Metric  # noqa: E402
from hubserve.latency.build import BuildPlan, build_table  # noqa: E402
from hubserve.latency.profile import profile_package  # noqa: E402
from hubserve.latency.table import LatencyTable  # noqa: E402
from hubserve.preprocess import Preprocess  # noqa: E402

SETTINGS = {"stem_out_channels": 2, "num_modules_per_stack": 1}
SIDE = 8

# The jobs -------------------------------------------------------------------------------------------------------------------


def publish(name: str, *formats: str, seconds: float = 0.5) -> dict[str, Any]:
    """The part of a job that says what becomes of the winner."""
    return {"name": name, "formats": list(formats or ("onnx", "torchscript")), "profile_seconds": seconds}


def job(name: str, **more: Any) -> dict[str, Any]:
    """A job on digits of 8 x 8 pixels; `more` replaces what stands here."""
    return {
        "name": name,
        "summary": "golden artefact",
        "space": {"name": "NasBench201", "settings": SETTINGS},
        "data": {"name": "digits", "settings": {"size": SIDE, "augment": False}},
        "strategy": {"name": "RegularizedEvolution", "arguments": {"population_size": 3, "sample_size": 2}},
        "recipe": {"epochs": 2, "batch_size": 64, "learning_rate": 0.1},
        "objectives": ["val_acc"],
        "constraints": {"params": 1700},
        "budget": {"trials": 6},
        "retrain": {"epochs": 3, "batch_size": 64, "learning_rate": 0.1, "ema_decay": 0.9},
        "publish": publish(name.replace("_", "-")),
        "seed": 0,
    } | more


ONE_SHOT = {"budget": {}, "constraints": {}, "recipe": {"epochs": 3, "batch_size": 64, "learning_rate": 0.05}}
LONG_RETRAIN = {"epochs": 60, "batch_size": 64, "learning_rate": 0.1, "ema_decay": 0.9}


def trials_ended(run: jobs.Run) -> int:
    """Trials that the study has as complete: operation 6 of Optuna's journal sets a trial's state, 1 is complete."""
    journal = run.path / "search" / "study.journal"
    if not journal.exists():
        return 0
    lines = [json.loads(line) for line in journal.read_text().splitlines() if line.endswith("}")]
    return sum(line["op_code"] == 6 and line["state"] == 1 for line in lines)


def phase_of(run: jobs.Run) -> str | None:
    """What the run was at when it wrote last."""
    return run.written_status().phase


def in_retrain(run: jobs.Run) -> bool:
    """Whether the training of the winner has ended an epoch."""
    status = run.written_status()
    return status.phase == "retrain" and status.message.startswith("epoch")


def checkpointed(run: jobs.Run) -> bool:
    """In the second epoch, with the checkpoint of the first."""
    return (run.path / "search" / "supernet" / "oneshot.pt").exists()


Moment = Callable[[jobs.Run], bool]

KILLED: dict[str, tuple[dict[str, Any], Moment]] = {
    "golden_killed_search": (job("golden_killed_search"), lambda run: trials_ended(run) >= 3),
    "golden_killed_retrain": (job("golden_killed_retrain", budget={"trials": 2}, retrain=LONG_RETRAIN), in_retrain),
    "golden_killed_export": (
        job("golden_killed_export", retrain=None, budget={"trials": 2}),
        lambda run: phase_of(run) == "export",
    ),
    "golden_killed_profile": (
        job("golden_killed_profile", budget={"trials": 2}, publish=publish("golden-killed-profile", "onnx", seconds=3)),
        lambda run: phase_of(run) == "profile",
    ),
    "golden_killed_gumbel": (
        job("golden_killed_gumbel", strategy={"name": "GumbelDARTS", "arguments": {"arc_learning_rate": 0.01}}, **ONE_SHOT),
        checkpointed,
    ),
    "golden_killed_then": (
        job(
            "golden_killed_then",
            strategy={"name": "RandomOneShot", "then": {"name": "Random"}},
            **ONE_SHOT | {"budget": {"trials": 8}},
        ),
        lambda run: trials_ended(run) >= 2,
    ),
    "golden_killed_table": (
        job(
            "golden_killed_table",
            strategy={"name": "NSGA2", "arguments": {"population_size": 3}},
            objectives=["val_acc", "latency_ms"],
            latency={"table": TABLE.name},
        ),
        lambda run: trials_ended(run) >= 2,
    ),
}


def submit(definition: dict[str, Any]) -> jobs.Run:
    """As `hubserve search FILE --detach`, from this folder, which becomes the content of `where`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{definition['name']}.yaml"
        path.write_text(jobs.dump_job(definition))
        command = [sys.executable, "-m", "hubserve", "search", str(path), "--detach"]
        told = subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True)
    return jobs.find(told.stdout.strip().splitlines()[-1])


def wait_for(run: jobs.Run, moment: Moment, *, seconds: float = 240) -> None:
    """Waits until the run has come to a moment; it must still be alive then."""
    end = time.monotonic() + seconds
    while not moment(run):
        if not jobs.is_running(run) or time.monotonic() > end:
            raise SystemExit(f"{run.id} ended, or took too long, before its moment: {run.log_tail(5)}")
        time.sleep(0.005)


def kill(run: jobs.Run) -> None:
    """Ends the process of a run by `kill -9`."""
    os.kill(int((run.path / "pid").read_text()), signal.SIGKILL)
    while jobs.is_running(run):
        time.sleep(0.01)


def make_runs() -> dict[str, jobs.Run]:
    """One run that is done, the killed ones, one that was stopped, and one that never began."""
    found = {}
    run = found["golden_done"] = submit(job("golden_done", publish=publish("golden-digits")))
    wait_for(run, lambda run: run.written_status().state in jobs.FINAL)
    assert run.written_status().state == "done", run.log_tail()
    while jobs.is_running(run):
        time.sleep(0.05)
    for name, (definition, moment) in KILLED.items():
        run = found[name] = submit(definition)
        wait_for(run, moment)
        kill(run)
        print(name, jobs.read(run).state, jobs.read(run).phase, flush=True)
    run = found["golden_stopped"] = submit(job("golden_stopped"))
    wait_for(run, lambda run: trials_ended(run) >= 2)
    subprocess.run([sys.executable, "-m", "hubserve", "jobs", run.id, "--stop"], check=True, capture_output=True)
    os.chdir(HERE)
    found["golden_queued"] = jobs.create(job("golden_queued", budget={"trials": 2}))  # Never started.
    return found


# Store, package, experiments, table -----------------------------------------------------------------------------------------


def cardlike(seed: int) -> Source:
    """A model with random weights, described as one from a card."""
    space = NasBench201(**SETTINGS, num_labels=5)
    arch = {label: "conv_3x3" if label.endswith("0_3") else "skip_connect" for label in space.choices}
    torch.manual_seed(seed)
    return Source(
        name="golden-card",
        model=space.freeze(arch).eval(),
        space="NasBench201",
        settings=SETTINGS | {"num_labels": 5},
        arch=arch,
        preprocess=Preprocess(input_size=16, resize=18, interpolation="bicubic", channels="bgr"),
        labels=("ant", "bee", "cat", "dog", "eel"),
        provenance=Provenance(
            origin="card",
            paper="https://arxiv.org/abs/2001.00326",
            licence="Apache-2.0",
            metric=Metric(dataset="made up", top1=20.0, top5=100.0),
        ),
    )


def make_store() -> None:
    """golden-digits is there already: the run that is done published it."""
    with tempfile.TemporaryDirectory() as folder:
        for version, seed, formats in (("1", 1, ("onnx", "torchscript", "pt2")), ("2", 2, ("onnx",))):
            package = write_package(cardlike(seed), Path(folder) / version, formats=formats)
            store.publish(package.path, version=version)
    aliases.set_alias("production", "golden-card:1", canary="golden-card:2", weight=20)
    aliases.set_alias("stable", "golden-digits")
    aliases.set_alias("newest", "golden-card:latest")


def make_package(run: jobs.Run) -> None:
    """The network that the finished run found, in all five forms, with its profile."""
    trained = read_package(run.path / "package", trusted=True)
    data = load_dataset("digits", size=SIDE, augment=False)
    chosen = [data.test[index] for index in range(96)]
    pictures = [np.stack([np.asarray(x) for x, _ in chosen[start : start + 16]]) for start in range(0, 96, 16)]
    source = Source(
        name="golden-package",
        model=trained.rebuild(),
        space=trained.manifest.space,
        settings=trained.manifest.settings,
        arch=trained.manifest.arch,
        preprocess=trained.manifest.preprocess,
        labels=trained.labels,
        provenance=trained.manifest.provenance,
    )
    package = write_package(
        source, PACKAGE, formats=ALL_FORMATS, pictures=pictures, classes=[int(target) for _, target in chosen]
    )
    add_profile(package, profile_package(package, protocol=Protocol(max_seconds=0.5)).model_dump_json(indent=2) + "\n")


KILLED_STUDY = "from study_parts import *; interrupted(Path('experiment/interrupted'), kill_in_evaluation=7).run()"


def make_experiments() -> None:
    """One that ended, and one whose process killed itself in its evaluation number 7."""
    finished(EXPERIMENT / "finished").run()
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            KILLED_STUDY,
        ],
        cwd=HERE,
    )
    assert killed.returncode == -signal.SIGKILL


def make_table() -> None:
    """A latency table of this machine."""
    plan = BuildPlan(archs=8, fit_nets=3, check_nets=3, calls=10, net_seconds=0.2)
    build_table(NasBench201(**SETTINGS), SETTINGS, TABLE, input_size=SIDE, plan=plan)


# What a test may expect -----------------------------------------------------------------------------------------------------


def fixed_input(side: int) -> np.ndarray:
    """Two made-up prepared pictures; the same everywhere."""
    return np.linspace(-1, 1, 2 * 3 * side * side, dtype=np.float32).reshape(2, 3, side, side)


def package_facts(package: Package) -> dict[str, Any]:
    """What a package says of itself, and what its forms answer."""
    package.verify()
    batch = fixed_input(package.manifest.preprocess.input_size)
    forms = [form for form in package.manifest.exports if form != "onnx-fp16"]
    return {
        "name": package.manifest.name,
        "origin": package.manifest.provenance.origin,
        "weights": package.manifest.provenance.weights,
        "arch": package.manifest.arch,
        "settings": package.manifest.settings,
        "labels": list(package.labels),
        "exports": list(package.manifest.exports),
        "files": sorted(package.manifest.files),
        "logits": {form: package.runner(form)(batch).tolist() for form in forms},
    }


def trial_rows(history: Any) -> list[dict[str, Any]]:
    """The history in a status."""
    return [{"number": t.number, "state": t.state, "values": t.values} for t in history]


def as_it_lies(run: jobs.Run) -> dict[str, Any]:
    """What there is to see of a run that nobody touched."""
    status = jobs.read(run)
    written = run.written_status()
    return {
        "id": run.id,
        "state": status.state,
        "written_state": written.state,
        "phase": status.phase,
        "complete_trials_in_study": trials_ended(run),
        "max_trials": status.max_trials,
        "trials_in_status": status.trials,
        "best": None if status.best is None else status.best.model_dump(mode="json"),
        "published": status.published,
        "plots": status.plots,
        "files": sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()),
    }


def resumed(run: jobs.Run) -> dict[str, Any]:
    """How this version ends it: in a copy elsewhere, with another store."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "home" / "jobs" / run.id
        shutil.copytree(run.path, copy)
        relocate(copy, where=HERE)
        environment = os.environ | {"HUBSERVE_HOME": f"{place}/home", "BENTOML_HOME": f"{place}/store"}
        command = [sys.executable, "-m", "hubserve", "search", "--run", str(copy), "--json"]
        told = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        status = jobs.JobStatus.model_validate_json((copy / "status.json").read_text())
        manifest = read_package(copy / "package").manifest
        return {
            "state": status.state,
            "trials": status.trials,
            "history": trial_rows(status.history),
            "best": None if status.best is None else status.best.model_dump(mode="json"),
            "published_name": None if status.published is None else status.published.partition(":")[0],
            "weights": manifest.provenance.weights,
            "val_acc": manifest.provenance.search["val_acc"],
            "test_acc": manifest.provenance.search["test_acc"],
        }


def relocate(run: Path, *, where: Path) -> None:
    """Rewrites the two absolute paths of a run folder that was moved: the submitter's folder, and the winner's weights."""
    (run / "where").write_text(str(where))
    note = run / "winner.json"
    if note.exists():
        winner = json.loads(note.read_text())
        if winner["weights"] is not None:
            winner["weights"] = str(run / "search" / "trials" / f"{winner['number']:06d}" / "weights.safetensors")
            note.write_text(json.dumps(winner, indent=2) + "\n")


def study_facts(experiment: Any) -> dict[str, Any]:
    """What an experiment tells about its study."""
    return {
        "name": experiment.name,
        "trials": [
            {"number": t.number, "state": t.state, "arch": t.arch, "scores": t.scores, "reason": t.reason}
            for t in experiment.trials
        ],
        "top": [t.number for t in experiment.top_trials(3)],
        "pareto_front": sorted(t.number for t in experiment.pareto_front),
    }


def expected(runs: dict[str, jobs.Run]) -> dict[str, Any]:
    """All facts."""
    facts: dict[str, Any] = {"commit": "4304603", "input": "numpy.linspace(-1, 1, 2*3*s*s, float32).reshape(2, 3, s, s)"}
    facts["runs"] = {name: as_it_lies(run) for name, run in runs.items()}
    for name, run in runs.items():
        checkpoint = run.path / "search" / "supernet" / "oneshot.pt"
        if checkpoint.exists():
            content = torch.load(checkpoint, weights_only=True)
            facts["runs"][name]["checkpoint"] = {
                "epoch": content["epoch"],
                "identity": content["identity"],
                "keys": sorted(content),
            }
        if name != "golden_done":
            facts["runs"][name]["resumed"] = resumed(run)
            print(name, "goes on:", facts["runs"][name]["resumed"]["state"], flush=True)
    facts["store"] = {m.tag: package_facts(m.package) for m in sorted(store.list_models(), key=lambda m: m.tag)}
    facts["newest"] = {name: store.resolve(name).tag for name in ("golden-card", "golden-digits")}
    facts["aliases"] = {name: alias.model_dump() for name, alias in aliases.list_aliases().items()}
    facts["alias_targets"] = {name: aliases.resolve(name).tag for name in facts["aliases"]}
    facts["package"] = package_facts(read_package(PACKAGE))
    facts["experiment"] = {"finished": study_facts(finished(EXPERIMENT / "finished"))}
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(EXPERIMENT / "interrupted", Path(place) / "interrupted")
        experiment = interrupted(Path(place) / "interrupted")
        facts["experiment"]["interrupted"] = study_facts(experiment)
        facts["experiment"]["interrupted"]["stop_reason"] = experiment.resume()
        facts["experiment"]["interrupted"]["resumed"] = study_facts(experiment)
    table, space = LatencyTable.load(TABLE), NasBench201(**SETTINGS)
    arch = facts["package"]["arch"]
    facts["latency_table"] = {
        "units": len(table.units),
        "nets": len(table.nets),
        "arch": arch,
        "ms": table.predict(space, arch),
    }
    return facts


def tidy() -> None:
    """Takes away locks, compiled Python, and empty folders, which git does not keep."""
    for path in [*HERE.rglob("*.lock"), *HERE.rglob("__pycache__")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted((p for p in HERE.rglob("*") if p.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def main() -> None:
    """Makes everything."""
    torch.set_num_threads(1)
    for path in (RUNS, STORE, PACKAGE, EXPERIMENT, TABLE):
        if path.exists():
            raise SystemExit(f"{path} exists; remove it first")
    make_table()
    make_experiments()
    runs = make_runs()
    make_store()
    make_package(runs["golden_done"])
    tidy()
    facts = expected(runs)
    (HERE / "expected.json").write_text(json.dumps(facts, indent=1) + "\n")
    tidy()


if __name__ == "__main__":
    main()
