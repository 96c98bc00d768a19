"""Stores, packages, alias files and jobs of another user under umask 077: each command says whose they are and what to do."""

from __future__ import annotations

import json
import shutil

import pytest

from hubserve import jobs, store
from hubserve.store import aliases
from tests.images import noise
from tests.jobs.definitions import SMALLEST
from tests.other_user import environment, run_as_nobody, shared_folder
from tests.stores import small_package, store_at

WHO = "belongs to user root with mode {}, and this is user nobody; its owner may open it (chmod -R a+rX to read)"


def close(*paths):
    """As if they had been made under umask 077."""
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)


@pytest.fixture(scope="module")
def folder():
    with shared_folder() as folder:
        (folder / "images" / "class").mkdir(parents=True)
        (folder / "image.png").write_bytes(noise())
        (folder / "images" / "class" / "image.png").write_bytes(noise())
        yield folder


@pytest.fixture(scope="module")
def package(folder):
    return shutil.copytree(small_package().path, folder / "package")


def published(home, package, *names):
    home.mkdir()
    with store_at(home):
        for name in names:
            store.publish(package, name=name, version="v1")
        aliases.set_alias("production", f"{names[0]}:v1")


def reading(folder, model, name):
    """Every command that reads a model, with it; `name` makes the names of files unique."""
    return [
        ["predict", model, folder / "image.png"],
        ["eval", model, folder / "images"],
        ["profile", model, "--latency-only"],
        ["profile", "compare", model, model],
        ["export", model, "--out", folder / "nobody" / f"out-{name}"],
        ["publish", model, "--name", "copy"],
    ]


def of_versions(folder, model, name):
    """The same, and the commands for what is in the store."""
    store_export = ["store-export", model, folder / "nobody" / f"{name}.bentomodel"]
    return [*reading(folder, model, name), ["models", model], ["delete", model], store_export]


@pytest.mark.slow
def test_a_package_and_a_store_are_as_open_as_the_umask_says(folder, package):
    home = folder / "umask"
    published(home, package, "own")
    for path in (package, home / "models" / "own" / "v1"):
        assert path.stat().st_mode & 0o777 == 0o755
        assert {found.name for found in path.iterdir() if found.stat().st_mode & 0o777 != 0o644} == set()


def check_refused(said, commands, mode):
    for command, found in zip(commands, said, strict=True):
        assert found["code"] == 2, (command, found)
        assert found["fault"] == "", (command, found)
        text = " ".join((found["err"] + found["out"]).split())
        assert WHO.format(mode) in text, (command, found)
        assert "remove it" not in text, (command, found)


@pytest.mark.slow
def test_a_store_that_is_closed(folder, package):
    home = folder / "closed"
    published(home, package, "own")
    close(home)
    commands = [
        *of_versions(folder, "own:v1", "closed"),
        ["models"],
        ["predict", "own", folder / "image.png"],
        ["predict", "production", folder / "image.png"],
        ["alias", "list"],
        ["alias", "set", "production", "own:v1"],
        ["alias", "delete", "production"],
        ["store-import", folder / "image.png"],
        ["publish", package],
        ["serve"],
        ["doctor", "--json"],
    ]
    check_refused(run_as_nobody(commands, environment(folder, BENTOML_HOME=home), folder), commands, "0700")


@pytest.mark.slow
def test_a_server_needs_folders_that_its_user_cannot_make(folder, package):
    home = folder / "bare"
    published(home, package, "own")
    (said,) = run_as_nobody([["serve"]], environment(folder, BENTOML_HOME=home), folder)
    assert said["code"] == 2, said
    assert said["err"].startswith("StoreError: BentoML cannot make a folder that its server needs"), said
    assert "bare belongs to user root with mode 0755, and this is user nobody" in said["err"]


@pytest.mark.slow
def test_versions_that_are_closed(folder, package):
    home = folder / "parts"
    names = ("good", "name", "version", "manifest", "onnx")
    published(home, package, *names)
    models = home / "models"
    close(models / "name", models / "version" / "v1", models / "manifest" / "v1" / "manifest.json")
    close(models / "onnx" / "v1" / "model.onnx")
    commands = [
        *of_versions(folder, "name:v1", "name"),
        *of_versions(folder, "name", "unversioned"),
        *of_versions(folder, "version:v1", "version"),
    ]
    files = [
        *of_versions(folder, "manifest:v1", "manifest"),
        ["publish", "onnx:v1"],
        ["predict", "onnx:v1", folder / "image.png"],
    ]
    # Publishing says first that the store is read-only.
    commands, files = ([command for command in each if command[0] != "publish"] for each in (commands, files))
    more = [["models", "--json"], ["predict", "good:v1", folder / "image.png"], ["doctor", "--json"]]
    said = run_as_nobody([*commands, *files, *more], environment(folder, BENTOML_HOME=home), folder)
    check_refused(said[: len(commands)], commands, "0700")
    check_refused(said[len(commands) : -3], files, "0600")
    listed, predicted, doctor = said[-3:]
    found = {row["tag"]: row["problem"] for row in json.loads(listed["out"])["store"]}
    assert found.pop("good:v1") is None
    assert found.pop("onnx:v1") is None
    assert set(found) == {"name:latest", "version:v1", "manifest:v1"}
    assert all("belongs to user root" in problem for problem in found.values())
    assert predicted["code"] == 0, predicted
    assert "cannot be read: " in doctor["out"]
    assert "belongs to user root" in doctor["out"]
    assert "remove it" not in doctor["out"]
    assert sorted(path.name for path in models.iterdir()) == sorted(names)


@pytest.mark.slow
def test_a_file_of_aliases_that_is_closed(folder, package):
    home = folder / "aliases"
    published(home, package, "own")
    close(home / aliases.FILE)
    commands = [
        ["alias", "list"],
        ["predict", "production", folder / "image.png"],
        ["models", "production"],
        ["serve", "--model", "production"],
        ["doctor", "--json"],
    ]
    check_refused(run_as_nobody(commands, environment(folder, BENTOML_HOME=home), folder), commands, "0600")


@pytest.mark.slow
def test_packages_that_are_closed(folder, package):
    closed, parts = [], []
    for name in ("", "manifest.json", "labels.txt", "model.onnx"):
        copy = shutil.copytree(package, folder / f"package-{name}")
        close(copy / name)
        if name == "model.onnx":
            parts += [command for command in reading(folder, f"{copy}", name) if command[:2] != ["profile", "compare"]]
        elif name == "labels.txt":
            parts += [["predict", copy, folder / "image.png"], ["publish", copy]]
        else:
            (parts if name else closed).extend(reading(folder, f"{copy}", name))
    parts = [command for command in parts if command[0] != "export" or "model.onnx" not in str(command[1])]
    said = run_as_nobody([*closed, *parts], environment(folder), folder)
    check_refused(said[: len(closed)], closed, "0700")
    check_refused(said[len(closed) :], parts, "0600")


@pytest.mark.slow
def test_jobs_that_are_closed(folder, monkeypatch):
    home = folder / "runs"
    home.mkdir()
    monkeypatch.setenv("HUBSERVE_HOME", str(home))
    opened = jobs.create(SMALLEST, name="open")
    runs = {what: jobs.create(SMALLEST, name="closed") for what in ("folder", "status.json", "job.yaml")}
    close(runs["folder"].path, *(run.path / what for what, run in runs.items() if what != "folder"))
    commands = {}
    for what, run in runs.items():
        commands[what] = [["plot", run.id], ["search", "--run", run.path, "--check"]]
        if what != "job.yaml":
            commands[what] += [["jobs", run.id], ["jobs", run.id, "--stop"]]
    given = [command for each in commands.values() for command in each]
    said = run_as_nobody([*given, ["jobs"], ["jobs", "--json"]], environment(folder, HUBSERVE_HOME=home), folder)
    for what, each in commands.items():
        check_refused([said[given.index(command)] for command in each], each, "0700" if what == "folder" else "0600")
    table, listed = said[-2:]
    found = {row["id"]: row for row in json.loads(listed["out"])}
    for what, mode in (("folder", "0700"), ("status.json", "0600")):
        assert WHO.format(mode) in table["err"]
        assert WHO.format(mode) in found[runs[what].id]["error"]
    assert found[opened.id]["state"] == "queued"


@pytest.mark.slow
def test_a_folder_of_jobs_that_is_closed(folder, monkeypatch):
    home = folder / "jobs"
    home.mkdir()
    monkeypatch.setenv("HUBSERVE_HOME", str(home))
    run = jobs.create(SMALLEST)
    close(jobs.jobs_folder())
    commands = [["jobs"], ["jobs", run.id], ["plot", run.id], ["search", "--run", run.path]]
    check_refused(run_as_nobody(commands, environment(folder, HUBSERVE_HOME=home), folder), commands, "0700")
