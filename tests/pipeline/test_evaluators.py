"""Strategies, data sets and evaluators of one's own in jobs: what is found, what is refused, and what they are given."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hubserve.errors import DatasetError, JobError
from hubserve.evaluator import FunctionalEvaluator
from hubserve.find_named import importing_from
from hubserve.jobs import JobLimits, SearchJob, parse_mapping
from hubserve.pipeline import check_definition, resolve_job
from hubserve.pipeline.check_definition import check_search
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.search_source import own_code
from hubserve.training.evaluator import Objective, Trial
from tests.own_modules import write_distribution, write_package

OURS = "jobs_of_own.searching"
RETRAIN = {"retrain": {"epochs": 1}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    folder = write_package(tmp_path / "work", "jobs_of_own")
    with importing_from(folder):
        yield folder
    for name in [name for name in sys.modules if name.startswith("jobs_of_own")]:
        del sys.modules[name]


def job(**changes: Any) -> SearchJob:
    found = {
        "name": "own",
        "space": {"name": "jobs_of_own.spaces:Small"},
        "data": {"name": "digits", "settings": {"size": 16}},
        "strategy": {"name": "Random"},
        "recipe": {"epochs": 1},
        "budget": {"trials": 2},
        **changes,
    }
    return parse_mapping(found, where="it")  # type: ignore[return-value]


def resolved(folder: Path, **changes: Any) -> ResolvedSearch:
    return resolve_job(job(**changes), where=folder)  # type: ignore[return-value]


class TestStrategy:
    def test_it_gets_arguments_and_the_seed(self):
        found = check_search(job(strategy={"name": f"{OURS}:Last", "arguments": {"step": 2}}, seed=7)).first
        assert (type(found).__name__, found.step, found.seed) == ("Last", 2, 7)

    def test_one_without_a_seed(self):
        assert check_search(job(strategy={"name": f"{OURS}:Seedless"})).first.seed == 3

    def test_one_that_searches_a_supernet(self):
        strategy = {"name": f"{OURS}:OwnOneShot", "then": {"name": f"{OURS}:Last"}}
        found = check_search(job(strategy=strategy))
        assert (type(found.first).__name__, type(found.then).__name__) == ("OwnOneShot", "Last")

    @pytest.mark.parametrize(
        ("strategy", "message"),
        [
            ({"name": f"{OURS}:Lost"}, r"strategy.name: .*Did you mean Last\?"),
            ({"name": f"{OURS}:even_digits"}, "strategy.name: .* is no strategy"),
            ({"name": f"{OURS}:Last", "arguments": {"stepp": 1}}, r"strategy.arguments.stepp: .*Did you mean step\?"),
            ({"name": f"{OURS}:Last", "then": {"name": "TPE"}}, "strategy.then: .* proposes archs itself"),
            ({"name": f"{OURS}:OwnOneShot"}, "strategy.then: .* ends in a supernet"),
            ({"name": f"{OURS}:OwnOneShot", "then": {"name": f"{OURS}:OwnOneShot"}}, "strategy.then.name: .*trains a supernet"),
        ],
    )
    def test_what_is_refused(self, strategy, message):
        with pytest.raises(JobError, match=message):
            check_definition(job(strategy=strategy))


class TestData:
    def test_a_function_with_settings(self, folder):
        data = resolved(folder, data={"name": f"{OURS}:even_digits", "settings": {"size": 8}}).data
        assert data.preprocess.input_size == 8

    def test_a_text_that_is_an_import_path(self, folder):
        assert resolved(folder, data=f"{OURS}:even_digits").data.preprocess.input_size == 16

    def test_a_function_gets_the_folder(self, folder):
        found = resolved(folder, data={"name": f"{OURS}:with_folder", "folder": "jobs_of_own"})
        assert found.data.labels == tuple("0123456789")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            ({"name": f"{OURS}:even_digit"}, r"data: .*Did you mean even_digits"),
            ({"name": f"{OURS}:even_digits", "settings": {"sizes": 8}}, r"data: .*no setting 'sizes'. Did you mean size\?"),
            ({"name": f"{OURS}:no_data"}, "data: .*returned a list"),
            ({"name": f"{OURS}:failing_data"}, "data: .* raised ValueError: the disk is away"),
            ({"name": "jobs_of_own.spaces:small"}, "data: .*is a Small, and a data set is a function"),
        ],
    )
    def test_what_is_refused(self, folder, data, message):
        with pytest.raises(JobError, match=message) as found:
            resolved(folder, data=data)
        assert isinstance(found.value.__cause__, DatasetError)


class TestEvaluator:
    def test_a_function_gets_network_data_and_arguments(self, folder):
        found = resolved(folder, evaluator={"name": f"{OURS}:weight_count", "arguments": {"scale": 1.0}}, **RETRAIN)
        evaluator = found.search_evaluator
        assert isinstance(evaluator, FunctionalEvaluator)
        arch = found.space.grid_arch(0)
        expected = sum(parameter.numel() for parameter in found.space.freeze(arch).parameters())
        assert evaluator.evaluate(found.space, arch, Trial()) == {"val_acc": expected}
        assert found.facts()["evaluator"] == f"{OURS}:weight_count"

    def test_a_class_gets_data_and_recipe(self, folder):
        found = resolved(folder, evaluator={"name": f"{OURS}:Untrained"})
        assert (found.search_evaluator.max_epochs, found.search_evaluator.num_classes) == (1, 10)
        assert found.recipe_evaluator is not found.search_evaluator

    def test_scores_of_its_own(self, folder):
        objectives = {"loss": "minimize", "f1": "maximize", "params": "minimize"}
        found = resolved(folder, evaluator={"name": f"{OURS}:two_scores"}, objectives=objectives, **RETRAIN)
        evaluator = found.search_evaluator
        assert evaluator.objectives == (Objective("loss", "minimize"), Objective("f1"))
        scores = evaluator.evaluate(found.space, found.space.grid_arch(0), Trial())
        assert scores == {"f1": 0.5, "loss": pytest.approx(scores["loss"])}
        assert [objective.name for objective in found.objectives] == list(objectives)

    def test_a_function_that_returns_a_number_gives_the_first_objective(self, folder):
        evaluator = {"name": f"{OURS}:weight_count", "arguments": {"scale": 1.0}}
        found = resolved(folder, evaluator=evaluator, objectives={"size": "minimize"}, **RETRAIN)
        assert list(found.search_evaluator.evaluate(found.space, found.space.grid_arch(0), Trial())) == ["size"]

    def test_a_class_with_another_score(self, folder):
        found = resolved(folder, evaluator={"name": f"{OURS}:OtherScore"}, objectives=["default"], **RETRAIN)
        assert found.search_evaluator.evaluate(found.space, {}, Trial()) == {"default": 0.5}

    def test_an_entry_point(self, folder, monkeypatch):
        write_distribution(folder, "jobs_of_own", "1.5", f"[hubserve.evaluators]\nweights = {OURS}:weight_count\n")
        monkeypatch.syspath_prepend(folder)
        found = resolved(folder, evaluator={"name": "weights"}, strategy={"name": f"{OURS}:Last"}, **RETRAIN)
        sources = own_code(found)
        assert {key: source["import_path"] for key, source in sources.items()} == {
            "strategy": f"{OURS}:Last",
            "evaluator": f"{OURS}:weight_count",
        }
        assert sources["evaluator"]["version"] == "1.5"

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"evaluator": {"name": f"{OURS}:weigt_count"}}, r"evaluator.name: .*Did you mean weight_count\?"),
            ({"evaluator": {"name": "weights"}}, "evaluator.name: no evaluator is called 'weights'"),
            ({"evaluator": {"name": f"{OURS}:weight_count"}}, "evaluator: .*leaves no weights .*retrain"),
            ({"evaluator": {"name": f"{OURS}:weight_count", "arguments": {"scal": 1}}}, r"evaluator.arguments.scal: .*scale\?"),
            ({"evaluator": {"name": "jobs_of_own.spaces:NoSpace"}}, "evaluator.name: .*is a class and no evaluator"),
            (
                {"evaluator": {"name": f"{OURS}:OtherScore"}, **RETRAIN},
                "evaluator: .* gives default, and the job's objectives have val_acc: .* objectives: {default: maximize}",
            ),
            (
                {"evaluator": {"name": f"{OURS}:OtherScore"}, "objectives": {"default": "minimize"}, **RETRAIN},
                "objectives: default: minimize is the wrong way; .*OtherScore has it to be maximized",
            ),
            ({"objectives": ["f1"]}, "objectives: 'f1' is not one of .*give `evaluator`"),
            (
                {"evaluator": {"name": f"{OURS}:two_scores"}, "objectives": ["params", "f1"], **RETRAIN},
                "objectives: params, f1: a score of the evaluator must come first",
            ),
            (
                {"evaluator": {"name": f"{OURS}:weight_count"}, "strategy": {"name": "DARTS"}, "budget": {}, **RETRAIN},
                "evaluator: DARTS trains shared weights, and .* does not train",
            ),
        ],
    )
    def test_what_is_refused(self, folder, changes, message):
        with pytest.raises(JobError, match=message):
            resolved(folder, **changes)


class TestOverHttp:
    CHANGES = (
        ("space.name", {}),
        ("strategy.name", {"strategy": {"name": f"{OURS}:Last"}}),
        ("strategy.then.name", {"strategy": {"name": "RandomOneShot", "then": {"name": f"{OURS}:Last"}}}),
        ("data.name", {"data": {"name": f"{OURS}:even_digits"}}),
        ("evaluator.name", {"evaluator": {"name": f"{OURS}:weight_count"}, **RETRAIN}),
    )

    @pytest.mark.parametrize(("key", "changes"), CHANGES)
    def test_refused_unless_the_setting_allows_it(self, folder, key, changes):
        changes = {"space": {"name": "NasBench201"}, **changes} if key != "space.name" else changes
        with pytest.raises(JobError, match=f"^{key}: .*HUBSERVE_ALLOW_IMPORT_PATHS=1"):
            check_definition(job(**changes), JobLimits(roots=(folder,)))
        assert "jobs_of_own" not in sys.modules
        check_definition(job(**changes), JobLimits(roots=(folder,), own_code=True))

    def test_an_entry_point_is_refused_as_well(self, folder, monkeypatch):
        write_distribution(folder, "jobs_of_own", "1.5", "[hubserve.spaces]\nTiny = jobs_of_own.spaces:Small\n")
        monkeypatch.syspath_prepend(folder)
        with pytest.raises(JobError, match=r"space: Tiny: .*HUBSERVE_ALLOW_IMPORT_PATHS=1"):
            check_definition(job(space={"name": "Tiny"}), JobLimits(roots=(folder,)))
        assert "jobs_of_own" not in sys.modules
        check_definition(job(space={"name": "Tiny"}), JobLimits(roots=(folder,), own_code=True))

    def test_an_entry_point_is_refused_in_a_search_for_a_smaller_network_as_well(self, folder, monkeypatch):
        write_distribution(folder, "jobs_of_own", "1.5", f"[hubserve.strategies]\nLast = {OURS}:Last\n")
        monkeypatch.syspath_prepend(folder)
        found = parse_mapping(
            {
                "name": "smaller",
                "start": {"model": "efficientnet-lite0"},
                "strategy": {"name": "Last"},
                "data": {"name": "folder", "folder": "photos"},
                "constraints": {"latency_share": 0.5},
                "recipe": {"epochs": 2},
            },
            where="it",
        )
        with pytest.raises(JobError, match=r"strategy\.name: Last: .*HUBSERVE_ALLOW_IMPORT_PATHS=1"):
            check_definition(found, JobLimits(roots=(folder,)))
        assert "jobs_of_own" not in sys.modules
        check_definition(found, JobLimits(roots=(folder,), own_code=True))
