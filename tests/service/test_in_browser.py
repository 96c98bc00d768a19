"""Classification in the visitor's browser: what the server offers for it, and, in node and Chromium, the service's answers."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from hubserve import store
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.package.package import read_package
from hubserve.package.parity import TOLERANCE, made_up_batches
from hubserve.service.page import POLICY
from hubserve.service.settings import WEB_RUNTIME_FILES, ServiceSettings
from tests.images import encoded, photo
from tests.service.conftest import ROOT
from tests.stores import service_over, small_package, store_at

RUNTIME = Path(os.environ.get("HUBSERVE_WEB_RUNTIME") or ROOT / ".web")
NODE = shutil.which("node")
CHROMIUM = os.environ.get("HUBSERVE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

RUN = """
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
const [runtime, model, folder, side, images] = process.argv.slice(2);
const ort = await import(pathToFileURL(`${runtime}/ort.wasm.min.mjs`));
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = pathToFileURL(`${runtime}/`).href;
ort.env.wasm.wasmBinary = readFileSync(`${runtime}/ort-wasm-simd-threaded.wasm`);
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(model)), { executionProviders: ['wasm'] });
const all = new Float32Array(new Uint8Array(readFileSync(`${folder}/images.f32`)).buffer);
const length = 3 * side * side;
const logits = [];
for (let i = 0; i < images; i++) {
  const tensor = new ort.Tensor('float32', all.slice(i * length, (i + 1) * length), [1, 3, Number(side), Number(side)]);
  logits.push(...(await session.run({ [session.inputNames[0]]: tensor }, ['logits'])).logits.data);
}
writeFileSync(`${folder}/logits.f32`, new Uint8Array(Float32Array.from(logits).buffer));
"""

needs_runtime = pytest.mark.skipif(
    not all((RUNTIME / name).is_file() for name in WEB_RUNTIME_FILES), reason=f"./scripts/setup web fills {RUNTIME}"
)


def published(home: Path) -> Path:
    """Publishes the small network into the store under `home`, which it returns."""
    with store_at(home):
        store.publish(small_package().path, name="small", version="1")
    return home


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with files that have the names of ONNX Runtime's."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in WEB_RUNTIME_FILES:
        (folder / name).write_text(f"content of {name}")
    (folder / "other.mjs").write_text("not for visitors")
    return folder


@pytest.fixture(scope="module")
def client(folder, tmp_path_factory):
    """A client of a service that offers it, and whose token for reading it does not have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_WEB_RUNTIME", str(folder))
        patch.setenv("HUBSERVE_READ_TOKEN", "read-read-read")
        with service_over(published(tmp_path_factory.mktemp("home"))) as url, httpx2.Client(base_url=url) as client:
            yield client


READER = {"Authorization": "Bearer read-read-read"}


class TestOffered:
    def test_the_policy_is_wider_on_that_page_only(self, client):
        there = client.get("/page/in-browser").headers["content-security-policy"]
        assert there == POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
        for other in ("/", "/page/in_browser.js", "/page/in_browser.html", f"/page/runtime/{WEB_RUNTIME_FILES[0]}"):
            assert client.get(other).headers["content-security-policy"] == POLICY

    def test_files_of_the_runtime_and_no_others(self, client):
        for name, kind in zip(WEB_RUNTIME_FILES, ("text/javascript", "text/javascript", "application/wasm"), strict=True):
            answer = client.get(f"/page/runtime/{name}")
            assert (answer.status_code, answer.text) == (200, f"content of {name}")
            assert answer.headers["content-type"].startswith(kind)
            again = client.get(f"/page/runtime/{name}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        for name in ("other.mjs", "..%2Fother.mjs", "nosuch"):
            assert client.get(f"/page/runtime/{name}").status_code == 404

    def test_the_model_needs_the_token_for_reading(self, client):
        for path in ("in-browser", "in-browser/model.onnx"):
            assert client.get(f"/models/small/{path}").status_code == 401

    def test_the_model(self, client):
        package = small_package()
        (entry,) = client.get("/models", headers=READER).json()
        assert entry["in_browser"] is True
        answer = client.get("/models/small/in-browser", headers=READER).json()
        assert answer == {
            "tag": "small:1",
            "labels": list(package.labels),
            "preprocess": package.manifest.preprocess.model_dump(mode="json"),
            "temperature": None,
            "bytes": (package.path / "model.onnx").stat().st_size,
        }
        file = client.get("/models/small/in-browser/model.onnx", headers=READER)
        assert file.content == (package.path / "model.onnx").read_bytes()
        assert client.get("/models/nosuch/in-browser", headers=READER).status_code == 404


def test_without_a_folder_nothing_is_offered(tmp_path, monkeypatch):
    monkeypatch.delenv("HUBSERVE_WEB_RUNTIME", raising=False)
    monkeypatch.delenv("HUBSERVE_READ_TOKEN", raising=False)  # That of `client`, which may be open.
    with service_over(published(tmp_path)) as url, httpx2.Client(base_url=url) as client:
        assert client.get("/models").json()[0]["in_browser"] is False
        for path in ("/page/in-browser", f"/page/runtime/{WEB_RUNTIME_FILES[0]}", "/models/small/in-browser/model.onnx"):
            assert client.get(path).status_code == 404
        message = client.get("/models/small/in-browser").json()["error"]["message"]
        assert "HUBSERVE_WEB_RUNTIME names no folder" in message


def test_a_model_that_is_too_large(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_WEB_RUNTIME", str(folder))
    monkeypatch.setenv("HUBSERVE_WEB_MODEL_MB", "0.01")
    monkeypatch.delenv("HUBSERVE_READ_TOKEN", raising=False)
    with service_over(published(tmp_path)) as url:
        assert httpx2.get(f"{url}/models").json()[0]["in_browser"] is False
        answer = httpx2.get(f"{url}/models/small/in-browser")
        assert answer.status_code == 404
        assert "browsers get at most 0.01 (HUBSERVE_WEB_MODEL_MB)" in answer.json()["error"]["message"]


def test_a_package_that_cannot_be_read(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_WEB_RUNTIME", str(folder))
    monkeypatch.delenv("HUBSERVE_READ_TOKEN", raising=False)
    with store_at(tmp_path):
        unreadable = store.publish(small_package().path, name="unreadable", version="1")
    (unreadable.path / "manifest.json").write_text("{")
    with service_over(published(tmp_path)) as url:
        for path in ("in-browser", "in-browser/model.onnx"):
            answer = httpx2.get(f"{url}/models/unreadable/{path}")
            assert answer.status_code == 409
            assert "unreadable:1 cannot be read" in answer.json()["error"]["message"]


def test_a_folder_that_lacks_files_is_refused(tmp_path):
    with pytest.raises(ValidationError, match=rf"has no {WEB_RUNTIME_FILES[0]}, .*: `./scripts/setup web`"):
        ServiceSettings(web_runtime=tmp_path)


@needs_runtime
@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="there is no node here: apt-get install nodejs")
@pytest.mark.parametrize("name", ["small", "lite0"])
def test_onnxruntime_web_has_the_logits_of_eager_pytorch(name, request, tmp_path):
    package = small_package() if name == "small" else read_package(request.getfixturevalue("lite0"))
    images = np.concatenate(made_up_batches(package.manifest.preprocess))[:12]
    (tmp_path / "run.mjs").write_text(RUN)
    (tmp_path / "images.f32").write_bytes(images.tobytes())
    side = package.manifest.preprocess.input_size
    command = [
        NODE,
        tmp_path / "run.mjs",
        RUNTIME.resolve(),
        package.path / "model.onnx",
        tmp_path,
        str(side),
        str(len(images)),
    ]
    subprocess.run(list(map(str, command)), check=True)
    logits = np.frombuffer((tmp_path / "logits.f32").read_bytes(), np.float32).reshape(len(images), -1)
    expected = EagerRunner(rebuild_model(package))(images)
    error = np.abs(logits - expected).max() / expected.std()
    print(f"{name}: onnxruntime-web differs by {error:.1e} of the standard deviation")
    assert error < TOLERANCE
    assert (logits.argmax(1) == expected.argmax(1)).all()


@pytest.fixture(scope="module")
def url(lite0, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_WEB_RUNTIME", str(RUNTIME))
        patch.delenv("HUBSERVE_READ_TOKEN", raising=False)
        home = tmp_path_factory.mktemp("home")
        with store_at(home):
            store.publish(lite0, name="lite0", version="1")
        with service_over(home) as url:
            yield url


@needs_runtime
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")
class TestInChromium:
    """The page against the service: the same classes, with nothing sent but requests for files; then without the server."""

    @pytest.fixture
    def page(self, url):
        sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(base_url=url)
            page.set_default_timeout(120_000)
            yield page
            browser.close()

    def test_it_answers_like_the_service(self, page, url, tmp_path):
        wrong, sent = [], []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: sent.append((request.method, request.url)))
        page.goto("/")
        page.click("#in-browser")
        page.wait_for_selector("#choose:enabled")
        assert {method for method, _ in sent} == {"GET"}
        assert all(address.startswith((url, "blob:")) for _, address in sent)
        page.context.set_offline(True)
        apart = {}
        for name, data in _files().items():
            expected = httpx2.post(f"{url}/classify?top_k=5", content=data).json()["predictions"]
            (tmp_path / name).write_bytes(data)
            page.evaluate("document.getElementById('answer').replaceChildren()")
            page.set_input_files("#file", tmp_path / name)
            page.wait_for_selector("#answer .bars")
            page.wait_for_selector("#answer:not([aria-busy])")
            rows = page.locator("#answer .bars li").all()
            assert rows[0].locator(".label").inner_text() == expected[0]["label"], name
            share = float(rows[0].locator(".value").inner_text().removesuffix(" %")) / 100
            apart[name] = abs(share - expected[0]["probability"])
        print({name: round(value, 4) for name, value in apart.items()})
        assert max(apart.values()) < 0.02
        assert {method for method, _ in sent} == {"GET"}
        assert wrong == []


def _files() -> dict[str, bytes]:
    """Photos as JPEG and PNG, one of them turned by EXIF and one with transparent parts."""
    cat = Image.open(io.BytesIO(photo("chelsea", "PNG")))
    turned = cat.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = cat.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(cat.size).point(lambda value: 255 if value > 40 else 0))
    with io.BytesIO() as file:
        turned.save(file, "JPEG", exif=exif, quality=95)
        upright = file.getvalue()
    return {
        "cat.jpg": photo("chelsea"),
        "cat.png": photo("chelsea", "PNG"),
        "coffee.jpg": photo("coffee"),
        "rocket.jpg": photo("rocket"),
        "turned.jpg": upright,
        "clear.png": encoded(clear),
    }
