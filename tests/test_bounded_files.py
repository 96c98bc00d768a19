"""Files whose writer is not trusted: what is longer than any of its kind is not parsed."""

from __future__ import annotations

import json
import os
import pickle
import time
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hubserve.bounded_files import MOST_HEADER_BYTES, MOST_TEXT_BYTES, read_bounded, read_bounded_text
from hubserve.cards.card import read_card
from hubserve.cli.model_options import read_json
from hubserve.errors import CardError, HubserveError, JobError, PackageError, ProfileError, WeightsError
from hubserve.hub.read_state_dict import read_state_dict
from hubserve.jobs.job_file import read_job
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.package.labels_parity_profile import read_labels, read_parity, read_profile
from hubserve.package.package import MANIFEST, read_package


def read_manifest(path: Path) -> object:
    (path.parent / MANIFEST).symlink_to(path)
    return read_package(path.parent)


READERS = [
    (read_manifest, PackageError),
    (read_labels, PackageError),
    (read_parity, PackageError),
    (read_profile, PackageError),
    (read_card, CardError),
    (read_job, JobError),
    (LatencyTable.load, ProfileError),
    (read_json, HubserveError),
]


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def long(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MOST_TEXT_BYTES + 1)


def deep(path: Path) -> None:
    path.write_text("[" * 500_000)


def deep_objects(path: Path) -> None:
    path.write_text('{"a":' * 100_000)


@pytest.mark.parametrize("kind", [endless, pipe, long, deep, deep_objects])
@pytest.mark.parametrize(("read", "error"), READERS, ids=lambda value: getattr(value, "__qualname__", None))
def test_texts(tmp_path, read, error, kind):
    kind(tmp_path / "x")
    if read is read_labels and kind in (deep, deep_objects):
        return  # Text without a structure.
    start = time.process_time()
    with pytest.raises(error):
        read(tmp_path / "x")
    assert time.process_time() - start < 3


def test_at_the_bound(tmp_path):
    (tmp_path / "x").write_bytes(b"a\r\nb")
    assert read_bounded(tmp_path / "x", 4) == b"a\r\nb"
    assert read_bounded_text(tmp_path / "x") == "a\nb"
    with pytest.raises(OSError, match="is longer than the"):
        read_bounded(tmp_path / "x", 3)


class TestSafetensors:
    def write(self, path: Path, header: bytes, data: bytes = b"") -> Path:
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)
        return path

    def test_a_long_header(self, tmp_path):
        names = {f"{i:06d}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(150_000)}
        header = json.dumps(names).encode()
        assert len(header) > MOST_HEADER_BYTES
        path = self.write(tmp_path / "x.safetensors", header)
        start = time.process_time()
        with pytest.raises(WeightsError, match="its header is longer than the"):
            read_state_dict(path)
        assert time.process_time() - start < 0.05

    @pytest.mark.parametrize("content", [b"", b"\1", b"\xff" * 8, b"\xff" * 100, (2**30).to_bytes(8, "little") + b"{}"])
    def test_a_header_beyond_the_file(self, tmp_path, content):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(WeightsError, match="is not a readable safetensors file"):
            read_state_dict(tmp_path / "x.safetensors")

    def test_a_deep_header(self, tmp_path):
        with pytest.raises(WeightsError):
            read_state_dict(self.write(tmp_path / "x.safetensors", b'{"a":' * 100_000))

    def test_a_supernet_s_number_of_tensors(self, tmp_path):
        save_file({f"blocks.{i}.layers.0.depth_conv.weight": torch.zeros(1) for i in range(10_000)}, tmp_path / "x.safetensors")
        assert len(read_state_dict(tmp_path / "x.safetensors")) == 10_000


class TestPyTorchFiles:
    def test_one_that_was_compressed(self, tmp_path):
        torch.save({"w": torch.zeros(100_000_000, dtype=torch.uint8)}, tmp_path / "plain.pth")
        with (
            zipfile.ZipFile(tmp_path / "plain.pth") as plain,
            zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as out,
        ):
            for entry in plain.infolist():
                out.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
        assert (tmp_path / "x.pth").stat().st_size < 2**18
        with pytest.raises(WeightsError, match="its content is longer than"):
            read_state_dict(tmp_path / "x.pth")
        assert read_state_dict(tmp_path / "plain.pth")["w"].numel() == 100_000_000

    def test_one_that_runs_code(self, tmp_path):
        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "ran"),)

        torch.save({"w": Evil()}, tmp_path / "x.pth")
        (tmp_path / "y.pth").write_bytes(pickle.dumps({"w": Evil()}))
        for name, message in (("x.pth", "is not a plain file"), ("y.pth", "is not a readable PyTorch file")):
            with pytest.raises(WeightsError, match=message):
                read_state_dict(tmp_path / name)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"PK\3\4", b"PK\3\4" + b"\xff" * 100, b"\x80\x02"])
    def test_corrupt_ones(self, tmp_path, content):
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(WeightsError):
            read_state_dict(tmp_path / "x.pth")


def test_references_that_nest(tmp_path):
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9))]
    (tmp_path / "job.yaml").write_text("\n".join(lines))
    with pytest.raises(JobError, match="more than 50 references"):
        read_job(tmp_path / "job.yaml")
