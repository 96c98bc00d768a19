"""Strategies by name, with settings, from files and as samplers of Optuna."""

from __future__ import annotations

import pytest

from hubserve.comparison import Competitor, compare, find_competitors
from hubserve.errors import StrategyError
from hubserve.find_named import importing_from
from hubserve.strategy import NSGA2, Random, RegularizedEvolution
from tests.comparison.tables import product_table
from tests.own_modules import write_package


def test_names_and_settings():
    text = "Random, RegularizedEvolution:population_size=20:mutation_prob=0.1:dedup=false"
    random, evolution, genetic = find_competitors([text, "NSGA2"])
    assert (random.label, random.kind, random.arguments) == ("Random", Random, {})
    assert evolution.label == "RegularizedEvolution:population_size=20:mutation_prob=0.1:dedup=false"
    assert evolution.kind is RegularizedEvolution
    assert evolution.arguments == {"population_size": 20, "mutation_prob": 0.1, "dedup": False}
    assert genetic.kind is NSGA2
    made = evolution.make(7)
    assert (made.seed, made.settings.population_size, made.settings.dedup) == (7, 20, False)


def test_a_file_of_strategies(tmp_path):
    file = tmp_path / "strategies.yaml"
    file.write_text(
        "- Random\n- {name: RegularizedEvolution, label: small, arguments: {population_size: 4}}\n- TPE:n_startup_trials=3\n"
    )
    assert [found.label for found in find_competitors([str(file)])] == ["Random", "small", "TPE:n_startup_trials=3"]


def test_a_strategy_from_a_file_outside_of_the_package(tmp_path):
    with importing_from(write_package(tmp_path, "others")):
        (found,) = find_competitors(["others.searching:Last:step=2"])
        assert found.label == "others.searching:Last:step=2"
        table = product_table()
        result = compare(table, [found], trials=4, seeds=2)
    expected = tuple(table.row(table.space.grid_arch(index)) for index in (59, 57, 55, 53))
    assert [cell.rows for cell in result.results[0].cells[0]] == [expected] * 2


def test_a_strategy_without_a_seed(tmp_path):
    with importing_from(write_package(tmp_path, "seedless")):
        (found,) = find_competitors(["seedless.searching:Seedless"])
    assert found.make(5).seed == 3


def test_a_sampler_of_optuna():
    result = compare(product_table(), ["optuna.samplers:RandomSampler"], trials=6, seeds=2)
    first, second = result.results[0].cells[0]
    assert len(first.rows) == 6
    assert first.rows != second.rows


def test_a_function_that_makes_one():
    result = compare(product_table(), [Competitor("made", lambda seed: Random(dedup=False, seed=seed))], trials=6, seeds=1)
    named = compare(product_table(), ["Random:dedup=false"], trials=6, seeds=1)
    assert result.results[0].cells[0][0].rows == named.results[0].cells[0][0].rows


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ([], "name at least one strategy"),
        ([" , "], "name at least one strategy"),
        (["Evolution"], r"no strategy is called 'Evolution'. Did you mean ParetoEvolution or RegularizedEvolution\?"),
        (["DARTS"], "no strategy is called 'DARTS'"),
        (["hubserve.strategy:DARTS"], "hubserve.strategy:DARTS proposes no archs: derive a class"),
        (["hubserve.strategy:Strategy"], "lacks propose, so it cannot search"),
        (["no_module_here:Mine"], "there is no module 'no_module_here'"),
        (["Random", "Random"], "two competitors are called 'Random'"),
        (["RegularizedEvolution:pop=3"], r"has no argument 'pop'"),
        (["RegularizedEvolution:seed=3"], r"has no argument 'seed'"),
        (["TPE:n_startup_trials=0"], "TPE:n_startup_trials=0: TPE: n_startup_trials = 0 must be at least 1"),
        (["TPE:n_startup_trials=[1"], r"'\[1' is no value"),
        (["none.yaml"], "none.yaml cannot be read as a list of strategies"),
    ],
)
def test_errors_name_what_is_wrong(texts, complaint):
    with pytest.raises(StrategyError, match=complaint):
        find_competitors(texts)


@pytest.mark.parametrize("content", ["3", "- 3", "- {label: x}", "- {name: Random, extra: 1}", "{name: Random}", "[", ""])
def test_a_file_that_lists_no_strategies(tmp_path, content):
    (tmp_path / "s.yaml").write_text(content)
    with pytest.raises(StrategyError, match=r"s\.yaml"):
        find_competitors([str(tmp_path / "s.yaml")])
