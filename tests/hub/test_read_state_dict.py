"""What is read from a file of weights, and what is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

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
