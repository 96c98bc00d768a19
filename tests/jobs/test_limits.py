"""What a job over HTTP may reach and use: each key has a rule, and each rule has a value that it refuses."""

from __future__ import annotations

import os
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from hubserve.errors import JobError
from hubserve.jobs import UNLIMITED, FineTuneJob, Job, JobLimits, SearchJob, ShrinkJob, check_limits, check_paths, parse_mapping
from hubserve.jobs.limited_keys import RULES

JOB = {
    "name": "tiny",
    "space": {"name": "NasBench201"},
    "data": {"name": "folder", "folder": "flowers"},
    "strategy": {"name": "Random"},
    "executor": {"kind": "processes"},
    "budget": {"trials": 3},
}


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "data"
    (folder / "flowers" / "rose").mkdir(parents=True)
    (folder / "flowers" / "rose" / "1.png").touch()
    (folder / "table.json").write_text("{}")
    return folder


@pytest.fixture
def limits(root) -> JobLimits:
    return JobLimits(
        roots=(root,),
        own_ray=True,
        workers=4,
        trials=100,
        epochs=50,
        image_size=256,
        batch_size=512,
        memory_mb=1000,
    )


def all_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted keys of a record and of the records in it."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        records = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        for record in records:
            yield from all_keys(record, f"{prefix}{name}.")
        if not records:
            yield f"{prefix}{name}"


@pytest.mark.parametrize("kind", [SearchJob, FineTuneJob, ShrinkJob])
def test_each_key_has_a_rule_and_each_rule_a_key(kind):
    """A new key needs a decision: what can a job over HTTP reach with it, and what can it use up?"""
    assert sorted(all_keys(kind)) == sorted(RULES[kind])


def job(**changes: object) -> Job:
    return parse_mapping({**JOB, **changes}, where="the test")


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("executor.address", {"executor": {"kind": "ray", "address": "ray://10.0.0.1:10001"}}),
        ("executor.address", {"executor": {"kind": "ray", "address": "auto"}}),
        ("executor.workers", {"executor": {"kind": "processes", "workers": 5}}),
        ("executor.workers", {"executor": {"kind": "ray", "workers": 4096}}),
        ("data.workers", {"data": {"name": "digits", "workers": 5}}),
        ("data.workers", {"data": {"name": "digits", "workers": 3}, "executor": {"kind": "processes", "workers": 2}}),
        ("data.settings", {"data": {"name": "digits", "settings": {"size": 257}}}),
        ("data.settings", {"data": {"name": "digits", "settings": {"size": "257"}}}),
        ("data.settings", {"data": {"name": "digits", "settings": {"size": [64, 257]}}}),
        ("data.settings", {"data": {"name": "digits", "settings": {"preprocess": [{"size": 257}]}}}),
        ("data.settings", {"data": {"name": "folder", "folder": "f", "settings": {"preprocess": {"input_size": " 257 "}}}}),
        ("space.settings", {"space": {"name": "NasBench201", "settings": {"stem_out_channels": "1e6"}}}),
        ("data.settings", {"data": {"name": "digits", "settings": {"preprocess": {"input_size": 10_000}}}}),
        ("data.folder", {"data": {"name": "folder", "folder": "~/x"}}),
        ("data.file", {"data": {"name": "listing", "file": "~/x.csv"}}),
        ("data.dataset", {"data": {"name": "hf", "dataset": "me/flowers"}}),
        ("data.name", {"data": {"name": "mypkg.data:make"}}),
        ("space.name", {"space": {"name": "os:system"}}),
        ("space.name", {"space": {"name": "mypkg.spaces"}}),
        ("space.settings", {"space": {"name": "NasBench201", "settings": {"num_modules_per_stack": 10**6}}}),
        ("space.settings", {"space": {"name": "NASNet", "settings": {"num_cells": list(range(3, 300))}}}),
        ("space.settings", {"space": {"name": "NASNet", "settings": {"width": [[[[[[1]]]]]]}}}),
        ("space.settings", {"space": {"name": "NASNet", "settings": {"dataset": "x" * 10_000}}}),
        ("strategy.name", {"strategy": {"name": "a.b:c"}}),
        ("strategy.arguments", {"strategy": {"name": "RegularizedEvolution", "arguments": {"population_size": 10**9}}}),
        (
            "strategy.then.arguments",
            {"strategy": {"name": "RandomOneShot", "then": {"name": "TPE", "arguments": {"x": 10**9}}}},
        ),
        ("recipe.epochs", {"recipe": {"epochs": 51}}),
        ("retrain.epochs", {"retrain": {"epochs": 51}}),
        ("recipe.batch_size", {"recipe": {"batch_size": 513}}),
        ("recipe.devices", {"recipe": {"devices": 5}}),
        ("data.workers", {"retrain": {"devices": 3}, "data": {"name": "digits", "workers": 2}}),
        ("retrain.devices", {"retrain": {"devices": 5}}),
        ("latency.batch_size", {"latency": {"batch_size": 600}}),
        ("latency.threads", {"latency": {"threads": 5}}),
        ("latency.lengths", {"latency": {"lengths": {"length": 4097}}}),
        ("budget.trials", {"budget": {"trials": 101}}),
        ("zero_cost_filter.archs", {"zero_cost_filter": {"archs": 101}}),
        ("zero_cost_filter.images", {"zero_cost_filter": {"images": 513}}),
        ("summary", {"summary": "x" * 10_000}),
    ],
)
def test_what_is_refused(limits, key, changes):
    given = job(**changes)
    with pytest.raises(JobError, match=f"^{key}: "):
        check_limits(given, limits)
    check_limits(given, UNLIMITED)


def test_each_device_counts_as_a_worker(limits):
    keys = {"name": "it", "start": {"model": "small"}, "data": {"name": "folder", "folder": "x"}}
    given = [parse_mapping({**keys, "recipe": {"epochs": 1, "devices": n}}, where="the test") for n in (4, 5)]
    check_limits(given[0], limits)
    with pytest.raises(JobError, match=r"^recipe\.devices: 5 is more than the 4"):
        check_limits(given[1], limits)


def test_what_is_allowed(limits, root):
    given = job(
        executor={"kind": "ray", "workers": 2},
        data={"name": "folder", "folder": "flowers", "workers": 2, "settings": {"size": 256}},
        latency={"table": str(root / "table.json")},
        retrain={"epochs": 50},
    )
    check_limits(given, limits)
    check_paths(given, limits, root)
    assert limits.reachable_folder("data.folder", root / "flowers") == root / "flowers"
    assert limits.reachable_file("latency.table", root / "table.json", max_bytes=10) == root / "table.json"


@pytest.mark.parametrize("key", ["data.folder", "latency.table"])
def test_a_message_does_not_say_what_is_there(limits, root, key):
    """Not whether a path outside of the roots exists, nor what it is; links and `..` are followed first."""
    (root / "link").symlink_to("/etc")
    (root / "broken").symlink_to("/no/such")
    paths = ["/etc", "/etc/passwd", "/root/secret", "/no/such", "../..", "flowers/../../x", "link", "link/passwd", "broken"]
    said = set()
    for path in [*paths, "/dev/zero", "/dev/stdin", f"{root}-other", "/proc/self/root/etc"]:
        changes = {"data": {"name": "folder", "folder": path}} if key == "data.folder" else {"latency": {"table": path}}
        with pytest.raises(JobError) as caught:
            check_paths(job(**changes), limits, root)
        said.add(str(caught.value))
    (message,) = said
    assert message.startswith(f"{key}: it is not in a folder that this server allows")
    assert str(root) not in message


def test_special_files_are_refused(limits, root):
    os.mkfifo(root / "pipe")
    (root / "large.json").write_bytes(b" " * 11)
    for name, says in (
        ("pipe", "no regular file"),
        ("flowers", "no regular file"),
        ("large.json", "larger"),
        ("none", "no such"),
    ):
        with pytest.raises(JobError, match=says):
            limits.reachable_file("latency.table", root / name, max_bytes=10)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "file"])
def test_what_a_folder_holds_does_not_lead_out(limits, root, tmp_path, kind):
    inside = root / "flowers" / "rose" / "2.png"
    if kind == "pipe":
        os.mkfifo(inside)
    else:
        (tmp_path / "outside").mkdir()
        inside.symlink_to({"device": "/dev/zero", "folder": tmp_path / "outside", "file": "/etc/hostname"}[kind])
    with pytest.raises(JobError, match=r"'2\.png' in it is"):
        limits.reachable_folder("data.folder", root / "flowers")
    assert UNLIMITED.reachable_folder("data.folder", root / "flowers") == root / "flowers"


def test_links_within_the_roots_are_followed(limits, root):
    (root / "more").mkdir()
    (root / "more" / "back").symlink_to(root / "flowers")
    (root / "flowers" / "tulip").symlink_to(root / "more")
    limits.reachable_folder("data.folder", root / "flowers")
