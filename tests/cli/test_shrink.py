"""`hubserve shrink` as a user runs it, on a small network and small images."""

from __future__ import annotations

import json

import pytest

from hubserve import jobs, store
from tests.training.finetuning.small import write_model_and_images


@pytest.fixture(autouse=True)
def own_home(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return write_model_and_images(tmp_path_factory.mktemp("begun"))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_from_the_command_line_to_a_smaller_model(hubserve, begun):
    options = ("--latency-share", 0.95, "--epochs", 2, "--set", "batch_size=8")
    done = hubserve("shrink", begun / "small", begun / "My Colours", *options)
    assert done.code == 0, done.err
    assert "latency_ms" in done.out
    assert "full_latency_ms" in done.out
    (model,) = store.list_models()
    assert model.tag.startswith("my_colours-small:")
    (run,) = jobs.list_runs()
    values = json.loads(hubserve("jobs", run.id, "--json").out)["best"]["values"]
    assert values["latency_ms"] <= 0.95 * values["full_latency_ms"]


def test_a_check_says_what_is_searched(hubserve, begun):
    done = hubserve("shrink", begun / "small", begun / "My Colours", "--latency-ms", 5, "--check", "--json")
    found = json.loads(done.out)
    assert found["constraints"] == "latency_ms <= 5"
    assert found["space"].endswith("archs no larger than that of small")
    assert (found["strategy"], found["published_as"]) == ("RegularizedEvolution", "my_colours-small")


@pytest.mark.slow
def test_a_limit_that_nothing_meets_ends_the_job_before_it_is_trained(hubserve, begun):
    done = hubserve("shrink", begun / "small", begun / "My Colours", "--latency-ms", 0.0001)
    assert done.code == 3
    assert "latency_ms <= 0.0001 cannot be met: the fastest network that can be cut from small takes" in done.err
    assert store.list_models() == []
    (run,) = jobs.list_runs()
    assert jobs.read(run).state == "failed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say how fast the network must be: --latency-ms 5, or --latency-share 0.5"),
        (("--latency-ms", 5, "--latency-share", 0.5), "one of the two"),
        (("--latency-ms", -1), "constraints.latency_ms"),
        (("--latency-share", 1.5), "below 1"),
        (("--latency-ms", 5, "--epochs", 1), "at least 2"),
    ],
)
def test_wrong_options(hubserve, begun, options, message):
    done = hubserve("shrink", begun / "small", begun / "My Colours", *options)
    assert done.code == 2
    assert message in done.err


def test_a_model_of_a_space_that_cannot_be_cut(hubserve, begun):
    done = hubserve("shrink", "spos", begun / "My Colours", "--latency-ms", 5)
    assert done.code == 2
    assert store.list_models() == []
