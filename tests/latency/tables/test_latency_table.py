"""Lookup tables: additive costs are predicted exactly, resumed where they stopped, and one tiny space for real."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pytest
from torch import nn

from hubserve.errors import ArchError, ProfileError
from hubserve.hub import SPACES, get_space
from hubserve.latency.choice_modules import labels_of_modules
from hubserve.latency.tables.build import BuildPlan, build_table, check_table, default_path
from hubserve.latency.tables.interpolation import OperationEstimator, fit_costs
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.tables.limit_check import feasibility
from hubserve.latency.tables.operation_onnx import time_operation
from hubserve.latency.tables.records import NetworkTime, OperationTime, TableError
from hubserve.operations import Operation, arch_operations, parse_key
from hubserve.space import ModelSpace


@dataclass(frozen=True)
class Tiny(ModelSpace):
    """Two convolutions, a pool that may be there, and up to two further blocks."""

    def build(self, pick):
        width = pick("width", (8, 16, 24))
        blocks = pick.repeat("depth", (0, 2), lambda i: nn.Conv2d(width, width, pick(f"ks_{i}", (1, 3)), padding="same"))
        pool = pick.layer("pool", {"none": nn.Identity, "max": lambda: nn.MaxPool2d(2)})
        stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        return nn.Sequential(stem, nn.Sequential(*blocks), pool, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


SPACE = Tiny()
ARCH = {"width": 16, "depth": 1, "ks_0": 3, "pool": "max"}


def cost(unit: Operation) -> float:
    return 0.01 + unit.elements / 1e5


def made_up(unit: Operation) -> list[float]:
    return [cost(unit)] * 8


def net_ms(arch, step=0.002, offset=0.5, weight=3.0):
    units = arch_operations(SPACE, arch, (1, 3, 16, 16))
    weights = sum(unit.weights for unit in units) / 1e6
    return 1.2 * sum(map(cost, units)) + step * len(units) + weight * weights + offset


def build(path, plan=None, **options):
    plan = plan or BuildPlan(archs=40, fit_nets=12, check_nets=20)
    options = {"measure": made_up, "measure_network": lambda arch: (net_ms(arch), 9), **options}
    return build_table(SPACE, {}, path, input_size=16, plan=plan, **options)


class TestOperations:
    @pytest.mark.parametrize("name", [name for name, space in SPACES.items() if space().takes_images])
    def test_every_kind_of_every_space_has_its_onnx(self, name):
        """Each kind once, in ONNX Runtime. Tables are of spaces that take images."""
        space = get_space(name)
        units = arch_operations(space, space.random(Random(0)), (1, 3, space.input_size, space.input_size))
        for unit in {unit.kind: unit for unit in units}.values():
            times = time_operation(unit, threads=1, calls=5)
            assert len(times) == 5
            assert all(ms >= 0 for ms in times)

    def test_a_kind_that_nobody_knows(self):
        with pytest.raises(ProfileError, match="no ONNX for 'magic'"):
            time_operation(Operation("magic", ((1, 2),), (1, 2)), threads=1)


class TestAdditive:
    def test_costs_that_add_up_are_predicted_exactly(self, tmp_path):
        table = build(tmp_path / "t.json")
        for seed in range(20):
            arch = SPACE.random(Random(seed))
            assert table.predict(SPACE, arch) == pytest.approx(net_ms(arch), rel=1e-6)
        assert table.error.networks >= 10, "an arch that is drawn twice is measured once"
        assert table.error.within_10 == 1
        assert table.error.worst_error < 1e-6
        assert table.error.spearman == pytest.approx(1)

    def test_without_networks_it_is_the_plain_sum(self, tmp_path):
        table = build(tmp_path / "t.json", BuildPlan(archs=30, fit_nets=0, check_nets=0))
        assert table.error is None
        assert table.predict(SPACE, ARCH) == pytest.approx(sum(map(cost, arch_operations(SPACE, ARCH, (1, 3, 16, 16)))))

    def test_an_error_is_told_as_it_is(self, tmp_path):
        """Networks that take half as long again as they should, by their draws."""
        table = build(tmp_path / "t.json")
        slow = iter([1.0, 1.0, 1.5, 1.05])
        error, pairs = check_table(table, SPACE, nets=4, seed=3, measure_network=lambda arch: (net_ms(arch) * next(slow), 1))
        assert error.within_10 == 0.75
        assert error.worst_error == pytest.approx(1 / 3, rel=1e-5)
        assert len(pairs) == 4

    def test_networks_to_which_it_was_fitted_do_not_judge_it(self, tmp_path):
        table, measured = build(tmp_path / "t.json"), []
        check_table(table, SPACE, nets=30, seed=1, measure_network=lambda arch: (measured.append(arch) or net_ms(arch), 1))
        fitted = [net.arch for net in table.networks if net.role == "fit"]
        assert len(fitted) >= 5
        assert not [arch for arch in measured if arch in fitted]

    def test_a_table_that_was_fitted_to_all_networks_is_not_judged(self, tmp_path):
        table = build(tmp_path / "t.json")
        every = [NetworkTime(arch=arch, ms=1.0, n=1, role="fit") for arch in map(SPACE.grid_arch, range(SPACE.count()))]
        table = table.model_copy(update={"networks": every})
        with pytest.raises(ProfileError, match="fitted to each of 1000 random networks"):
            check_table(table, SPACE, nets=1, seed=1, measure_network=lambda arch: (net_ms(arch), 1))

    def test_what_was_not_measured_is_estimated_from_the_like(self, tmp_path):
        table = build(tmp_path / "t.json")
        arch = {"width": 24, "depth": 2, "ks_0": 3, "ks_1": 3, "pool": "none"}
        forgotten = "conv 1x24x16x16 -> 1x24x16x16 kernel=3x3 stride=1x1 padding=1x1 dilation=1x1 groups=1"
        assert table.explain(SPACE, arch).measured == 1
        less = LatencyTable.model_validate_json(table.model_dump_json())
        del less.operations[forgotten]
        found = less.explain(SPACE, arch)
        assert found.measured < 0.7
        assert found.ms == pytest.approx(net_ms(arch), rel=0.5)

    def test_a_few_small_operations_like_it(self):
        """Too few for a fit: as many elements take as long, however few they are."""
        known = "add 1x8x4x4 -> 1x8x4x4"
        estimator = OperationEstimator({known: 0.5})
        assert estimator.estimate(parse_key(known)) == pytest.approx(0.5)

    def test_nothing_like_it(self, tmp_path):
        table = build(tmp_path / "t.json", BuildPlan(archs=1, fit_nets=0, check_nets=0))
        table.operations = {key: time for key, time in table.operations.items() if not key.startswith("linear")}
        with pytest.raises(ProfileError, match="no operation like linear"):
            table.predict(SPACE, ARCH)


class TestFile:
    def test_goes_on_where_it_was_stopped(self, tmp_path):
        calls = []

        def broken(unit):
            if len(calls) == 5:
                raise KeyboardInterrupt
            calls.append(unit.key)
            return made_up(unit)

        from hubserve.latency.tables import build as module

        before, module.SAVE_SECONDS = module.SAVE_SECONDS, 0
        try:
            with pytest.raises(KeyboardInterrupt):
                build(tmp_path / "t.json", measure=broken)
        finally:
            module.SAVE_SECONDS = before
        kept = set(LatencyTable.load(tmp_path / "t.json").operations)
        assert kept == set(calls)
        again = []
        table = build(tmp_path / "t.json", measure=lambda unit: again.append(unit.key) or made_up(unit))
        assert set(again) == set(table.operations) - kept
        untouched = build(
            tmp_path / "t.json",
            measure=lambda unit: pytest.fail("measured"),
            measure_network=lambda arch: pytest.fail("measured"),
        )
        assert untouched.model_dump() == table.model_dump()
        assert [path.name for path in tmp_path.iterdir()] == ["t.json"]

    def test_another_table_is_not_gone_on_with(self, tmp_path):
        build(tmp_path / "t.json")
        with pytest.raises(ProfileError, match="is a table for input_size = 16, and 32 was asked for"):
            build_table(SPACE, {}, tmp_path / "t.json", input_size=32, measure=made_up)
        text = (tmp_path / "t.json").read_text()
        host = LatencyTable.load(tmp_path / "t.json").host
        (tmp_path / "t.json").write_text(text.replace(f'"{host.cpu}"', '"Abacus"'))
        with pytest.raises(ProfileError, match="was measured on Abacus"):
            build(tmp_path / "t.json")

    def test_of_another_onnx_runtime(self, tmp_path):
        table = build(tmp_path / "t.json")
        assert table.difference_to_host() is None
        older = {**table.host.versions, "onnxruntime": "1.0", "onnxruntime-gpu": "1.0"}
        table = table.model_copy(update={"host": table.host.model_copy(update={"versions": older})})
        assert "and ONNX Runtime 1.0, and this is " in table.difference_to_host()
        table.save(tmp_path / "t.json")
        with pytest.raises(ProfileError, match=r"ONNX Runtime 1\.0, and this is .*remove it to measure anew"):
            build(tmp_path / "t.json")

    @pytest.mark.parametrize(
        ("asked", "what"),
        [
            ({"input_size": 32}, "input_size = 16, and 32 was asked for"),
            ({"threads": 2}, "threads = 1, and 2 was asked for"),
            ({"batch_size": 4}, "batch_size = 1, and 4 was asked for"),
        ],
    )
    def test_other_calls_than_it_is_for(self, tmp_path, asked, what):
        table = build(tmp_path / "t.json")
        calls = {"input_size": 16, "threads": 1, "batch_size": 1}
        table.check_fit(tmp_path / "t.json", SPACE, **calls)
        with pytest.raises(ProfileError, match=what):
            table.check_fit(tmp_path / "t.json", SPACE, **calls | asked)

    def test_other_settings_than_it_is_for(self, tmp_path):
        table = build(tmp_path / "t.json")
        wide = get_space("NasBench201", {"stem_out_channels": 32})
        table = table.model_copy(update={"space": "NasBench201", "settings": {"stem_out_channels": 16}})
        with pytest.raises(ProfileError, match=r"is of NasBench201 with settings {'stem_out_channels': 16}, not of .*32"):
            table.predict(wide, wide.random())

    def test_of_another_space(self, tmp_path):
        table = build(tmp_path / "t.json")
        space = get_space("ProxylessNAS")
        with pytest.raises(ProfileError, match=r"is of tests\..*:Tiny, not of ProxylessNAS"):
            table.predict(space, space.random())
        with pytest.raises(ArchError):
            table.predict(SPACE, {"width": 7})

    def test_no_table(self, tmp_path):
        with pytest.raises(ProfileError, match="latency-table build"):
            LatencyTable.load(tmp_path / "t.json")
        (tmp_path / "t.json").write_text('{"space": 1}')
        with pytest.raises(ProfileError, match="is not a latency table that this version reads"):
            LatencyTable.load(tmp_path / "t.json")

    def test_where_it_lies(self, monkeypatch, tmp_path):
        monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
        one = default_path(SPACE, {}, input_size=32)
        other = default_path(SPACE, {"num_labels": 7}, input_size=32, threads=2)
        assert one == tmp_path / "latency" / f"{__name__}-Tiny-32px-1t.json"
        assert other.parent == one.parent
        assert other.name != default_path(SPACE, {"num_labels": 8}, input_size=32, threads=2).name


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return build(tmp_path_factory.mktemp("t") / "t.json")


class TestFeasible:
    def test_finds_the_fastest_of_all(self, table):
        every = [SPACE.grid_arch(i) for i in range(SPACE.grid_size)]
        found = feasibility(table, SPACE, max_ms=1.0, archs=10)
        assert found.fastest_ms == pytest.approx(min(net_ms(arch) for arch in every))
        assert net_ms(found.fastest) == pytest.approx(found.fastest_ms)

    def test_shares_are_those_of_the_draws(self, table):
        rng = Random(0)
        times = [net_ms(SPACE.random(rng)) for _ in range(50)]
        limit = float(np.median(times)) + 1e-6
        found = feasibility(table, SPACE, max_ms=limit, archs=50)
        assert found.share == pytest.approx(np.mean(np.array(times) <= limit))
        assert found.share_interval[0] < found.share < found.share_interval[1]
        assert found.quantiles[0.5] == pytest.approx(np.quantile(times, 0.5))
        assert found.verdict == "yes"

    def test_what_cannot_be_met(self, table):
        found = feasibility(table, SPACE, max_ms=0.1, archs=10)
        assert (found.verdict, found.share) == ("no", 0)
        with pytest.raises(ProfileError, match="must be above 0"):
            feasibility(table, SPACE, max_ms=0, archs=10)


@pytest.mark.slow
def test_a_tiny_space_for_real(tmp_path):
    """Operations by ONNX Runtime's profiler, networks by export and session."""
    reported = []
    plan = BuildPlan(archs=4, fit_nets=1, check_nets=1, calls=5, net_seconds=0.1)
    table = build_table(
        SPACE,
        {},
        tmp_path / "t.json",
        input_size=16,
        plan=plan,
        progress=lambda what, done, total: reported.append((what, done, total)),
    )
    assert reported[-1] == ("whole networks", 2, 2)
    assert [net.role for net in table.networks].count("fit") == 1
    assert all(net.ms > 0 and net.n >= 10 for net in table.networks)
    assert table.error.networks == 1
    assert table.predict(SPACE, ARCH) > 0
    assert LatencyTable.load(tmp_path / "t.json").model_dump() == table.model_dump()


def test_times_of_an_operation():
    time = OperationTime.of([1.0, 1.2, 1.1, 9.0])
    assert (time.n, time.p50_ms, time.ms) == (4, pytest.approx(1.15), pytest.approx(1.1))
    assert time.mean_ms == pytest.approx(3.075)
    assert time.sd_ms == pytest.approx(np.std([1.0, 1.2, 1.1, 9.0], ddof=1))
    with pytest.raises(ProfileError, match="in no call"):
        OperationTime.of([])


class TestStatistics:
    """The expected values are those of our own functions, which scipy's replaced."""

    def test_fit_has_no_negative_cost(self):
        rng = np.random.default_rng(0)
        features, target = rng.uniform(0, 1, (12, 4)), rng.uniform(1, 2, 12)
        np.testing.assert_allclose(fit_costs(features, target), [0.80247277, 0.71499705, 0.75973829, 0.09542462], atol=1e-7)
        falling = np.stack([np.arange(1.0, 6), np.ones(5)], axis=1)
        assert (fit_costs(falling, np.array([5.0, 4, 3, 2, 1])) >= 0).all()

    def test_rank_correlation(self):
        error = TableError.of([(1.0, 3.0), (2.0, 1.0), (2.0, 4.0), (5.0, 4.0), (4.0, 9.0)])
        assert error.spearman == pytest.approx(0.605263157894737)
        assert TableError.of([(1.0, 1.0), (2.0, 1.0)]).spearman is None
        assert TableError.of([(1.0, 1.0), (1.0, 2.0), (1.0, 2.0)]).spearman is None, "no ranks in what is always the same"

    @pytest.mark.parametrize("max_ms", [0.1, 1.0, 1.5, 100.0])
    def test_interval_of_a_share(self, table, max_ms):
        """Wilson's formula, written out."""
        found, z, n = feasibility(table, SPACE, max_ms=max_ms, archs=50, tries=1), 1.96, 50
        spread = z * math.sqrt(found.share * (1 - found.share) / n + z * z / (4 * n * n))
        middle, scale = found.share + z * z / (2 * n), 1 + z * z / n
        expected = max(0, (middle - spread) / scale), min(1, (middle + spread) / scale)
        assert found.share_interval == pytest.approx(expected, abs=1e-5)


class TestOldFiles:
    GOLDEN = Path(__file__).parent.parent.parent / "golden" / "latency_table.json"

    def test_a_table_of_an_earlier_version_opens(self):
        """It has "units" and "nets" where "operations" and "networks" are written now; its predictions have not changed."""
        expected = json.loads(self.GOLDEN.with_name("expected.json").read_text())
        table, facts = LatencyTable.load(self.GOLDEN), expected["latency_table"]
        assert (len(table.operations), len(table.networks)) == (facts["units"], facts["nets"])
        space = get_space("NasBench201", expected["package"]["settings"])
        assert table.predict(space, facts["arch"]) == pytest.approx(facts["ms"], rel=1e-9)

    def test_it_is_written_with_the_new_names(self, tmp_path):
        table = LatencyTable.load(self.GOLDEN)
        table.save(tmp_path / "t.json")
        assert {"operations", "networks"} < set(json.loads((tmp_path / "t.json").read_text()))
        assert LatencyTable.load(tmp_path / "t.json") == table

    def test_its_calibration_is_fitted_again_to_the_same(self):
        """By scipy now, where it was by our own function."""
        expected = json.loads(self.GOLDEN.with_name("expected.json").read_text())
        table = LatencyTable.load(self.GOLDEN)
        again = table.recalibrated(get_space("NasBench201", expected["package"]["settings"]))
        assert again.calibration.model_dump() == pytest.approx(table.calibration.model_dump(), rel=1e-6, abs=1e-9)
        assert again.error.model_dump() == pytest.approx(table.error.model_dump(), rel=1e-6)

    def test_a_copy_predicts_by_its_own_calibration(self):
        expected = json.loads(self.GOLDEN.with_name("expected.json").read_text())
        space, arch = get_space("NasBench201", expected["package"]["settings"]), expected["latency_table"]["arch"]
        table = LatencyTable.load(self.GOLDEN)
        before = table.predict(space, arch)
        table.networks = [net.model_copy(update={"ms": 10 * net.ms}) for net in table.networks]
        assert table.recalibrated(space).predict(space, arch) == pytest.approx(10 * before, rel=0.2)
        assert table.predict(space, arch) == before


def test_labels_of_modules_by_hand():
    owners = labels_of_modules(SPACE, {**ARCH, "depth": 2, "ks_1": 1})
    assert owners["0.0"] == {"width"}
    assert owners["0.2"] == set()
    assert owners["1.0"] == {"width", "depth", "ks_0"}
    assert owners["1.1"] == {"width", "depth", "ks_1"}
    assert owners["2"] == {"pool"}
    assert owners["5"] == {"width"}
