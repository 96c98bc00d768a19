"""Several members of the Pareto front in one job, and the networks made by hand that they are compared with."""

from __future__ import annotations

import itertools
import os
import signal
from multiprocessing import get_context
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from hubserve import jobs, store
from hubserve.errors import JobError
from hubserve.evaluator import Objective
from hubserve.hub import NasBench201
from hubserve.jobs import JobStatus, ObjectiveInfo
from hubserve.latency.profile_report import ProfileReport
from hubserve.pipeline import check_definition, resolve_job, run_job
from hubserve.pipeline.baselines import hand_made
from hubserve.pipeline.front import front_of, most_different
from hubserve.pipeline.phases import choose_front
from hubserve.pipeline.phases.choose_winner import winner_of
from hubserve.pipeline.phases.search import make_experiment
from hubserve.pipeline.plots import draw_all
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.run import run_here
from hubserve.store import StoredModel
from tests.pipeline.definitions import short
from tests.stores import store_at

COST = ObjectiveInfo(name="params", direction="minimize")
FRONT = {"objectives": ["val_acc", "params"], "budget": {"trials": 3}, "retrain": None, "seed": 1}
"""A search that ends in a front of three trials."""

GOAL = ObjectiveInfo(name="val_acc", direction="maximize")


def job(publish, **changes):
    entries = {"objectives": ["val_acc", "params"], "strategy": {"name": "Random"}, "publish": publish} | changes
    return jobs.parse_job(short(**entries), where="it")


def area(chosen, place):
    """What the chosen trials dominate, counted over the grid of all costs and scores of the front."""
    costs, scores = sorted({c for c, _ in place.values()}), sorted({s for _, s in place.values()})
    cells = 0.0
    for (left, right), (low, high) in itertools.product(itertools.pairwise(costs), itertools.pairwise(scores)):
        if any(place[n][0] <= left and place[n][1] >= high for n in chosen):
            cells += (right - left) * (high - low)
    return cells


@pytest.mark.parametrize("seed", range(5))
def test_each_member_adds_the_largest_area(seed):
    rng = Random(seed)
    costs = {i: float(rng.randrange(1, 40)) for i in range(40)}
    trials = {i: (cost, cost**0.5 + rng.random()) for i, cost in costs.items()}
    front = {number: trials[number] for number in front_of(trials, COST, GOAL)}
    assert len(front) > 3
    chosen = [max(front, key=lambda number: front[number][1])]
    while len(chosen) < len(front):
        number = most_different(chosen, front)
        areas = {other: area([*chosen, other], front) for other in front if other not in chosen}
        assert areas[number] == pytest.approx(max(areas.values()))
        chosen.append(number)
    assert most_different(chosen, front) is None
    # The cheapest one dominates nothing that counts.
    assert chosen[-1] == min(front, key=lambda number: front[number][0])


class TestHandMade:
    space = NasBench201(stem_out_channels=4, num_modules_per_stack=1)

    def test_scaled_ones_take_each_candidate_in_turn(self):
        made = hand_made(job({}, baselines={"uniform": 5}), self.space)
        assert list(made) == [f"uniform-{i}" for i in range(1, 6)]
        assert [set(arch.values()) for arch in made.values()] == [
            {choice} for choice in self.space.choices["cell/0_1"].answers()
        ]
        (middle,) = hand_made(job({}, baselines={"uniform": 1}), self.space).values()
        assert middle == made["uniform-3"]

    def test_archs_of_ones_own(self):
        arch = dict.fromkeys(self.space.choices, "conv_3x3")
        assert hand_made(job({}, baselines={"archs": {"plain": arch}}), self.space) == {"plain": arch}
        with pytest.raises(JobError, match=r"^baselines.archs.uniform-1: baselines.uniform = 2 gives this name"):
            hand_made(job({}, baselines={"archs": {"uniform-1": arch}, "uniform": 2}), self.space)
        with pytest.raises(JobError, match=r"^baselines.archs.plain: .*conv_7x7"):
            check_definition(job({}, baselines={"archs": {"plain": arch | {"cell/0_1": "conv_7x7"}}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": ["val_acc"]}, "^publish.front = 3: a front has a score and a cost"),
        ({"strategy": {"name": "DARTS"}, "budget": {}}, "^publish.front = 3: DARTS ends in one arch"),
        ({"publish": {"front": 3, "name": "a" * 60}}, "^publish.front = 3: the name a+-front-2 has 68 characters"),
    ],
)
def test_what_has_no_front_is_refused(changes, message):
    with pytest.raises(JobError, match=message):
        check_definition(job(**({"publish": {"front": 3}} | changes)))


def test_a_fine_tuning_has_no_front():
    text = "name: it\nstart: {model: efficientnet-lite0}\ndata: {name: folder, folder: x}\npublish: {front: 2}\n"
    with pytest.raises(JobError, match="front"):
        jobs.parse_job(text, where="it")


class InterruptAt:
    """Ctrl-C at the first message that begins with a text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, status: JobStatus) -> None:
        if status.message.startswith(self.text):
            raise KeyboardInterrupt


@pytest.mark.slow
def test_members_are_published_once_each_though_it_is_interrupted_between_them(home):
    definition = short(
        **FRONT,
        baselines={"archs": {"plain": dict.fromkeys(NasBench201().choices, "skip_connect")}},
        publish={"formats": ["onnx"], "profile_seconds": 0.1, "front": 2},
    )
    run = jobs.create(definition)
    for text, published in (
        ("short-front-1, 1 of 2: exporting", []),
        ("plain, 2 of 2: exporting", []),
        ("short-front-1: publishing", ["short"]),
    ):
        with pytest.raises(KeyboardInterrupt), jobs.hold(run):
            run_job(run, on_status=InterruptAt(text), draw=draw_all)
        assert sorted(model.tag.partition(":")[0] for model in store.list_models()) == published
    done = run_job(run, draw=draw_all)
    again = run_job(run, draw=draw_all)
    assert (done.state, again.compared, again.phase) == ("done", done.compared, "publish")
    winner, member, plain = done.compared
    assert [model.tag for model in sorted(store.list_models(), key=lambda m: m.tag)] == sorted(
        [done.published, member.published]
    )
    assert (winner.kind, member.kind, plain.kind, plain.published, plain.number) == ("winner", "front", "baseline", None, None)
    assert member.number != winner.number == done.best.number
    assert {winner.number, member.number} <= set(done.pareto)

    package = store.resolve(member.published).package
    package.verify()
    search = package.manifest.provenance.search
    assert (search["trial"], search["run"], package.manifest.name) == (member.number, run.id, "short-front-1")
    assert {row["trial"] for row in search["pareto_front"]} >= {winner.number, member.number}
    assert ProfileReport.model_validate(package.profile).latency_of("onnx") is not None
    assert "search-front.svg" in package.manifest.files
    assert "search-confusion.svg" not in package.manifest.files
    assert "search-front.svg" in store.resolve(done.published).package.manifest.files
    assert all(0 <= row.test_acc <= 1 and row.latency_ms > 0 and row.params > 0 for row in done.compared)
    # The baseline was trained, though the winner kept the weights of its trial.
    assert (run.path / "baselines" / "1" / "retrained" / "weights.safetensors").exists()


def killed_run(folder: Path, bentoml: Path, where: str) -> None:
    """Runs a job, in whose process SIGKILL comes at a message, or for "NAME is stored" before anybody notes that it is."""

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def on_status(status: JobStatus) -> None:
        if status.message.startswith(where):
            kill()

    def publish_and_die(path: Path, *, name: str) -> StoredModel:
        made = publish(path, name=name)
        if where == f"{name} is stored":
            kill()
        return made

    publish = store.publish
    with pytest.MonkeyPatch.context() as patch, store_at(bentoml):
        patch.setattr("hubserve.pipeline.status_writer.PAUSE_SECONDS", 0.0)
        patch.setattr(store, "publish", publish_and_die)
        run_here(jobs.open_run(folder), on_status=on_status)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_member_is_lost_or_doubled_though_its_process_is_killed_between_them(home):
    """With SIGKILL: in the training of a member, between the published ones, and after a model is stored but not yet noted."""
    definition = short(**FRONT | {"retrain": {"epochs": 2}}, publish={"formats": ["onnx"], "profile_seconds": 0.1, "front": 3})
    run = jobs.create(definition)
    names = ["short", "short-front-1", "short-front-2"]
    for where, published in (
        ("short-front-1, 1 of 2: epoch 2", []),
        ("short is stored", names[:1]),
        ("short-front-1 is stored", names[:2]),
        ("short-front-2: publishing", names[:2]),
    ):
        process = get_context("spawn").Process(target=killed_run, args=(run.path, home, where))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL, where
        assert sorted(model.tag.partition(":")[0] for model in store.list_models()) == published, where
    done = run_job(run, draw=draw_all)
    assert (done.state, [row.name for row in done.compared], len(done.history)) == ("done", names, 3)
    tags = [done.published, *(row.published for row in done.compared[1:])]
    assert sorted(model.tag for model in store.list_models()) == sorted(tags)
    packages = [store.resolve(tag).package for tag in tags]
    trials = [package.manifest.provenance.search["trial"] for package in packages]
    assert trials == [row.number for row in done.compared]
    assert sorted(trials) == done.pareto == [0, 1, 2]
    for package in packages:
        package.verify()
        assert package.manifest.provenance.weights == "retrained"
        assert "search-front.svg" in package.manifest.files


@pytest.mark.slow
def test_a_member_that_misses_the_limit_when_it_is_measured_again_is_left_out(home, monkeypatch):
    """Only the measurements are made up."""
    monkeypatch.setattr(ResolvedSearch, "latency", lambda self: lambda space, arch: {"latency_ms": 1.0})
    run = jobs.create(short(**FRONT | {"constraints": {"latency_ms": 50}, "publish": {"front": 3}}))
    resolved = resolve_job(jobs.parse_job(run.definition(), where="it"), where=run.where)
    experiment = make_experiment(resolved, run, lambda _: None)
    experiment.run()
    trials = sorted(experiment.trials, key=lambda trial: -trial.scores["params"])
    best, second, third = (winner_of(resolved, trial, {}) for trial in trials)
    slow = [second.arch]
    monkeypatch.setattr(choose_front, "measure_again", lambda resolved, arch: 60.0 if arch in slow else 40.0)
    (chosen,) = choose_front.choose_front(resolved, best, COST, run)
    assert (chosen.number, chosen.scores["latency_ms"]) == (third.number, 40.0)
    # It is saved: later measurements change nothing.
    slow.append(third.arch)
    assert choose_front.choose_front(resolved, best, COST, run) == [chosen]


@pytest.mark.parametrize("cost_sign", [1, -1])
def test_the_front_of_a_loss_has_smaller_losses_at_higher_costs(cost_sign):
    figures = {0: (10.0, 0.5), 1: (20.0, 0.4), 2: (30.0, 0.3), 3: (25.0, 0.6), 4: (40.0, 0.2)}
    trials = [
        SimpleNamespace(number=n, arch={"op": n}, scores={"params": cost_sign * cost, "val_loss": loss}, folder=None)
        for n, (cost, loss) in figures.items()
    ]
    resolved = SimpleNamespace(
        job=SimpleNamespace(publish=SimpleNamespace(front=4), limits={}, retrain=SimpleNamespace(start="new")),
        objectives=(Objective("val_loss", "minimize"),),
        searchers=SimpleNamespace(shares_weights=False),
    )
    experiment = SimpleNamespace(export_data=lambda: trials)
    winner = winner_of(resolved, trials[2], {})  # Trial 4 has a better score, and missed the limit.
    cost = COST.model_copy(update={"direction": "minimize" if cost_sign == 1 else "maximize"})
    assert [member.number for member in choose_front._choose(experiment, resolved, winner, cost)] == [0, 1]
