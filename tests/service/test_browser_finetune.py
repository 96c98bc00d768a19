"""Fine-tuning on the web page, in a real browser and with real jobs: by a ZIP, and on a folder of the server."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import httpx2
import numpy as np
import pytest
import yaml
from PIL import Image

from hubserve import jobs, store
from hubserve.accuracy_from_logits import accuracy_report
from hubserve.jobs import EpochRow, JobStatus, PartTime
from hubserve.service.api import build_api
from hubserve.service.middleware import ServiceMiddleware
from tests.service.test_browser import (
    CHROMIUM,
    EVIL,
    album,  # noqa: F401 - a fixture
    answers,
    browser,  # noqa: F401 - a fixture
    check_screenshot,
    choose,
    expect,
)
from tests.stores import service_over, store_at
from tests.training.finetuning.small import COLOURS, write_images, write_small_package

TOKEN = "token-for-changes"
LONG = 580_000
"""Milliseconds within which a job must end, also on a busy machine."""

pytestmark = [
    pytest.mark.xdist_group("server"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
]


@pytest.fixture
def url(tmp_path, monkeypatch) -> Iterator[str]:
    """A server with a small model and a data folder of its own; jobs publish into its store."""
    home = tmp_path / "bentoml"
    for name, value in {
        "HUBSERVE_HOME": tmp_path / "home",
        "BENTOML_HOME": home,
        "HUBSERVE_DATA_ROOTS": tmp_path / "data",
        "HUBSERVE_TOKEN": TOKEN,
    }.items():
        monkeypatch.setenv(name, str(value))
    write_images(tmp_path / "data" / "colours", 30)
    package = write_small_package(tmp_path / "small")
    with store_at(home):
        store.publish(package.path)
    monkeypatch.setattr("hubserve.service.api.api", ServiceMiddleware(build_api()))
    with service_over(home) as url:
        yield url
        for run in jobs.list_runs():
            if jobs.is_running(run):
                jobs.stop(run)


@pytest.fixture
def page(browser, url) -> Iterator[object]:  # noqa: F811
    """A visitor with a token; nothing that the page does may fail."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(60_000)
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda line: wrong.append(line.text) if "Failed to load resource" not in line.text else None)
    page = context.new_page()
    page.goto("/")
    page.evaluate("token => sessionStorage.setItem('hubserve.token', token)", TOKEN)
    page.goto("/#search")
    yield page
    context.close()
    assert wrong == []


def zipped(folder: Path) -> bytes:
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder.parent))
    return file.getvalue()


def coloured(name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 60), COLOURS[name]).save(file, "PNG")
    return file.getvalue()


def fill_in(page, model: str, name: str) -> None:
    page.locator("#tune-model").fill(model)
    page.locator("#tune-minutes").fill("0.2")
    page.locator("#tune-name").fill(name)


def start(page, name: str) -> None:
    """Presses the button, and again where the server was too busy to check the job."""
    for _ in range(8):
        page.locator("#tune-start").click()
        try:
            expect(page).to_have_url(re.compile(f"#search/{name}-"), timeout=100_000)
            return
        except AssertionError:
            expect(page.locator("#finetune-start").get_by_role("alert")).to_contain_text("ask again")
    raise AssertionError(f"{name} could not be started")


@pytest.fixture
def finished(url) -> Iterator[JobStatus]:
    """A fine-tuning that is over, as a job leaves it behind; its classes have long names, some of them no harmless ones."""
    labels = (EVIL, "a class with a name that is longer than others", *(f"class {i}" for i in range(10)))
    true = np.arange(240) % 12
    logits = np.random.default_rng(0).normal(size=(240, 12)) + 3 * np.eye(12)[true]
    files = [f"test/{'deep/' * 10}{EVIL}/{i}.jpg" for i in range(240)]
    report = accuracy_report(logits, true, labels, files, dataset="flowers", temperature=1.2)
    scores = [(0.75, 0.9), (0.94, 0.3), (1.0, 0.1)]
    epochs = [EpochRow(epoch=i, train_loss=None, val_acc=a, val_loss=b, seconds=i) for i, (a, b) in enumerate(scores)]
    times = [
        PartTime(part="check", seconds=0.2),
        PartTime(part="features", estimated=20.0, seconds=25.0),
        PartTime(part="fine-tune", estimated=600.0, seconds=599.0),
        PartTime(part="test", estimated=3.0, seconds=4.0),
    ]
    text = yaml.safe_dump({"name": "flowers", "start": {"model": "small"}, "data": {"name": "folder", "folder": "x"}})
    run = jobs.create(text)
    done = {"state": "done", "phase": "publish", "message": "done", "seconds": 700.0, "test_acc": report.top1}
    done |= {"accuracy": report, "epochs": epochs, "times": times, "estimated_seconds": 603.0, "published": "small:v1"}
    status = run.written_status().model_copy(update=done)
    run.write_status(status)
    yield status
    jobs.delete(run)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, pytest.param(360, marks=pytest.mark.slow)])
def test_what_a_finished_fine_tuning_found(page, finished, album, width):  # noqa: F811
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"/#search/{finished.id}")
    job = page.locator("article.job")
    expect(job.get_by_role("heading", name="Test accuracy")).to_have_text(f"Test accuracy {100 * finished.test_acc:.1f} %")
    expect(job.get_by_role("region", name="Accuracy by class").locator("tbody tr")).to_have_count(12)
    expect(job.get_by_role("region", name="Worst images").locator("tbody tr")).to_have_count(len(finished.accuracy.worst))
    expect(job).to_contain_text(re.compile(r"Calibration error 0\.\d+ with temperature 1\.2, 0\.\d+ without"))
    assert highest_tick(job) == 1
    rows = job.get_by_role("region", name="Time").locator("tbody tr").all_text_contents()
    assert rows == [
        "check–0.2 s",
        "features, part of fine-tune20 s25 s",
        "fine-tune10 min10 min",
        "test3.0 s4.0 s",
        "in all10 min12 min",
    ]
    assert page.title() != "owned"
    check_screenshot(page, album, "finished")


def highest_tick(job) -> float:
    """The largest number on the axis of the validation accuracy."""
    texts = (
        job.get_by_role("img", name=re.compile("validation accuracy of")).locator("text[text-anchor=end]").all_text_contents()
    )
    return max(float(text) for text in texts if re.fullmatch(r"[\d.]+", text))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_zip_becomes_a_model_that_can_be_tried(page, url, tmp_path, album):  # noqa: F811
    expect(page.locator("#tune-models option")).not_to_have_count(0)
    page.locator("#tune-data").select_option("")
    fill_in(page, "small", "mine")
    write_images(tmp_path / "mine", 30, seed=4)
    page.locator("#tune-zip").set_input_files(
        {"name": "mine.zip", "mimeType": "application/zip", "buffer": zipped(tmp_path / "mine")}
    )
    start(page, "mine")
    job = page.locator("article.job")
    expect(job.locator("[aria-current=step]")).to_have_text("fine-tune", timeout=LONG)
    expect(job.get_by_role("region", name="Time")).to_contain_text("features, part of fine-tune", timeout=LONG)
    expect(job.get_by_role("heading", level=2)).to_have_text("mine done", timeout=LONG)
    (status,) = httpx2.get(f"{url}/jobs", timeout=60).json()
    status = httpx2.get(f"{url}/jobs/{status['id']}", timeout=60).json()
    for name in ("validation accuracy", "validation loss"):
        expect(job.get_by_role("img", name=name)).to_be_visible()
    assert highest_tick(job) <= 1
    expect(job).to_contain_text(f"of {status['accuracy']['images']} images")
    expect(job.get_by_role("region", name="Accuracy by class").locator("tbody tr")).to_have_count(3)
    expect(job.get_by_role("img", name="Confusion matrix")).to_be_visible()
    assert status["estimated_seconds"] > 0
    check_screenshot(page, album, "finetune")
    page.set_viewport_size({"width": 360, "height": 780})
    check_screenshot(page, album, "finetune")
    page.locator("nav").get_by_role("link", name="Models").click()
    page.get_by_role("link", name="mine").first.click()
    expect(page.get_by_role("region", name="Accuracy by class")).to_be_visible()
    check_screenshot(page, album, "finetuned-card")
    page.get_by_role("link", name="Try it").click()
    choose(page, coloured("red"), "red.png", "image/png")
    expect(answers(page)).to_have_count(3, timeout=60_000)
    assert set(page.locator("#answer .label").all_text_contents()) == set(COLOURS)
    check_screenshot(page, album, "finetuned-answer")


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_folder_of_the_server(page, url):
    folders = page.locator("#tune-data option")
    expect(folders.first).to_have_text("colours · 3 classes, 90 images")
    fill_in(page, "small", "folder")
    page.locator("#tune-minutes").fill("20")
    start(page, "folder")
    job = page.locator("article.job")
    expect(job.locator("[aria-current=step]")).to_have_text("fine-tune", timeout=LONG)
    job.get_by_role("button", name="Stop").click()
    expect(job.get_by_role("heading", level=2)).to_have_text("folder stopped", timeout=LONG)
    answer = httpx2.get(f"{url}/jobs/starts", timeout=60).json()
    assert answer[0] == "small"
    assert "efficientnet-lite0" in answer  # Its weights come with an installed package.
