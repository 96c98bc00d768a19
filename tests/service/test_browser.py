"""The web page in a real browser, on a real server: what a visitor does, sees, and must not suffer."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from hubserve import jobs, store
from hubserve.cards.card import Metric
from hubserve.export.write_package import write_package
from hubserve.jobs import (
    Best,
    Closest,
    ComparedRow,
    JobStatus,
    LabelProbabilities,
    ObjectiveInfo,
    OneShotView,
    RefusalRow,
    Run,
    TrialRow,
)
from hubserve.package.add_files import add_profile
from hubserve.package.manifest import Provenance
from hubserve.service.api import build_api
from hubserve.service.middleware import ServiceMiddleware
from tests.export.nets import small_source
from tests.images import noise, photo
from tests.jobs.definitions import TINY
from tests.service.browser import CHROMIUM, FLAGS
from tests.service.conftest import ROOT
from tests.stores import service_over, store_at
from tests.waiting import until

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed").Axe
expect = sync_api.expect
# Twice the seconds of the default and more: the machine may be busy, and what is not there stays not there.
expect.set_options(timeout=30_000)

EVIL = "<img src=x onerror=document.title='owned'>"
PROFILE = json.dumps(
    {
        "model": "stranger",
        "formats": [
            {
                "format": "onnx",
                "device": "cpu",
                "batch_size": 1,
                "n": 100,
                "images_per_second": 650.0,
                "verdict": "stable",
                "percentiles": [{"percent": 50.0, "value": 1.5, "upper_bound": 1.6, "needs": 11}],
            }
        ],
    }
)
DEFINITION = {**TINY, "name": "made_up", "budget": {"trials": 8}}
HOLD = """
import pathlib, sys, time
from hubserve import jobs
run = jobs.open_run(pathlib.Path(sys.argv[1]))
with jobs.hold(run):
    print("held", flush=True)
    time.sleep(120)
"""
SETTLED = """async () => {
    let height = 0;
    while (height !== (height = document.documentElement.scrollHeight)) await new Promise((done) => setTimeout(done, 300));
}"""
"""Returns once the page does not grow any more: charts are drawn when their place has its width."""
CATS = re.compile("tabby|tiger cat|Egyptian cat")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("server"),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    """One for all tests of this file."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="class")
def stranger(server, tmp_path_factory) -> Iterator[str]:
    """Tag of a model that somebody wrote who means ill; while it is there, it is the newest and so the default."""
    source = replace(
        small_source("stranger"),
        labels=tuple(f"{EVIL}{i}" for i in range(7)),
        provenance=Provenance(paper="javascript:alert(1)", licence=EVIL, metric=Metric(dataset="digits", top1=97.5)),
    )
    package = write_package(source, tmp_path_factory.mktemp("packages") / "stranger", formats=("onnx",))
    folder = add_profile(package, PROFILE).path
    with store_at(server.home):
        before = default_of(server)
        tag = store.publish(folder).tag
        # The server loads a version before it answers with it; until then the one before is the default.
        until(lambda: default_of(server) == tag, 60)
        yield tag
        store.delete(tag)
        until(lambda: default_of(server) == before, 60)


def default_of(server) -> str:
    """Tag of the model that answers requests that name none; empty while the server goes over to another."""
    return next((model["tag"] for model in httpx2.get(f"{server.url}/models").json() if model["default"]), "")


@pytest.fixture
def context(browser, server):
    """A visitor: nothing that the page does on their machine may fail, and it may ask nobody but the server."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1200, "height": 900})
    context.set_default_timeout(20_000)
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    # Chromium notes each 4xx there too; those are told on the page.
    context.on("console", lambda line: wrong.append(line.text) if "Failed to load resource" not in line.text else None)
    context.on(
        "request", lambda request: wrong.append(request.url) if not request.url.startswith((server.url, "blob:")) else None
    )
    yield context
    context.close()
    assert wrong == []


@pytest.fixture
def page(context):
    page = context.new_page()
    page.goto("/")
    return page


@pytest.fixture
def finished(server) -> Iterator[JobStatus]:
    """A search that is over: two objectives, a one-shot phase, a failed trial, one beyond a constraint, and published."""
    run = jobs.create(DEFINITION)
    tag = next(m["tag"] for m in httpx2.get(f"{server.url}/models").json() if m["tag"].startswith("efficientnet-lite0:"))
    status = ended(run.written_status(), published=tag)
    run.write_status(status)
    yield status
    jobs.delete(run)


@pytest.fixture
def several(server, finished) -> JobStatus:
    """The same search, which published one more member of its front, is about to publish another, and has one made by hand."""
    facts = [
        ("made_up", "winner", 4, 0.9, 2.5, None),
        ("made_up-front-1", "front", 2, 0.88, 1.5, finished.published),
        ("made_up-front-2", "front", 0, 0.8, 1.0, None),
        ("plain", "baseline", None, 0.7, 2.0, None),
    ]
    names = ("name", "kind", "number", "test_acc", "latency_ms", "published")
    compared = [ComparedRow(**dict(zip(names, row, strict=True)), params=1000, macs=10**6) for row in facts]
    status = finished.model_copy(update={"compared": compared})
    jobs.find(finished.id).write_status(status)
    return status


def ended(status: JobStatus, **more: object) -> JobStatus:
    """A status as a job leaves it behind."""
    scores = [(0.61, 2.0), None, (0.74, 3.5), None, (0.9, 2.5), (0.88, 4.0)]
    rows = [
        TrialRow(number=i, values=values_of(*s) if s else {}, state="complete" if s else "failed") for i, s in enumerate(scores)
    ]
    beyond = {"state": "infeasible", "values": {"latency_ms": 9.0}, "reason": "latency_ms = 9 is over 8"}
    rows[3] = rows[3].model_copy(update=beyond)
    course = [[1 / 3 + 0.1 * i, 1 / 3 - 0.05 * i, 1 / 3 - 0.05 * i] for i in range(5)]
    mirrored = [row[::-1] for row in course]
    return status.model_copy(
        update={
            "state": "done",
            "phase": "publish",
            "message": EVIL,
            "trials": len(rows),
            "seconds": 75.0,
            "objectives": [
                ObjectiveInfo(name="val_acc", direction="maximize"),
                ObjectiveInfo(name="latency_ms", direction="minimize"),
            ],
            "best": Best(number=4, values=values_of(0.9, 2.5), arch={"op": EVIL, "width": 16}),
            "history": rows,
            "pareto": [0, 4],
            "oneshot": OneShotView(
                steps=[0, 10, 20, 30, 40],
                labels={
                    "edge 1": LabelProbabilities(candidates=["conv_3x3", "skip", EVIL], probabilities=course),
                    "edge 2": LabelProbabilities(candidates=["skip", EVIL, "conv_3x3"], probabilities=mirrored),
                },
            ),
            **more,
        }
    )


def values_of(accuracy: float, latency_ms: float) -> dict[str, float]:
    return {"val_acc": accuracy, "latency_ms": latency_ms}


@contextmanager
def worker(run: Run) -> Iterator[subprocess.Popen[str]]:
    """A process that has the job, as `hubserve search` would, and does nothing until it is told to stop."""
    command = [sys.executable, "-c", HOLD, str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def guarded(tmp_path, monkeypatch) -> Iterator[str]:
    """A server that wants a token for reading, and another for changes."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    monkeypatch.setenv("HUBSERVE_TOKEN", "token-for-changes")
    monkeypatch.setenv("HUBSERVE_READ_TOKEN", "token-for-reading")
    monkeypatch.setattr("hubserve.service.api.api", ServiceMiddleware(build_api()))
    with service_over(tmp_path) as url:
        yield url


def choose(page, data: bytes, name: str = "picture.jpg", kind: str = "image/jpeg") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose an image").click()
    chooser.value.set_files([{"name": name, "mimeType": kind, "buffer": data}])


def answers(page):
    return page.locator("#answer li")


class TestClassify:
    def test_a_real_picture_by_a_click(self, page, server):
        with page.expect_request("**/classify?*") as sent:
            choose(page, photo("chelsea"))
        expect(answers(page)).to_have_count(5)
        expect(answers(page).first).to_contain_text(CATS)
        expect(page.locator("#preview")).to_be_visible()
        headers = sent.value.all_headers()
        assert (headers["content-type"], headers["content-length"]) == ("image/jpeg", str(len(photo("chelsea")))), "as it is"
        told = httpx2.post(f"{server.url}/classify", content=photo("chelsea")).json()
        shares = [float(text.removesuffix(" %")) for text in page.locator("#answer .value").all_text_contents()]
        assert shares == pytest.approx([100 * p["probability"] for p in told["predictions"]], abs=0.051)
        note = page.locator("#answer .note")
        expect(note).to_contain_text(told["model"])
        expect(note).to_contain_text(re.compile(r"decode [\d.]+ ms · inference [\d.]+ ms · round trip [\d.]+ ms"))
        expect(page.get_by_role("status")).to_contain_text(told["predictions"][0]["label"])

    def test_bars_are_as_long_as_probabilities(self, page):
        choose(page, photo("coffee"))
        expect(answers(page).first).to_contain_text("espresso")
        widths = page.locator("#answer .bar").evaluate_all("bars => bars.map((b) => b.firstChild.offsetWidth / b.offsetWidth)")
        shares = [float(text.removesuffix(" %")) / 100 for text in page.locator("#answer .value").all_text_contents()]
        assert widths == pytest.approx(shares, abs=0.01)

    def test_number_of_classes(self, page):
        choose(page, photo("coffee"))
        expect(answers(page)).to_have_count(5)
        page.get_by_role("spinbutton", name="Classes").fill("3")
        page.get_by_role("spinbutton", name="Classes").press("Enter")
        expect(answers(page)).to_have_count(3)
        expect(page.locator("#curl")).to_have_text(re.compile(r"curl --data-binary @photo.jpg 'http://.*/classify\?top_k=3'"))
        page.get_by_role("spinbutton", name="Classes").fill("1001")
        page.get_by_role("spinbutton", name="Classes").press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("top_k = 1001 is not between 1 and 1000")

    def test_what_is_no_picture(self, page):
        choose(page, b"hello", "hello.txt", "text/plain")
        expect(page.get_by_role("alert")).to_contain_text("not a readable image")
        choose(page, photo("coffee"))
        expect(answers(page).first).to_contain_text("espresso")
        expect(page.get_by_role("alert")).to_have_count(0)

    @pytest.mark.parametrize("event", ["drop", "paste"])
    def test_drop_and_paste(self, page, event):
        give = """([bytes, event]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'coffee.jpg', { type: 'image/jpeg' }));
            const made = event === 'drop' ? new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
              : new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
            document.getElementById('drop').dispatchEvent(made);
        }"""
        page.evaluate(give, [list(photo("coffee")), event])
        expect(answers(page).first).to_contain_text("espresso")

    def test_the_camera(self, page):
        expect(page.locator("#camera")).to_be_hidden()
        page.get_by_role("button", name="Use the camera").click()
        expect(page.locator("#camera")).to_be_visible()
        with page.expect_request("**/classify?*") as sent:
            page.get_by_role("button", name="Take the photo").click()
        expect(answers(page)).to_have_count(5)
        assert sent.value.all_headers()["content-type"] == "image/png", "which loses nothing"
        expect(page.locator("#camera")).to_be_hidden()
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("link", name="Models").click()
        assert page.evaluate("document.getElementById('camera').srcObject") is None, "left on by a visitor who went elsewhere"

    def test_a_server_that_is_gone(self, page):
        page.route("**/classify?*", lambda route: route.abort())
        choose(page, photo("coffee"))
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")


def open_models(page) -> None:
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("region", name="Models").locator("tbody tr").first).to_be_visible()


class TestModels:
    def test_the_table_says_what_the_server_says(self, page, server):
        open_models(page)
        rows = page.get_by_role("region", name="Models").locator("tbody tr")
        expect(rows).to_have_count(len(httpx2.get(f"{server.url}/models").json()))
        lite0 = rows.filter(has_text="efficientnet-lite0")
        for said in ("75.1 ImageNet", "default", "ProxylessNAS", "not measured"):
            expect(lite0).to_contain_text(said)
        # Counted by the server in the background: 4.65 million parameters, 384 million multiply-adds.
        expect(lite0).to_contain_text("4.65", timeout=60_000)
        assert page.title() == "Models · hubserve"

    def test_a_card(self, page):
        open_models(page)
        page.get_by_role("link", name="efficientnet-lite0").click()
        card = page.get_by_role("article")
        expect(card.get_by_role("heading", level=2)).to_be_focused()
        paper = card.get_by_role("link", name="arxiv.org/abs/1905.11946")
        expect(paper).to_have_attribute("href", "https://arxiv.org/abs/1905.11946")
        expect(paper).to_have_attribute("rel", "noopener noreferrer")
        for said in (
            "Apache-2.0",
            "75.1 % top-1 on ImageNet",
            "interpolation bicubic",
            "onnx, torchscript",
            "was not measured",
        ):
            expect(card).to_contain_text(said)
        card.get_by_text("choices").click()
        expect(card.get_by_role("row", name="s2_i0 k3e6")).to_be_visible()
        drawing = card.get_by_role("img", name="The arch of efficientnet-lite0")
        expect(drawing).to_be_visible(timeout=60_000)
        assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300

    def test_an_address_of_its_own(self, page, server):
        (tag,) = [m["tag"] for m in httpx2.get(f"{server.url}/models").json() if m["default"]]
        page.goto(f"/#models/{tag}")
        expect(page.get_by_role("article").get_by_role("heading", level=2)).to_have_text(tag)
        page.get_by_role("link", name="Try it").click()
        expect(page.get_by_role("combobox", name="Model")).to_have_value(tag)
        page.go_back()
        expect(page.get_by_role("article")).to_be_visible()

    def test_no_such_model(self, page):
        page.goto("/#models/nosuch:1")
        expect(page.get_by_role("article")).to_contain_text("no 'nosuch:1'")


class TestStranger:
    """Names and labels come from packages that anybody may have written."""

    def test_labels_are_text(self, page, stranger, server):
        page.reload()
        choose(page, noise(), "noise.png", "image/png")
        expect(page.locator("#answer .note")).to_contain_text(stranger)
        assert all(text.startswith(EVIL) for text in page.locator("#answer .label").all_text_contents())
        assert page.locator("#answer img").count() == 0
        lite0 = next(m["tag"] for m in httpx2.get(f"{server.url}/models").json() if m["tag"].startswith("efficientnet-lite0:"))
        page.get_by_role("combobox", name="Model").select_option(lite0)
        expect(page.locator("#answer .note")).to_contain_text(lite0)

    def test_a_card_is_text(self, page, stranger):
        page.goto(f"/#models/{stranger}")
        card = page.get_by_role("article")
        expect(card).to_contain_text(EVIL)
        expect(card).to_contain_text("javascript:alert(1)")
        assert card.get_by_role("link").all_text_contents() == ["Try it"]
        expect(card.get_by_role("row", name=re.compile("^onnx"))).to_contain_text("1.5 ms")

    def test_not_even_a_mistake_of_ours_makes_markup_of_text(self, browser, server):
        page = browser.new_page(base_url=server.url)
        page.goto("/")
        said = page.evaluate("() => { try { document.body.innerHTML = '<p>'; } catch (error) { return error.name; } }")
        page.close()
        assert said == "TypeError"

    def test_sorting_and_the_trade_off(self, page, stranger, server):
        open_models(page)
        table = page.get_by_role("region", name="Models")
        for name, first in (("Top-1, %", "stranger"), ("Input, px", "efficientnet-lite0"), ("Model", "efficientnet-lite0")):
            table.get_by_role("button", name=name).click()
            expect(table.locator("tbody tr").first).to_contain_text(first)
        head = table.get_by_role("columnheader", name="Model")
        expect(head).to_have_attribute("aria-sort", "ascending")
        expect(head.get_by_role("button")).to_be_focused()
        page.keyboard.press("Enter")
        expect(head).to_have_attribute("aria-sort", "descending")
        expect(table.locator("tbody tr").first).to_contain_text("stranger")
        point = page.get_by_role("group", name="Accuracy against latency on digits").get_by_role("link")
        expect(point).to_have_accessible_name(f"{stranger}: 97.5 % top-1 in 1.5 ms")
        marks = page.get_by_role("group", name="Accuracy against latency on digits").locator("text[text-anchor=end]")
        told = [float(mark) for mark in marks.all_text_contents() if mark[0].isdigit()]
        assert max(told) == 100, "no model is right more often than always"
        point.click()
        expect(page.get_by_role("article").get_by_role("heading", level=2)).to_have_text(stranger)


def open_search(page, name: str):
    """The panel of the job of that name."""
    page.get_by_role("link", name="Search").click()
    page.get_by_role("link", name=name).click()
    return page.get_by_role("article")


class TestSearch:
    def test_what_a_finished_search_found(self, page, finished):
        job = open_search(page, "made_up")
        expect(job.get_by_role("heading", level=2)).to_have_text("made_up done")
        expect(page).to_have_url(re.compile(f"#search/{finished.id}$"))
        for said in (EVIL, "75 s in all", "Best arch: trial 4", "6 of 8 trials"):
            expect(job).to_contain_text(said)
        best = job.get_by_role("img", name="val_acc of 4 trials")
        # The one that failed and the one that broke a constraint have no score.
        expect(best.locator("circle")).to_have_count(4)
        expect(best.locator("circle.strong title")).to_have_text(["trial 0: 0.61", "trial 2: 0.74", "trial 4: 0.9"])
        front = job.get_by_role("img", name="val_acc against latency_ms")
        expect(front.locator(".strong")).to_have_count(2)
        expect(front.locator("path.front")).to_have_count(1)

    def test_the_published_front_and_what_was_made_by_hand(self, page, several):
        job = open_search(page, "made_up")
        rows = job.get_by_role("region", name="Compared networks").locator("tbody tr")
        expect(rows).to_have_count(4)
        expect(rows.locator("th")).to_have_text([several.published, several.compared[1].published, "made_up-front-2", "plain"])
        expect(rows.locator("td:nth-child(2)")).to_have_text(["chosen", "Pareto front", "Pareto front", "made by hand"])
        expect(rows.nth(1)).to_contain_text("88.0 %")
        expect(rows.nth(0).get_by_role("link")).to_have_attribute("href", re.compile("#models/efficientnet-lite0"))
        plot = job.get_by_role("group", name="test accuracy against measured latency of 4 networks")
        # The front and the networks by hand: three points joined by a line, and one beside it.
        expect(plot.locator("circle.strong")).to_have_count(3)
        expect(plot.locator("circle.weak")).to_have_count(1)
        expect(plot.locator("path.front")).to_have_count(1)
        expect(plot.locator("g > title")).to_have_text(
            ["made_up-front-2: 80.0 %, 1.0 ms", "plain, made by hand: 70.0 %, 2.0 ms"]
        )
        links = plot.get_by_role("link")
        expect(links).to_have_count(2)
        links.nth(1).click()
        expect(page.get_by_role("article").get_by_role("heading", level=2)).to_contain_text("efficientnet-lite0")

    def test_the_closest_arch_where_none_meets_the_constraints(self, page, finished):
        run = jobs.create({**DEFINITION, "name": "too_tight"})
        reason = f"params = 5e+04, over 4e+04 by 25 % {EVIL}"
        rows = [RefusalRow(constraint="params <= 40000", refused=6, checked=6, least=0.25, median=0.5, most=2.0)]
        closest = Closest(number=3, values={"params": 50_000.0}, arch={"op": EVIL}, reason=reason)
        told = ended(run.written_status(), refusals=rows, closest=closest, best=None, published=None)
        run.write_status(told.model_copy(update={"state": "failed", "error": "no arch met the constraints"}))
        job = open_search(page, "too_tight")
        expect(job).to_contain_text(f"No arch meets the constraints. The closest is that of trial 3: {reason}")
        row = job.get_by_role("region", name="Refused by the constraints").locator("tbody tr")
        expect(row.locator("td")).to_have_text(["6", "6", "25.0 %", "50.0 %", "200.0 %"])
        jobs.delete(run)

    def test_candidates_over_time(self, page, finished):
        job = open_search(page, "made_up")
        first = job.get_by_role("img", name="edge 1: conv_3x3 0.73")
        expect(first.locator("path")).to_have_count(3)
        expect(first.locator("path.lead")).to_have_count(1)
        expect(job.get_by_role("img", name="edge 2: conv_3x3 0.73")).to_be_visible()

    def test_all_trials_and_the_arch_as_tables(self, page, finished):
        job = open_search(page, "made_up")
        job.get_by_text("All trials as a table").click()
        rows = job.get_by_role("region", name="Trials").locator("tbody tr")
        expect(rows).to_have_count(6)
        expect(rows.nth(2)).to_contain_text("infeasible: latency_ms = 9 is over 8")
        expect(rows.nth(4)).to_contain_text("failed")
        job.get_by_text("Its 2 choices").click()
        expect(job.get_by_role("row", name=f"op {EVIL}")).to_be_visible()

    def test_what_was_published_can_be_tried(self, page, finished):
        job = open_search(page, "made_up")
        expect(job.get_by_role("link", name=finished.published)).to_have_attribute(
            "href", re.compile("#models/efficientnet-lite0")
        )
        job.get_by_role("link", name="Try it").click()
        choose(page, photo("coffee"))
        expect(answers(page).first).to_contain_text("espresso")
        expect(page.locator("#answer .note")).to_contain_text(finished.published)

    def test_progress_comes_by_itself(self, page):
        run = jobs.create(DEFINITION)
        with worker(run):
            told = run.written_status().model_copy(update={"state": "running", "phase": "search", "message": "trial 0"})
            run.write_status(told)
            job = open_search(page, "made_up")
            expect(job).to_contain_text("0 of 8 trials")
            expect(job.locator("[aria-current=step]")).to_have_text("search")
            expect(job.get_by_role("img")).to_have_count(0)
            more = ended(told)
            run.write_status(more.model_copy(update={"state": "running", "phase": "retrain", "message": "epoch 3"}))
            expect(job).to_contain_text("6 of 8 trials")
            expect(job.get_by_role("img", name="val_acc of 4 trials")).to_be_visible()
            expect(job.locator("[aria-current=step]")).to_have_text("retrain")
            expect(page.get_by_role("status")).to_have_text("made_up: running retrain")
        # Its process is gone without a word.
        expect(job.get_by_role("heading", level=2)).to_have_text("made_up failed")
        expect(job).to_contain_text("its process vanished")
        jobs.delete(run)

    def test_nothing_is_asked_while_nobody_looks(self, page, finished):
        open_search(page, "made_up")
        asked: list[str] = []
        page.get_by_role("link", name="Models").click()
        expect(page.get_by_role("region", name="Models")).to_be_visible()
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(2500)
        assert not [url for url in asked if "/jobs" in url]

    def test_a_server_without_the_routes(self, page):
        page.route("**/jobs**", lambda route: route.fulfill(status=404, json={"detail": "Not Found"}))
        page.get_by_role("link", name="Search").click()
        expect(page.get_by_role("alert")).to_contain_text("This server does not offer searches.")


class TestTokens:
    def test_reading_starting_and_stopping(self, browser, guarded):
        page = browser.new_page()
        page.goto(f"{guarded}/#search")
        expect(page.get_by_role("alert")).to_contain_text("this server wants a token")
        give_token(page, "token-for-reading", button="Enter a token")
        expect(page.get_by_text("No job has run here yet.")).to_be_visible()
        page.get_by_role("combobox", name="Start a search").select_option("digits_quickstart")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text("changes want a token")
        give_token(page, "token-for-changes", button="Enter a token")
        page.get_by_role("button", name="Start").click()
        job = page.get_by_role("article")
        expect(job.get_by_role("heading", level=2)).to_contain_text(
            re.compile("digits_quickstart (queued|running)"),
            timeout=60_000,  # The server checks the job in a process of its own, which imports torch.
        )
        job.get_by_role("button", name="Stop").click()
        expect(job.get_by_role("heading", level=2)).to_contain_text("digits_quickstart stopped", timeout=60_000)
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        page.get_by_role("button", name="Token set").click()
        page.get_by_role("button", name="Forget it").click()
        expect(page.get_by_role("alert").first).to_contain_text("this server wants a token")
        assert page.evaluate("sessionStorage.length") == 0
        page.close()


def give_token(page, token: str, *, button: str) -> None:
    page.get_by_role("button", name=button).first.click()
    page.get_by_role("textbox", name="Token").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)


class TestEverybody:
    @pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 380)])
    def test_no_barrier_that_axe_knows(self, browser, server, finished, scheme, width):
        context = browser.new_context(
            base_url=server.url, viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.goto("/")
        choose(page, photo("coffee"))
        expect(answers(page)).to_have_count(5)
        page.get_by_text("The same from a terminal").click()
        barriers = look(page)
        open_models(page)
        page.locator("tbody a").first.click()
        expect(page.get_by_role("article").get_by_role("img")).to_be_visible(timeout=60_000)
        barriers += look(page)
        expect(open_search(page, "made_up").get_by_role("img").first).to_be_visible()
        barriers += look(page)
        page.get_by_role("button", name="Token").click()
        barriers += look(page)
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        context.close()
        assert barriers == []
        assert wider <= 0, "nobody should have to scroll sideways"

    def test_by_keyboard_alone(self, page):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Tab")
            expect(page.get_by_role("button", name="Choose an image")).to_be_focused()
            page.keyboard.press("Enter")
        chooser.value.set_files([{"name": "coffee.jpg", "mimeType": "image/jpeg", "buffer": photo("coffee")}])
        expect(answers(page).first).to_contain_text("espresso")


@pytest.fixture
def photographed(request) -> str:
    """Address of the server that HUBSERVE_PAGE names; of this one, with a model that has a profile and a search, unless set."""
    url = os.environ.get("HUBSERVE_PAGE")
    if url:
        return url
    for name in ("stranger", "finished"):
        request.getfixturevalue(name)
    return str(request.getfixturevalue("server").url)


@pytest.fixture
def album(tmp_path) -> Path:
    """Where screenshots go: HUBSERVE_SCREENSHOTS, or nowhere that lasts."""
    folder = Path(os.environ.get("HUBSERVE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.slow
class TestScreenshots:
    """They are for people to look at: docs/decisions/0023-the-web-page.md has the command."""

    @pytest.fixture(params=[1280, 390], ids=["wide", "narrow"])
    def page(self, browser, photographed, request):
        context = browser.new_context(
            base_url=photographed,
            viewport={"width": request.param, "height": 820},
            color_scheme="light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.goto("/")
        yield page
        context.close()

    def test_classify(self, page, album):
        expect(page.locator("#model option")).not_to_have_count(1, timeout=60_000)
        tag = page.locator("#model option", has_text="efficientnet-lite0").first.get_attribute("value")
        page.locator("#model").select_option(tag)
        choose(page, photo("chelsea"))
        expect(answers(page).first).to_contain_text(CATS)
        page.locator("#preview").evaluate("image => image.decode()")
        check_screenshot(page, album, "classify")

    def test_models(self, page, album):
        open_models(page)
        points = page.get_by_role("group", name=re.compile("Accuracy against latency")).get_by_role("link")
        expect(points.first).to_be_visible()
        check_screenshot(page, album, "models")

    def test_a_card(self, page, album):
        open_models(page)
        page.get_by_role("link", name="efficientnet-lite0").click()
        drawing = page.get_by_role("article").get_by_role("img", name="The arch of efficientnet-lite0")
        expect(drawing).to_be_visible(timeout=60_000)
        drawing.evaluate("image => image.decode()")
        check_screenshot(page, album, "card")

    def test_a_search(self, page, photographed, album):
        ran = httpx2.get(f"{photographed}/search_jobs").json()
        best = max(ran, key=lambda job: (len(job["objectives"]), job["trials"]))
        page.goto(f"/#search/{best['id']}")
        expect(page.get_by_role("article").get_by_role("img").first).to_be_visible()
        check_screenshot(page, album, "search")


def check_screenshot(page, album: Path, name: str) -> None:
    """Saves the whole page, and looks whether something is on it, in the browser's fonts, and nothing beyond its edge."""
    page.evaluate(SETTLED)
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    width = page.viewport_size["width"]
    assert taken.width == width, "nobody should have to scroll sideways"
    # In 256 colours it takes a third of the bytes.
    taken.quantize(256).save(album / f"{name}-{width}.png", optimize=True)
    saved = Image.open(album / f"{name}-{width}.png").convert("L")
    assert saved.size == taken.size
    # Ground, panels and text: of a page that stayed empty below its head, the lower part would be one colour.
    lower = saved.crop((0, 120, width, saved.height))
    shades = lower.histogram()
    assert sum(count > 0 for count in shades) > 20
    assert max(shades) < 0.97 * lower.width * lower.height


def look(page) -> list[str]:
    """What axe-core finds wrong on the page as it stands."""
    found = Axe().run(page).response["violations"]
    return [f"{violation['id']}: {node['html'][:200]}" for violation in found for node in violation["nodes"]]
