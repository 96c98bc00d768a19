"""What is read from a file of weights, and what is refused."""

from __future__ import annotations

import argparse
import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hubserve.errors import WeightsError
from hubserve.hub.read_state_dict import read_state_dict


class TestReading:
    STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}  # noqa: RUF012

    def assert_same(self, found):
        assert list(found) == list(self.STATE)
        assert all(torch.equal(found[key], self.STATE[key]) for key in found)

    def test_safetensors(self, tmp_path):
        save_file(self.STATE, tmp_path / "w.safetensors")
        assert {k: v.tolist() for k, v in read_state_dict(tmp_path / "w.safetensors").items()} == {
            k: v.tolist() for k, v in self.STATE.items()
        }

    @pytest.mark.parametrize(
        "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": {"state_dict": s}}]
    )
    def test_pytorch(self, tmp_path, wrap):
        torch.save(wrap(self.STATE), tmp_path / "w.pth")
        self.assert_same(read_state_dict(tmp_path / "w.pth"))

    def test_code_is_never_run(self, tmp_path):
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(marker), "w"))

        torch.save({"a": Evil()}, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="asks to run code"):
            read_state_dict(tmp_path / "w.pth")
        assert not marker.exists()

    @pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 broken", bytes(range(256))])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_other_bytes(self, tmp_path, content, suffix):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=str(path)):
            read_state_dict(path)

    def test_not_a_state_dict(self, tmp_path):
        torch.save([1, 2], tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="holds a list, not a state dict"):
            read_state_dict(tmp_path / "w.pth")

    def test_missing(self, tmp_path):
        with pytest.raises(WeightsError, match="there is no file"):
            read_state_dict(tmp_path / "none.pth")

    @pytest.mark.parametrize("legacy", [False, True])
    def test_a_configuration_beside_the_weights_is_inert(self, tmp_path, legacy):
        """It asks for `exec`, which is not run, and the tensors are read all the same."""
        marker = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (exec, (f"open({str(marker)!r}, 'w')",))

        class Config(dict):
            """As yacs has it: a dict with attributes, of a module that the reader lacks."""

        config = Config(lr=0.1)
        config.frozen = True
        Config.__module__, Config.__qualname__ = "__main__", "Config"
        import __main__

        __main__.Config = Config
        try:
            saved = {"state_dict": self.STATE, "a": Evil(), "b": config, "c": argparse.Namespace(lr=np.float64(1))}
            torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
        finally:
            del __main__.Config
        self.assert_same(read_state_dict(tmp_path / "w.pth"))
        assert not marker.exists()

    @pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
    def test_prefixes_of_wrappers(self, tmp_path, prefix):
        torch.save({"state_dict": {f"{prefix}{key}": t for key, t in self.STATE.items()}}, tmp_path / "w.pth")
        self.assert_same(read_state_dict(tmp_path / "w.pth"))

    def test_a_prefix_of_some_keys_stays(self, tmp_path):
        state = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
        torch.save(state, tmp_path / "w.pth")
        assert list(read_state_dict(tmp_path / "w.pth")) == list(state)

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize("kind", ["zip", "tar"])
    def test_archives(self, tmp_path, kind, suffix):
        (save_file if suffix == ".safetensors" else torch.save)(self.STATE, tmp_path / f"a{suffix}")
        content = (tmp_path / f"a{suffix}").read_bytes()
        path = tmp_path / f"w.{kind}"
        names = [f"data/checkpoints/a{suffix}", f"data/checkpoints/b{suffix}", "data/notes.txt"]
        if kind == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name in names:
                    archive.writestr(name, content)
        else:
            with tarfile.open(path, "w:gz") as archive:
                for name in names:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        found = read_state_dict(path, member=f"checkpoints/a{suffix}")
        assert {key: t.tolist() for key, t in found.items()} == {key: t.tolist() for key, t in self.STATE.items()}
        with pytest.raises(WeightsError, match="archive with 2 where one"):
            read_state_dict(path)
        with pytest.raises(WeightsError, match=r"archive with 0 where one file 'none\.pth'"):
            read_state_dict(path, member="none.pth")

    def test_averaged_weights_are_read_where_they_are_asked_for(self, tmp_path):
        raw = {key: torch.zeros_like(t) for key, t in self.STATE.items()}
        torch.save({"state_dict": raw, "state_dict_ema": self.STATE}, tmp_path / "w.pth")
        self.assert_same(read_state_dict(tmp_path / "w.pth", entry="state_dict_ema"))
        assert read_state_dict(tmp_path / "w.pth")["a.weight"].sum() == 0

    def test_tensors_are_contiguous(self, tmp_path):
        torch.save({"a": torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)}, tmp_path / "w.pth")
        assert read_state_dict(tmp_path / "w.pth")["a"].is_contiguous()


def deflated(state: dict[str, Tensor]) -> bytes:
    """A PyTorch file whose content is compressed, which torch reads as well."""
    plain, packed = io.BytesIO(), io.BytesIO()
    torch.save(state, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return packed.getvalue()


@pytest.mark.parametrize("kind", ["zip", "zip behind other bytes", "tar.gz"])
def test_an_archive_in_an_archive_is_not_many_times_larger_either(tmp_path, kind):
    """70 MB of zeros in some 70 kB, which the limit of 64 MiB and 4 times the size does not allow."""
    big, path = deflated({"w": torch.zeros(70_000_000 // 4)}), tmp_path / "x.archive"
    if kind == "tar.gz":
        plain = io.BytesIO()
        torch.save({"w": torch.zeros(70_000_000 // 4)}, plain)
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            entry = tarfile.TarInfo("x.pth")
            entry.size = plain.tell()
            plain.seek(0)
            tar.addfile(entry, plain)
    else:
        with path.open("wb") as file:
            file.write(b"" if kind == "zip" else b"other bytes")
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr("x.pth", big)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(WeightsError, match="its content is longer than the"):
        read_state_dict(path)


@pytest.mark.parametrize("beside", [1, argparse.Namespace(lr=0.1)])
def test_a_tensor_is_not_copied_to_many_times_its_storage(tmp_path, beside):
    """A view may repeat a number a billion times, and 2,000 names have one transposed matrix; both cost memory when copied."""
    path = tmp_path / "x.pth"
    for state in (
        {"w": torch.zeros(1).expand(10**9)},
        {f"w{i}": tensor for i, tensor in enumerate([torch.zeros(256, 256).t()] * 2000)},
    ):
        torch.save({"state_dict": state, "beside": beside}, path)
        with pytest.raises(WeightsError, match=r"its tensors take .* bytes, and the file has"):
            read_state_dict(path)
    torch.save({"w": torch.zeros(1).expand(1000), "x": torch.ones(8, 4).t()}, path)
    assert {name: tuple(found.shape) for name, found in read_state_dict(path).items()} == {"w": (1000,), "x": (4, 8)}
