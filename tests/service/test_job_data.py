"""Data folders over HTTP: the list, an upload, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import httpx2
import pytest
import yaml

from hubserve import jobs, store
from hubserve.jobs import Run
from hubserve.service import data_folders
from tests.service.test_zip_upload import GOOD, special, zipped
from tests.stores import service_over, small_package, store_at

TOKEN = "secret-of-the-tests"
CHANGE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> list[Path]:
    """Two data roots, and a folder outside of them to which a link in the first one leads."""
    first, second, outside = (tmp_path_factory.mktemp(name) for name in ("first", "second", "outside"))
    for name in ("pets/cat/1.png", "pets/cat/deep/2.JPG", "pets/dog/1.png", "pets/dog/notes.txt", "pets/.x/1.png"):
        put(first / name)
    for name in ("a/b/split/train/x/1.png", "a/b/split/train/y/1.png", "a/b/split/valid/x/1.png", "a/b/split/valid/y/1.png"):
        put(second / name)
    for name in ("secret/x/1.png", "secret/y/1.png"):
        put(outside / name)
    put(first / "loose.png")
    put(first / "one/only/1.png")
    (first / "link").symlink_to(outside / "secret")
    return [first, second]


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


@pytest.fixture(scope="module")
def client(tmp_path_factory, roots):
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_TOKEN", TOKEN)
        patch.setenv("HUBSERVE_DEVICE", "cpu")
        patch.setenv("HUBSERVE_DATA_ROOTS", os.pathsep.join(map(str, roots)))
        patch.setenv("HUBSERVE_UPLOAD_MB", "0.5")
        patch.setenv("HUBSERVE_UPLOAD_FILES", "50")
        with store_at(home):
            store.publish(small_package().path, version="v1")
        with service_over(home) as url, httpx2.Client(base_url=url, timeout=60) as client:
            yield client


def folders(client) -> dict[str, dict]:
    return {entry["folder"]: entry for entry in client.get("/jobs/data").json()["folders"]}


def send(client, content: bytes, name: str = "mine", path: str = "/jobs/data", headers=CHANGE):
    return client.post(path, params={"name": name}, content=content, headers=headers)


def test_what_is_below_the_roots(client, roots):
    found = folders(client)
    other = os.path.relpath(roots[1] / "a/b/split", roots[0])
    assert set(found) == {"pets", other}
    assert found["pets"] == {
        "folder": "pets", "upload": None, "parts": [], "classes": {"cat": 2, "dog": 1}, "class_count": 2, "images": 3,
    }  # fmt: skip
    assert found[other]["parts"] == ["train", "valid"]
    assert found[other]["classes"] == {"x": 2, "y": 2}
    assert client.get("/jobs/data").text == client.get("/search_jobs/data").text


def test_it_ends_at_its_limits(monkeypatch, tmp_path):
    for name in "abc":
        put(tmp_path / name / "x/1.png")
        put(tmp_path / name / "y/1.png")
    assert len(data_folders.list_folders([tmp_path]).folders) == 3
    monkeypatch.setattr(data_folders, "MAX_FOLDERS", 2)
    few = data_folders.list_folders([tmp_path])
    assert (len(few.folders), few.complete) == (2, False)
    monkeypatch.setattr(data_folders, "MAX_ENTRIES", 3)
    assert not data_folders.list_folders([tmp_path]).complete
    monkeypatch.setattr(data_folders, "MAX_SECONDS", -1.0)
    assert data_folders.list_folders([tmp_path]).folders == []


def test_an_upload_is_looked_at_as_a_whole(monkeypatch, tmp_path):
    """Whatever the limits of a listing are: it would be refused, or lack images."""

    def fill(folder):
        for name in ("x/1.png", "x/2.png", "y/1.png"):
            put(folder / name)

    monkeypatch.setattr(data_folders, "MAX_ENTRIES", 1)
    monkeypatch.setattr(data_folders, "MAX_SECONDS", -1.0)
    (tmp_path / "uploads").mkdir()
    added = data_folders.add_upload(tmp_path, "mine", tmp_path / "uploads/.stage", fill)
    assert (added.classes, added.images) == ({"x": 2, "y": 1}, 3)


def test_no_root_yet(tmp_path):
    assert data_folders.list_folders([tmp_path / "data"]).folders == []


@pytest.mark.parametrize("path", ["/jobs/data", "/search_jobs/data"])
def test_upload_and_delete(client, roots, path):
    answer = send(client, zipped({f"top/{name}": content for name, content in GOOD.items()} | {".x": b""}), path=path)
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"] == folders(client)["uploads/mine"]
    assert answer.json()["data"] | {"classes": {}} == {
        "folder": "uploads/mine", "upload": "mine", "parts": [], "classes": {}, "class_count": 2, "images": 3,
    }  # fmt: skip
    assert answer.json()["left_out"] == 1
    assert sorted(p.name for p in (roots[0] / "uploads").iterdir()) == ["mine"]
    again = send(client, zipped(GOOD))
    assert (again.status_code, "already" in again.text) == (422, True)
    assert client.delete(f"{path}/mine", headers=CHANGE).status_code == 204
    assert client.delete(f"{path}/mine", headers=CHANGE).status_code == 404
    assert list((roots[0] / "uploads").iterdir()) == []


def test_an_upload_may_have_any_allowed_name(client):
    for name in ("upload", "zip", "a.b"):
        answer = send(client, zipped(GOOD), name)
        assert (answer.status_code, answer.json().get("data", {}).get("upload")) == (201, name), answer.text
        assert client.delete(f"/jobs/data/{name}", headers=CHANGE).status_code == 204


def begun(data: dict[str, str], where: Path) -> Run:
    """A run of a job over these data, without a process."""
    text = yaml.safe_dump({"name": "mine", "start": {"model": "efficientnet-lite0"}, "data": data})
    return jobs.create(text, job=jobs.parse_job(text, where="here"), where=where)


@pytest.mark.parametrize("folder", ["uploads/used", "uploads", "uploads/used/a"])
def test_an_upload_that_a_job_uses_is_not_deleted(client, roots, folder):
    assert send(client, zipped(GOOD), "used").status_code == 201
    run = begun({"name": "folder", "folder": folder}, roots[0])
    other = begun({"name": "folder", "folder": "pets"}, roots[0])
    with jobs.hold(run), jobs.hold(other):
        run.write_status(run.written_status().model_copy(update={"state": "running"}))
        answer = client.delete("/jobs/data/used", headers=CHANGE)
        assert (answer.status_code, answer.json()["error"]["type"]) == (409, "DataInUseError")
        assert f"is used by {run.id}:" in answer.text
    assert (roots[0] / "uploads" / "used").is_dir()
    jobs.delete(run)
    jobs.delete(other)
    assert client.delete("/jobs/data/used", headers=CHANGE).status_code == 204


def test_uploads_together_have_a_quota(tmp_path, monkeypatch):
    """Uploads that are unfinished or hidden do not count; a ZIP that does not fit leaves nothing."""
    monkeypatch.setenv("HUBSERVE_TOKEN", TOKEN)
    monkeypatch.setenv("HUBSERVE_DATA_ROOTS", str(tmp_path / "data"))
    monkeypatch.setenv("HUBSERVE_UPLOAD_TOTAL_MB", "0.001")
    content = zipped({"a/1.png": bytes(300), "b/1.png": bytes(300)})
    put(tmp_path / "data" / "uploads" / ".hidden" / "1.png")
    with service_over(tmp_path / "store") as url, httpx2.Client(base_url=url, timeout=60) as client:
        assert send(client, content, "first").status_code == 201
        answer = send(client, content, "second")
        assert (answer.status_code, answer.json()["error"]["type"]) == (507, "UploadQuotaError")
        assert "the uploads have 600 of 1,000 bytes that are allowed together, and this one has 600 more" in answer.text
        assert [p.name for p in (tmp_path / "data" / "uploads").iterdir() if not p.name.startswith(".")] == ["first"]
        assert send(client, zipped({"a/1.png": bytes(200), "b/1.png": bytes(200)}), "third").status_code == 201
        answer = send(client, b"not read", "fourth")
        assert (answer.status_code, "1,000 of 1,000 bytes" in answer.text) == (507, True)
        assert client.delete("/jobs/data/first", headers=CHANGE).status_code == 204
        assert send(client, content, "second").status_code == 201


def test_only_uploads_are_deleted(client, roots):
    for name in ("pets", "..", "%2e%2e", "..%2fpets", "%2e%2e%2fpets", "."):
        assert client.delete(f"/jobs/data/{name}", headers=CHANGE).status_code in (404, 405), name
    assert (roots[0] / "pets/cat/1.png").exists()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"no zip", 400),
        (zipped({"../evil/1.png": b"x", "a/1.png": b"x"}), 400),
        (special("a/1.png", 0o120000), 400),
        (zipped({f"a/{i}.png": b"" for i in range(51)}), 413),
        (zipped({"a/1.png": bytes(20_000_000), "b/1.png": b""}), 413),
        (bytes(600_000), 413),
        (zipped({"a/1.png": b""}), 422),
        (zipped({"1.png": b"", "2.png": b""}), 422),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_is_refused_leaves_nothing(client, roots, content, status, chunked):
    body = iter([content[:1000], content[1000:]]) if chunked else content
    answer = send(client, body)
    assert answer.status_code == status, answer.text
    assert str(roots[0]) not in answer.text
    uploads = roots[0] / "uploads"
    assert not uploads.exists() or list(uploads.iterdir()) == []
    assert not (roots[0] / "evil").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".x", "a" * 61, "a b", "é", "x\n"])
def test_names(client, name):
    assert send(client, zipped(GOOD), name).status_code == 422


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
def test_changes_want_a_token(client, headers):
    for path in ("/jobs/data", "/search_jobs/data"):
        assert send(client, zipped(GOOD), path=path, headers=headers).status_code == 401
        assert client.delete(f"{path}/mine", headers=headers).status_code == 401


def test_other_paths_take_no_large_body(client):
    for path in ("/jobs", "/jobs/data/x", "/jobs/data/"):
        assert client.post(path, content=bytes(200_000), headers=CHANGE, follow_redirects=False).status_code == 413
