"""Fine-tuning jobs, run for real on small images and a small network."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from hubserve import jobs, store
from hubserve.cli.finetune import name_of
from hubserve.errors import JobError
from hubserve.jobs import JobStatus
from hubserve.pipeline import resolve_job, run_job
from hubserve.service.engine import Engine
from hubserve.store import aliases
from tests.pipeline.test_run import Interrupt
from tests.training.finetuning.small import COLOURS, write_model_and_parts

EPOCHS = 10


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """A folder with a package of a small network, and images in train/ and test/."""
    return write_model_and_parts(tmp_path_factory.mktemp("begun"))


def definition(begun: Path, **changes: object) -> str:
    given = {
        "name": "colours",
        "start": {"model": str(begun / "small")},
        "data": {"name": "folder", "folder": str(begun / "colours")},
        "recipe": {"epochs": 3, "batch_size": 8},
        "publish": {"formats": ["onnx"], "profile_seconds": 0.3},
    }
    return yaml.safe_dump(given | changes)


def test_from_images_to_answers(tmp_path):
    # Many images and epochs: with few, whether it is better than chance depends on the rounding of this CPU, as the kept epoch
    # is then chosen by three validation images.
    begun = write_model_and_parts(tmp_path, count=40)
    run = jobs.create(definition(begun, recipe={"epochs": EPOCHS, "batch_size": 8}))
    reported: list[JobStatus] = []
    with jobs.hold(run):
        status = run_job(run, on_status=reported.append)
    assert (status.state, status.trials) == ("done", 0)
    assert [row.epoch for row in status.epochs] == [*range(EPOCHS + 1)]
    assert status.test_acc is not None
    assert {found.phase for found in reported} >= {"fine-tune", "test", "export", "profile", "publish"}
    package = store.resolve(status.published).package
    package.verify()
    assert package.labels == tuple(COLOURS)
    provenance = package.manifest.provenance
    assert (provenance.origin, provenance.weights) == ("fine-tuning", "fine-tuned")
    found = provenance.fine_tuning
    assert (found["start"], found["run"], found["epochs"]) == ("small", run.id, EPOCHS)
    assert found["images"]["test"] == 15
    assert provenance.metric.top1 == pytest.approx(100 * status.test_acc, abs=1e-3)
    assert not list((run.path / "fine_tuned").glob("unfinished/*"))
    times = {time.part: time for time in status.times}
    assert list(times) == ["check", "features", "fine-tune", "test", "export", "profile", "publish"]
    estimated = ["features", "fine-tune", "test", "export", "profile"]
    assert [part for part, time in times.items() if time.estimated is not None] == estimated
    assert all(time.seconds is not None and time.seconds > 0 for time in times.values())
    assert status.estimated_seconds == pytest.approx(sum(times[part].estimated for part in estimated[1:]))
    assert times["features"].seconds < times["fine-tune"].seconds < status.seconds
    assert any(before.message.startswith("estimated: features ") for before in reported)
    right = 0
    for path in sorted((begun / "colours" / "test").glob("*/*.png")):
        right += Engine(package).classify(path.read_bytes()).predictions[0].label == path.parent.name
    assert right / 15 == pytest.approx(status.test_acc)
    assert right > 5  # By chance.


@pytest.mark.long
def test_a_fine_tuned_model_is_fine_tuned_again(begun):
    """By its name in the store; size and fit are those that are asked for."""
    first = run_job(jobs.create(definition(begun, recipe={"epochs": 1})))
    aliases.set_alias("mine", first.published)
    again = run_job(jobs.create(definition(begun, name="again", start={"model": "mine"}, images={"size": 48, "fit": "pad"})))
    package = store.resolve(again.published).package
    assert (package.manifest.preprocess.input_size, package.manifest.preprocess.fit) == (48, "pad")
    assert package.manifest.provenance.fine_tuning["start"] == "colours"
    file = io.BytesIO()
    Image.new("RGB", (90, 30), COLOURS["red"]).save(file, "PNG")
    assert Engine(package).classify(file.getvalue()).predictions[0].label in COLOURS


@pytest.mark.slow
def test_interrupted_at_every_phase_it_ends_as_without(begun):
    alone = run_job(jobs.create(definition(begun)))
    run = jobs.create(definition(begun, name="again"))
    for phase in ("fine-tune", "test", "export", "profile", "publish"):
        with pytest.raises(KeyboardInterrupt), jobs.hold(run):
            run_job(run, on_status=Interrupt(phase))
        assert (jobs.read(run).state, jobs.read(run).phase) == ("stopped", phase)
    done = run_job(run)
    assert done.state == "done"
    assert done.test_acc == alone.test_acc
    weights = [store.resolve(status.published).package.path / "weights.safetensors" for status in (alone, done)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.long
def test_killed_in_every_phase_it_ends_as_without(begun):
    """Real processes and `kill -9`, one after the other on the same run."""
    text = definition(begun, recipe={"epochs": 8, "batch_size": 8})
    # In a process like the killed ones: the number of threads decides on rounding.
    alone, run = jobs.create(text), jobs.create(text)
    assert in_a_process(alone).wait() == 0
    killed = []
    for phase in ("fine-tune", "test", "export", "profile", "publish"):
        process = in_a_process(run)
        while process.poll() is None and jobs.read(run).phase != phase:
            time.sleep(0.005)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed.append(phase)
        process.wait()
    assert {"fine-tune", "export", "profile"} <= set(killed)
    if jobs.read(run).state != "done":
        in_a_process(run).wait()
    assert (jobs.read(run).state, jobs.read(run).test_acc) == ("done", jobs.read(alone).test_acc)


def in_a_process(run):
    return subprocess.Popen([sys.executable, "-m", "hubserve.pipeline", str(run.path)], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": {"model": "efficientnet-lite9"}}, r"start\.model: 'efficientnet-lite9' is no .*efficientnet-lite0"),
        ({"data": {"name": "digits"}}, r"data\.name = digits: a model is fine-tuned on image files"),
        ({"data": {"name": "folder"}}, r"data\.folder: a fine-tuning needs its images"),
        ({"data": {"name": "folder", "folder": "/nosuch"}}, "data: .*/nosuch"),
        ({"images": {"fit": "stretch"}}, "images.fit = 'stretch' is not one of crop, pad, squash"),
        ({"recipe": {"epoch": 3}}, "recipe.epoch: there is no such key. Did you mean epochs?"),
        ({"recipe": {"minutes": 0}}, "recipe.minutes = 0"),
        (
            {"recipe": {"class_weights": {"yellow": 2}}},
            "recipe.class_weights: 'yellow' is none of the classes blue, green, red",
        ),
        ({"recipe": {"devices": 0}}, "recipe.devices = 0"),
        ({"recipe": {"devices": 20}}, "33 images to train and 3 to validate on 20 devices: at least 40 and 1"),
        ({"budget": {"trials": 3}}, "budget: there is no such key"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is_trained(begun, changes, message):
    with pytest.raises(JobError, match=message):
        resolve_job(jobs.parse_job(definition(begun, **changes), where="it"), where=Path.cwd())


def test_the_facts_of_a_check(begun):
    facts = resolve_job(jobs.parse_job(definition(begun), where="it"), where=Path.cwd()).facts()
    assert facts["start"] == "small, an arch of ProxylessNAS"
    assert facts["data"] == "33 / 3 / 15 images to train, validate, test"
    assert facts["classes"] == "blue, green, red"
    assert facts["budget"] == "3 epochs"


def test_a_job_without_a_budget_takes_ten_minutes(begun):
    job = jobs.parse_job(definition(begun, recipe={}), where="it")
    assert job.recipe.minutes == 10
    assert jobs.parse_job(definition(begun, recipe={"epochs": 2}), where="it").recipe.minutes is None


@pytest.mark.parametrize(("folder", "name"), [("/x/My Photos!", "my_photos"), ("/x/flowers", "flowers"), ("/x/--", "images")])
def test_a_job_is_named_after_its_folder(folder, name):
    assert name_of(Path(folder)) == name


def test_versions_of_a_folder_have_names_of_their_own(tmp_path):
    (tmp_path / "flowers.v2").mkdir()
    assert name_of(tmp_path / "flowers.v2") == "flowers_v2"
    assert name_of(tmp_path / "flowers.csv") == "flowers"
