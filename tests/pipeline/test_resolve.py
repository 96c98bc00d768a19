"""Definitions are held to what they name, and every job that we ship can be run."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from pathlib import Path
from random import Random

import optuna
import pytest

from hubserve import jobs
from hubserve.data.speech.espeak import MISSING, find_espeak
from hubserve.errors import JobError, StrategyError
from hubserve.experiment import InlineExecutor, ProcessExecutor
from hubserve.hub import NasBench201
from hubserve.jobs import ExecutorEntry, Job
from hubserve.latency import MeasuredLatency
from hubserve.latency.tables.build import BuildPlan, build_table
from hubserve.pipeline import check_definition, resolve_job
from hubserve.pipeline.check_definition import choose_formats
from hubserve.pipeline.downsample_curve import Downsampled
from hubserve.pipeline.phases.search import make_executor
from hubserve.pipeline.strategies import multi_trial
from hubserve.pipeline.tasks import image_task
from hubserve.preprocess import Preprocess
from hubserve.strategy import suggest_arch
from hubserve.strategy.named_strategies import MULTI_TRIAL, ONE_OBJECTIVE
from tests.pipeline.definitions import short
from tests.sentences import place_sentences

SHIPPED = {path.stem: path for path in (Path(__file__).parent.parent.parent / "search_jobs").glob("*.yaml")}


def job(**changes: object) -> Job:
    return jobs.parse_job(short(**changes), where="it")


def test_we_ship_some():
    assert {"digits_quickstart", "digits_latency", "digits_spos", "digits_darts", "cifar10", "imagenet"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_we_ship_can_be_run(name, tmp_path, monkeypatch):
    """Those whose data comes with scikit-learn are held to it too; the others say that it is not here."""
    place_sentences(monkeypatch, tmp_path / "home")
    found = jobs.read_job(SHIPPED[name])
    assert found.name == name
    assert found.summary
    check_definition(found)
    if found.data.name == "spoken-numbers":
        if find_espeak() is None:
            pytest.skip(MISSING)
        few = found.data.model_copy(update={"settings": {"train": 20, "val": 2, "test": 2}})
        facts = resolve_job(found.model_copy(update={"data": few}), where=tmp_path).facts()
        assert facts["phonemes"] > 20
        assert facts["published_as"] == found.publish.name
    elif found.data.folder is None:
        facts = resolve_job(found, where=tmp_path).facts()
        assert facts["classes"] == (2 if found.data.name == "movie-sentences" else 10)
        assert facts["published_as"] == found.publish.name
    else:
        with pytest.raises(JobError, match=r"^data: .* needs its folder, and .* is none"):
            resolve_job(found, where=tmp_path)


def test_images_of_ones_own(tmp_path):
    """Labels and preparation are the data's; the folder starts where the job was submitted."""
    from tests.images import noise

    for number, label in enumerate(("cats", "dogs", "emus")):
        (tmp_path / "mine" / label).mkdir(parents=True)
        for place in range(10):
            (tmp_path / "mine" / label / f"{place}.png").write_bytes(noise(seed=10 * number + place))
    data = {"name": "folder", "folder": "mine", "settings": {"size": 32, "val_share": 0.2}, "workers": 1}
    resolved = resolve_job(job(data=data), where=tmp_path)
    assert resolved.data.labels == ("cats", "dogs", "emus")
    assert (resolved.space.num_labels, resolved.settings["num_labels"], resolved.input_size) == (3, 3, 32)
    inputs, targets = next(iter(resolved.search_evaluator.val_batches()))
    assert inputs.shape[1:] == (3, 32, 32)
    assert set(targets.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"name": "NasBench202"}}, r"^space: no model space is called 'NasBench202'. Did you mean NasBench201"),
        ({"space": {"name": "NasBench201", "settings": {"stem": 1}}}, "^space: .*stem"),
        ({"space": {"name": "NasBench201", "settings": {"num_labels": 7}}}, "has 7 classes and digits has 10"),
        ({"data": {"name": "digitz"}}, "^data: no data set 'digitz'. Did you mean digits"),
        ({"data": {"name": "digits", "settings": {"sise": 8}}}, "^data: .* has no setting 'sise'. Did you mean size"),
        ({"data": {"name": "digits", "folder": "x"}}, "^data: digits come with scikit-learn"),
        ({"data": {"name": "digits", "settings": {"size": 18}}}, "does not take images of 18 pixels"),
        ({"strategy": {"name": "Randon"}}, "^strategy.name: no strategy is called 'Randon'. Did you mean Random"),
        ({"strategy": {"name": "TPE", "arguments": {"startup": 1}}}, "^strategy.arguments.startup: TPE has no such argument"),
        ({"strategy": {"name": "TPE", "arguments": {"n_startup_trials": 0}}}, "^strategy.arguments: .*at least 1"),
        ({"strategy": {"name": "Random", "then": {"name": "TPE"}}}, "^strategy.then: Random proposes archs itself"),
        ({"retrain": {"epochs": 1, "drop_path_prob": 0.2}}, "^retrain: .*drop path"),
        (
            {"strategy": {"name": "DARTS"}, "recipe": {"epochs": 1, "drop_path_prob": 0.2}, "budget": {"seconds": 60}},
            "^recipe: shared weights are trained without drop_path_prob = 0.2: .*retrain",
        ),
        ({"budget": {}}, "^budget: give trials or seconds"),
        (
            {"strategy": {"name": "PolicyBasedRL"}, "objectives": ["val_acc", "params"]},
            "^objectives: val_acc, params: strategy = PolicyBasedRL improves one score; "
            "choose GridSearch, NSGA2, PairwiseGP, ParetoEvolution, Random, TPE,",
        ),
    ],
)
def test_what_does_not_fit_is_reported_with_its_key(changes, message, tmp_path):
    with pytest.raises(JobError, match=message):
        resolve_job(job(**changes), where=tmp_path)


def ruled(folder: Path) -> Path:
    """Class folders with ten images each."""
    from tests.images import noise

    for number, label in enumerate(("cats", "dogs")):
        (folder / label).mkdir(parents=True)
        for place in range(10):
            (folder / label / f"{place}.png").write_bytes(noise(seed=10 * number + place))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"strategy": {"name": "TPE", "arguments": {"n_startup_trials": "many"}}},
            "^strategy.arguments.n_startup_trials = ",
        ),
        (
            {"strategy": {"name": "NSGA2", "arguments": {"mutation_prob": True}}},
            "^strategy.arguments.mutation_prob = True: a",
        ),
        (
            {"space": {"name": "NasBench201", "settings": {"stem_out_channels": "wide"}}},
            "^space: NasBench201: stem_out_",
        ),
        ({"space": {"name": "MobileNetV3Space", "settings": {"bn_eps": "tiny"}}}, "^space: MobileNetV3Space: bn_eps = 'tiny'"),
        ({"data": {"name": "digits", "settings": {"size": "16px"}}}, "^data: the data set 'digits': size = '16px'"),
        ({"data": {"name": "digits", "settings": {"augment": "maybe"}}}, "^data: the data set 'digits': augment = 'maybe'"),
        ({"data": {"name": "folder", "folder": "f", "settings": {"size": 0}}}, "^data: the data set 'folder': size = 0"),
        (
            {"data": {"name": "folder", "folder": "f", "settings": {"size": 64, "resize": 32}}},
            "^data: the data set 'folder': .*resize = 32 is below input_size = 64",
        ),
        (
            {"data": {"name": "folder", "folder": "f", "settings": {"preprocess": {"std": [0.5, 0, 0.5]}}}},
            "^data: the data set 'folder': preprocess = .*std above 0",
        ),
        (
            {"data": {"name": "folder", "folder": "f", "settings": {"preprocess": {"input": 32}}}},
            "^data: the data set 'folder': preprocess.input = 32",
        ),
        (
            {"data": {"name": "folder", "folder": "f", "settings": {"preprocess": {"input_size": 32}, "size": 32}}},
            "^data: the data set 'folder': preprocess and size are both given",
        ),
        (
            {"pruner": {"name": "Hyperband", "arguments": {"reduction_factor": "3x"}}, "recipe": {"epochs": 4}},
            "^pruner.arguments.reduction_factor = '3x'",
        ),
        (
            {"evaluator": {"name": "ZeroCost", "arguments": {"images": "few"}}, "objectives": ["naswot"]},
            "^evaluator.arguments.images = 'few'",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_key(changes, message):
    """Before the data are read, so also over HTTP when the job is posted."""
    with pytest.raises(JobError, match=message):
        check_definition(job(**changes))


def test_values_as_text_are_typed_by_what_they_go_to(tmp_path):
    text = short(strategy={"name": "TPE", "arguments": {"n_startup_trials": "7"}})
    for number, written in {"stem_out_channels: 4": "'8'", "size: 16": "'32'", "augment: false": "'false'"}.items():
        text = text.replace(number, f"{number.partition(':')[0]}: {written}")
    resolved = resolve_job(jobs.parse_job(text, where="it"), where=tmp_path)
    assert (resolved.space.stem_out_channels, resolved.input_size) == (8, 32)
    assert resolved.searchers.first.settings.n_startup_trials == 7
    first, again = (resolved.data.train[0][0] for _ in range(2))
    assert first.equal(again), "no augmentation"
    darts = {"name": "DARTS", "arguments": {"arc_learning_rate": "1e-2"}}
    resolved = resolve_job(job(strategy=darts, budget={}), where=tmp_path)
    assert resolved.searchers.first.arc_learning_rate == 0.01


def test_the_preprocessing_in_a_job(tmp_path):
    ruled(tmp_path / "mine")
    preprocess = {"input_size": 32, "resize": 36, "fit": "pad", "channels": "bgr", "scale": 1, "mean": [1, 2, 3]}
    data = {"name": "folder", "folder": "mine", "settings": {"preprocess": preprocess, "augment": False, "val_share": 0.2}}
    resolved = resolve_job(job(data=data), where=tmp_path)
    assert resolved.preprocess == Preprocess(**preprocess)
    assert resolved.input_size == 32


@pytest.mark.parametrize(("workers", "free", "hint"), [(0, 0, False), (8, 10**9, False), (8, 10**6, True), (8, None, False)])
def test_a_small_shared_memory_gets_a_hint_at_the_workers(workers, free, hint, monkeypatch, tmp_path):
    monkeypatch.setattr(image_task, "free_shared_memory", lambda: free)
    data = {"name": "digits", "settings": {"size": 16}, "workers": workers}
    notes = resolve_job(job(data=data), where=tmp_path).notes
    said = "data.workers = 8: the images that 8 processes hold ready take up to 3 MB of shared memory"
    assert hint == any(note.startswith(said) for note in notes)
    assert hint == any("and /dev/shm has 1 MB left. Set data.workers" in note for note in notes)


@pytest.mark.parametrize("name", MULTI_TRIAL)
def test_who_takes_several_objectives(name):
    """What a definition is refused for before the start is what the strategy itself would say in the middle of a search."""
    space, entry = NasBench201(), jobs.MultiTrialEntry(name=name)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=multi_trial(entry, key="strategy", seed=1))
    refusal = pytest.raises(StrategyError, match="searches for one objective")
    with refusal if name in ONE_OBJECTIVE else contextlib.nullcontext():
        for number in range(60):
            trial = study.ask()
            suggest_arch(trial, space)
            study.tell(trial, (number % 7, number % 5))


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(JobError, match=r"^executor.kind = ray: Ray is not installed: pip install 'hubserve\[ray\]'"):
        check_definition(job(executor={"kind": "ray"}))


@pytest.mark.parametrize("name", MULTI_TRIAL)
def test_the_seed_of_a_strategy_is_the_jobs(name):
    entry = jobs.MultiTrialEntry(name=name)
    assert multi_trial(entry, key="strategy", seed=17).seed == 17


def test_executors():
    assert isinstance(make_executor(ExecutorEntry()), InlineExecutor)
    processes = make_executor(ExecutorEntry(kind="processes", workers=2))
    assert isinstance(processes, ProcessExecutor)
    assert processes.workers == 2


@pytest.mark.parametrize("most", [2, 5, 16])
def test_a_thinned_series_is_short_even_and_has_both_ends(most):
    for length in range(1, 100):
        thinned: Downsampled[int] = Downsampled(most)
        for i in range(length):
            thinned.add(i)
        kept = thinned.entries
        assert len(kept) <= most
        assert (kept[0], kept[-1]) == (0, length - 1)
        steps = {b - a for a, b in itertools.pairwise(kept[:-1])}
        assert len(steps) <= 1


TABLE_SETTINGS = {"stem_out_channels": 4, "num_modules_per_stack": 1, "num_labels": 10}
CALLS = {"input_size": 16, "batch_size": 1, "threads": 1}


@pytest.mark.slow
class TestLatencyTable:
    """A job that names a lookup table."""

    @pytest.fixture
    def table(self, tmp_path):
        """Every operation takes as many ms as it has million multiplications, and a hundredth."""

        def build(**calls):
            space = NasBench201(**TABLE_SETTINGS)
            return build_table(
                space,
                TABLE_SETTINGS,
                tmp_path / "table.json",
                plan=BuildPlan(archs=20, fit_nets=0, check_nets=0),
                measure=lambda unit: [0.01 + unit.macs / 1e6] * 4,
                **(CALLS | calls),
            )

        return build

    def test_it_predicts_the_search_and_the_winner_is_measured(self, table, tmp_path):
        built = table()
        resolved = resolve_job(job(latency={"table": "table.json"}, constraints={"latency_ms": 100}), where=tmp_path)
        arch = resolved.space.random(Random(0))
        assert resolved.search_latency(resolved.space, arch) == {"latency_ms": built.predict(resolved.space, arch)}
        assert isinstance(resolved.latency(), MeasuredLatency)
        assert "predicted by table.json" in resolved.facts()["latency"]

    def test_without_one_all_are_measured(self, tmp_path):
        resolved = resolve_job(job(), where=tmp_path)
        assert isinstance(resolved.search_latency, MeasuredLatency)
        assert resolved.facts()["latency"] is None

    @pytest.mark.slow
    def test_a_limit_that_no_network_meets_is_reported_before_the_start(self, table, tmp_path):
        table()
        with pytest.raises(JobError, match=r"latency_ms <= 0.001 cannot be met: the fastest network .* half of all stay below"):
            resolve_job(job(latency={"table": "table.json"}, constraints={"latency_ms": 0.001}), where=tmp_path)

    @pytest.mark.slow
    def test_a_table_of_another_machine_refuses_no_job(self, table, tmp_path):
        built = table()
        host = built.host.model_copy(update={"cpu": "Abacus"})
        built.model_copy(update={"host": host}).save(tmp_path / "table.json")
        resolved = resolve_job(job(latency={"table": "table.json"}, constraints={"latency_ms": 0.001}), where=tmp_path)
        assert "which was measured on Abacus" in resolved.facts()["latency"]

    @pytest.mark.parametrize(
        ("calls", "entry", "what"),
        [
            ({"batch_size": 2}, {}, "batch_size = 2, and 1 was asked for"),
            ({}, {"threads": 2}, "threads = 1, and 2 was asked for"),
            ({"input_size": 32}, {}, "input_size = 32, and 16 was asked for"),
        ],
    )
    def test_a_table_of_other_calls(self, table, tmp_path, calls, entry, what):
        table(**calls)
        with pytest.raises(JobError, match=rf"^latency.table: .*{what}"):
            resolve_job(job(latency={"table": "table.json", **entry}), where=tmp_path)

    def test_a_table_of_another_space(self, table, tmp_path):
        table()
        other = {"name": "NasBench201", "settings": {"stem_out_channels": 8}}
        with pytest.raises(JobError, match=r"^latency.table: .* is of NasBench201 with settings"):
            resolve_job(job(space=other, latency={"table": "table.json"}), where=tmp_path)

    def test_no_table(self, tmp_path):
        with pytest.raises(JobError, match=r"^latency.table: no latency table at"):
            resolve_job(job(latency={"table": "none.json"}), where=tmp_path)


class TestOnPython314:
    """Where TorchScript does not exist. The version is replaced; nothing here ran on that Python."""

    @pytest.fixture(autouse=True)
    def later(self, monkeypatch):
        monkeypatch.setattr("hubserve.package.formats.PYTHON", (3, 14))

    @pytest.mark.parametrize("publish", [{}, None, {"profile_seconds": 1}])
    def test_a_default_format_is_left_out(self, publish):
        formats, notes = choose_formats(job(publish=publish))
        assert formats == ("onnx",)
        assert notes == ["torchscript is not exported: PyTorch does not support TorchScript on Python 3.14"]

    def test_a_check_says_so(self):
        assert resolve_job(job(publish={}), where=Path.cwd()).facts()["notes"].startswith("torchscript is not exported")

    def test_one_that_is_named_is_refused_before_anything_runs(self):
        with pytest.raises(JobError, match=r"^publish\.formats: torchscript: PyTorch does not .* 3\.14; leave it out"):
            check_definition(job(publish={"formats": ["onnx", "torchscript"]}))

    @pytest.mark.parametrize("name", SHIPPED)
    def test_what_we_ship_can_be_run(self, name):
        check_definition(jobs.read_job(SHIPPED[name]))


def test_on_this_python_the_default_formats_are_exported():
    assert choose_formats(job(publish={})) == (("onnx", "torchscript"), [])
    assert resolve_job(job(publish={}), where=Path.cwd()).facts()["notes"] is None


def test_evaluators_are_built_once(tmp_path):
    resolved = resolve_job(job(), where=tmp_path)
    assert resolved.search_evaluator is resolved.search_evaluator
    assert resolved.retrain_evaluator is resolved.retrain_evaluator is not resolved.search_evaluator
    assert resolve_job(job(retrain=None), where=tmp_path).retrain_evaluator is None


@pytest.mark.parametrize(
    ("data", "message"),
    [({"name": "digitz"}, "^data: .*Did you mean digits"), ({"name": "digits", "settings": {"sise": 8}}, "^data: .*mean size")],
)
def test_names_of_the_data_are_checked_without_the_data(data, message):
    with pytest.raises(JobError, match=message):
        check_definition(job(data=data))
