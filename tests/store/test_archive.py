"""Archives of versions whose writer is not trusted: what is refused, and that it costs neither disk nor memory."""

from __future__ import annotations

import io
import json
import lzma
import os
import resource
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from hubserve import store
from hubserve.errors import StorageError, StoreError
from hubserve.store import archive
from tests.stores import small_package, store_at

GIB = 2**30


@pytest.fixture
def home(tmp_path):
    with store_at(tmp_path / "store") as folder:
        yield folder


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    """The files of an exported version."""
    with store_at(tmp_path_factory.mktemp("exporting")) as folder:
        exported = store.export_model(store.publish(small_package().path).tag, folder / "x.bentomodel")
        with tarfile.open(exported) as opened:
            return {m.name.removeprefix("./"): opened.extractfile(m).read() for m in opened if m.isfile()}  # type: ignore[union-attr]


def write(path: Path, files: dict[str, bytes], *more: tuple[tarfile.TarInfo, bytes], **options: int) -> Path:
    with tarfile.open(path, "w:xz", **options) as out:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
        for member, content in more:
            out.addfile(member, io.BytesIO(content))
    return path


def member(name: str, size: int = 0, **attributes: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = size
    for key, value in attributes.items():
        setattr(found, key, value)
    return found


def refused(path: Path, home: Path) -> str:
    """The message; nothing stays in the store."""
    with pytest.raises(StoreError) as caught:
        store.import_model(path)
    assert list((home / "tmp").iterdir()) == []
    assert store.list_models() == []
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["bentomodel", "tar", "tar.gz", "tar.bz2", "zip"])
def test_each_kind_that_is_written_is_read(home, tmp_path, suffix):
    published = store.publish(small_package().path)
    file = store.export_model(published.tag, tmp_path / f"x.{suffix}")
    store.delete(published.tag)
    store.import_model(file).package.verify()


def zeros_after(files: dict[str, bytes], size: int, path: Path, name: str = "extra.bin") -> Path:
    """An archive of the files and one of zeros, of which 1 GiB takes 150 kB when compressed twice as here."""
    with lzma.open(path, "wb", preset=0) as out, tarfile.open(fileobj=out, mode="w|") as written:
        for given, content in files.items():
            written.addfile(member(given, len(content)), io.BytesIO(content))
        written.addfile(member(name, size), Zeros())  # type: ignore[arg-type]
    return path


class Zeros:
    def read(self, length: int) -> bytes:
        return bytes(length)


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False], ids=["before the manifest", "after it"])
def test_what_expands_is_refused_at_once(home, tmp_path, files, before):
    path = zeros_after(
        {} if before else files, GIB // 2, tmp_path / "x.bentomodel", "weights.safetensors" if before else "x.bin"
    )
    assert path.stat().st_size < 2**21
    start, disk = time.process_time(), written_bytes()
    message = refused(path, home)
    assert "its content is longer than" in message
    assert time.process_time() - start < 2
    assert written_bytes() - disk < 2**26


def written_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock * 512


def test_longer_than_the_manifest_says(home, tmp_path, files):
    later = {name: content for name, content in files.items() if name != "model.onnx"} | {"model.onnx": bytes(2**20)}
    assert "model.onnx is longer than announced" in refused(write(tmp_path / "x.bentomodel", later), home)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (member("/etc/hubserve-test"), "is no plain file name"),
        (member("../up"), "is no plain file name"),
        (member("a/b"), "is no plain file name"),
        (member("a\\b"), "is no plain file name"),
        (member("labels.txt"), "labels.txt is in it twice"),
        (member("./labels.txt"), "labels.txt is in it twice"),
        (member("x", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "is a link, a device or a folder"),
        (member("x", type=tarfile.LNKTYPE, linkname="labels.txt"), "is a link, a device or a folder"),
        (member("x", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "is a link, a device or a folder"),
        (member("x", type=tarfile.FIFOTYPE), "is a link, a device or a folder"),
        (member("x", type=tarfile.DIRTYPE), "is a link, a device or a folder"),
        (member("x", type=tarfile.GNUTYPE_SPARSE), "is a link, a device or a folder"),
        (member("x", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), "it has sparse files"),
        (member("x", pax_headers={"comment": "y" * 10**6}), "a record of it with attributes has"),
        (member("n" * 300), "File name too long"),
    ],
    ids=lambda value: None if isinstance(value, str) else f"{value.name[:12]} {value.type!r}",
)
def test_members_that_are_no_plain_files(home, tmp_path, files, wrong, text):
    assert text in refused(write(tmp_path / "x.bentomodel", files, (wrong, b""), format=tarfile.PAX_FORMAT), home)
    assert not Path("/etc/hubserve-test").exists()


def test_many_files(home, tmp_path, files):
    many = files | {f"x{i}": b"" for i in range(archive.MOST_FILES)}
    assert f"more than {archive.MOST_FILES} files" in refused(write(tmp_path / "x.bentomodel", many), home)


def test_no_room_on_the_disk(home, tmp_path, files, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(StorageError, match="no space is left on its disk"):
        store.import_model(write(tmp_path / "x.bentomodel", files))
    assert store.list_models() == []


def test_a_zip_that_expands(home, tmp_path, files):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
        with out.open("zeros", "w", force_zip64=True) as file:
            for _ in range(256):
                file.write(bytes(2**20))
    assert "its content is longer than" in refused(tmp_path / "x.zip", home)


@pytest.mark.parametrize("names", [("../up", "x"), ("/abs", "x"), ("labels.txt", "labels.txt")])
def test_names_in_a_zip(home, tmp_path, names):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "x.zip", "w") as out:
        warnings.simplefilter("ignore")  # zipfile warns about two files of one name.
        for name in names:
            out.writestr(name, b"")
    message = refused(tmp_path / "x.zip", home)
    assert "is no plain file name" in message or "is in it twice" in message


@pytest.mark.parametrize(
    "description",
    [
        b"name: small\nversion: &a [x]\nlabels: [*a, *a]\n",
        b"[" * 100_000,
        b"- no mapping\n",
        b"name: ../../up\nversion: v1\n",
        b"name: small\n",
    ],
)
def test_descriptions(home, tmp_path, files, description):
    refused(write(tmp_path / "x.bentomodel", files | {"model.yaml": description}), home)


def test_decompression_that_asks_for_memory(home, tmp_path, monkeypatch, files):
    monkeypatch.setattr(archive, "MOST_DECOMPRESSION_BYTES", 2**20)
    assert "LZMAError" in refused(write(tmp_path / "x.bentomodel", files), home)


@pytest.mark.slow
def test_memory_of_an_import_that_expands(tmp_path, files):
    """A record of attributes of 2 GiB, which tarfile would hold in memory, and a file of 3 GiB."""
    path = tmp_path / "x.bentomodel"
    with lzma.open(path, "wb", preset=0) as out:
        out.write(member("x", 2 * GIB, type=tarfile.XHDTYPE).tobuf())
        for _ in range(64):
            out.write(bytes(2**20))
    program = (
        "import resource, sys; from hubserve import store\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: store.import_model(__import__('pathlib').Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "home")}
    ran = subprocess.run([sys.executable, "-c", program, path], env=environment, capture_output=True, text=True, timeout=60)
    name, grown = ran.stdout.split()
    assert (name, int(grown) < 30_000) == ("StoreError", True), json.dumps([ran.stdout, ran.stderr])
