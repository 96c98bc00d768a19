"""Files that a person put on this machine: a path of a card, a folder of `--weights`, a file that was downloaded by hand."""

from __future__ import annotations

import hashlib

import pytest
import torch
from pydantic import ValidationError

from hubserve.cards.card import _CARDS, WeightSource, load_card, read_card
from hubserve.errors import ChecksumError, WeightsError, WeightsUnavailableError
from hubserve.hub import load_model
from hubserve.hub.local_weights import find_in_folder, place_by_hand
from hubserve.hub.mobile_tensor_names import timm
from hubserve.hub.read_state_dict import read_state_dict
from hubserve.hub.registry import card_space
from hubserve.hub.weight_sources import fetch
from hubserve.hub.weights_availability import ask, here
from tests.hub.loopback import file_server

CONTENT = b"weights" * 10


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    for name in ("HUBSERVE_OFFLINE", "HUBSERVE_MIRROR"):
        monkeypatch.delenv(name, raising=False)


class TestPath:
    def test_a_file_and_a_file_in_a_folder(self, tmp_path, monkeypatch):
        (tmp_path / "w.pth").write_bytes(CONTENT)
        monkeypatch.setenv("HOME", str(tmp_path))
        for source in (
            WeightSource(path=str(tmp_path / "w.pth")),
            WeightSource(path="~/w.pth"),
            WeightSource(path=str(tmp_path), filename="w.pth", sha256=hashlib.sha256(CONTENT).hexdigest()),
        ):
            assert fetch(source, download=False).read_bytes() == CONTENT
            assert ask(source).text == f"a file of {len(CONTENT)} bytes on this machine"
            assert here(source) == "yes"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["w.pth"]  # Nothing is recorded beside the user's file.

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"path": "none.pth"}, "there is no file .*none.pth"),
            ({"path": "."}, "is a folder, and the card does not say with `filename`"),
            ({"path": ".", "filename": "x.pth"}, r"no file x\.pth in .*: it has home, w\.pth"),
            ({"path": "none", "filename": "x.pth"}, "it cannot be read"),
        ],
    )
    def test_what_is_not_there(self, tmp_path, monkeypatch, given, message):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "w.pth").write_bytes(CONTENT)
        (tmp_path / "home").mkdir()
        source = WeightSource(**given)
        with pytest.raises(WeightsUnavailableError, match=message):
            fetch(source)
        assert (ask(source).usable, here(source)) == (False, "no")

    def test_another_file_than_the_card_s(self, tmp_path):
        (tmp_path / "w.pth").write_bytes(CONTENT)
        source = WeightSource(path=str(tmp_path / "w.pth"), size=5)
        with pytest.raises(ChecksumError, match="70 bytes, expected 5"):
            fetch(source)
        assert here(source) == "corrupt"

    def test_in_a_card_file_a_relative_path_starts_at_the_card(self, tmp_path):
        card = load_card("acenas-m1")
        torch.save(card_space(card).freeze(card.arch).state_dict(), tmp_path / "mine.pth")
        text = _CARDS.joinpath("acenas-m1.toml").read_text().partition("[[weights]]")[0]
        (tmp_path / "card.toml").write_text(f'{text}\n[[weights]]\npath = "mine.pth"\n')
        read = read_card(tmp_path / "card.toml")
        assert read.weights[0].describe() == str(tmp_path / "mine.pth")
        assert sum(p.numel() for p in load_model(read, download=False).parameters()) > 1e6


class TestByHand:
    SOURCE = WeightSource(page="https://1drv.ms/x", filename="a/b/w.pth", trust_on_first_use=True, key_format="nni")

    def test_says_where_and_how(self, monkeypatch):
        with pytest.raises(WeightsUnavailableError) as caught:
            fetch(self.SOURCE)
        for part in ("open https://1drv.ms/x", "download a/b/w.pth", "--weights FILE --key-format nni", "or save it as "):
            assert part in str(caught.value)
        monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
        assert ask(self.SOURCE).text.startswith("not asked: HUBSERVE_OFFLINE is set; no program can download it: open http")

    def test_the_saved_file_is_found_and_held_to(self, caplog):
        place = place_by_hand(self.SOURCE)
        place.parent.mkdir(parents=True)
        place.write_bytes(CONTENT)
        assert fetch(self.SOURCE, download=False) == place
        assert "is trusted, and held to from now on" in caplog.text
        place.write_bytes(b"other")
        with pytest.raises(ChecksumError, match="another file"):
            fetch(self.SOURCE)
        assert here(self.SOURCE) == "corrupt"
        assert place.exists()  # The user put it there.

    def test_its_page_is_asked(self):
        with file_server() as server:
            source = self.SOURCE.model_copy(update={"page": f"{server.url}/share"})
            answer = ask(source)
            assert answer.text.startswith("HTTP 404 Not Found; no program can download it: open http")
            assert not answer.usable

    def test_spos(self):
        source = load_card("spos").weights[-1]
        assert source.held_to() == "the first download"
        with pytest.raises(WeightsUnavailableError, match=r"1drv\.ms.*bnps-checkpoint-300000.*singlepathoneshot"):
            fetch(source)


class TestFolder:
    def test_the_file_that_the_card_names_with_its_key_format(self, tmp_path):
        card = load_card("cream-014")
        state = card_space(card).freeze(card.arch).state_dict()
        (tmp_path / "sub").mkdir()
        (tmp_path / "home").mkdir()
        with pytest.raises(WeightsUnavailableError, match=r"\(cream-014-060aea24.pth, 14.pth.tar\): it has home, sub"):
            load_model("cream-014", weights=tmp_path)
        theirs = timm(card_space(card).freeze(card.arch))
        named = {f"{theirs[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}": tensor for key, tensor in state.items()}
        torch.save({"state_dict_ema": named, "state_dict": {}}, tmp_path / "14.pth.tar")
        model = load_model("cream-014", weights=tmp_path)
        assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
        (tmp_path / "cream-014-060aea24.pth").write_bytes(b"x")  # Of the first source, and another file.
        with pytest.raises(ChecksumError, match="give the file in place of its folder"):
            load_model("cream-014", weights=tmp_path)

    def test_the_file_of_an_archive_that_was_unpacked(self, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "acenas-m1.pth.tar").write_bytes(CONTENT)
        path, source = find_in_folder(load_card("acenas-m1").weights, tmp_path, what="acenas-m1")
        assert path.name == "acenas-m1.pth.tar"
        assert source.key_format == "acenas"

    def test_a_folder_where_a_file_is_needed(self, tmp_path):
        (tmp_path / "w.pth").mkdir()
        with pytest.raises(WeightsError, match="is a folder, where a file of weights is needed: it is empty"):
            read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of url, drive, hub_id, package, path, page must be given, found 0"),
        ({"url": "http://x/w", "path": "w", "sha256": "0" * 8}, "found 2"),
        ({"page": "https://x", "trust_on_first_use": True}, "filename goes with page"),
        ({"page": "https://x", "filename": "w"}, "a page needs a sha256"),
        ({"url": "http://x/w", "filename": "w", "sha256": "0" * 8}, "filename does not go with url"),
        ({"path": "x", "filename": "../w"}, "must be a relative path"),
    ],
)
def test_sources_that_a_card_cannot_have(given, message):
    with pytest.raises(ValidationError, match=message):
        WeightSource(**given)
