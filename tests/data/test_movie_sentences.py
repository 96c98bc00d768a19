"""The movie sentences: read from an archive that is held to its hash, divided without leaks, and downloaded by pip alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hubserve.data import movie_sentences as module
from hubserve.data.movie_sentences import movie_sentences, rated_sentences
from hubserve.data.named_datasets import load_dataset, load_search_data
from hubserve.errors import DatasetError
from tests.sentences import archive, place_sentences, rated


@pytest.fixture
def placed(tmp_path, monkeypatch):
    return place_sentences(monkeypatch, tmp_path / "home")


def test_ratings_become_two_classes(placed):
    found = rated_sentences()
    assert len(found) == 240
    assert {label for _, label in found} == {0, 1}
    assert all((label == 1) == any(word in text for word in ("good", "fine", "great", "lovely")) for text, label in found)


def test_three_parts_with_their_share_of_each_class(placed):
    data = load_search_data("movie-sentences", val_share=0.2, test_share=0.25)
    assert [len(part) for part in (data.train, data.val, data.test)] == [132, 48, 60]
    assert data.labels == ("negative", "positive")
    assert float(data.test.targets.float().mean()) == 0.5
    assert data.max_tokens == 40
    with pytest.raises(DatasetError, match="has no images with labels: load it by load_search_data"):
        load_dataset("movie-sentences")


def test_the_same_seed_gives_the_same_items(placed):
    first, again, other = movie_sentences(), movie_sentences(), movie_sentences(seed=1)
    assert first.tokenizer == again.tokenizer
    assert first.val.texts == again.val.texts != other.val.texts
    assert torch.equal(first.val[3][0], again.val[3][0])


def test_equal_sentences_are_in_one_part(tmp_path, monkeypatch):
    twice = [*rated(60), *((rating, text.upper()) for rating, text in rated(60))]
    place_sentences(monkeypatch, tmp_path / "home", twice)
    data = movie_sentences()
    parts = [{text.lower() for text in part.texts} for part in (data.train, data.val, data.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_the_vocabulary_is_that_of_the_training_sentences(placed):
    data = movie_sentences(vocabulary=14)
    assert data.vocabulary == 14
    assert max(int(ids.max()) for ids, _ in data.test) < 14


def test_another_archive_is_refused(placed):
    placed.write_bytes(archive(["1\t1.0\tfilm"]))
    with pytest.raises(DatasetError, match=r"has the SHA-256 .*, and .* is expected; delete it"):
        rated_sentences()


def test_an_archive_without_the_file_is_refused(placed, monkeypatch):
    monkeypatch.setattr(module, "FILE", "elsewhere.txt")
    with pytest.raises(DatasetError, match=r"has no elsewhere\.txt"):
        rated_sentences()


def test_offline_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    with pytest.raises(DatasetError, match=r"HUBSERVE_OFFLINE is set: run `python -m pip download .*` .* and put vader.* into"):
        rated_sentences()


def test_pip_is_asked_with_the_hash_and_what_it_fetched_is_kept(tmp_path, monkeypatch):
    path = place_sentences(monkeypatch, tmp_path / "home")
    content = path.read_bytes()
    path.unlink()
    asked: list[list[str]] = []

    def run(command, **_):
        asked.append(command)
        wanted = Path(command[command.index("--requirement") + 1]).read_text()
        assert wanted == f"vaderSentiment==3.3.2 --hash=sha256:{module.SHA256}\n"
        (Path(command[command.index("--dest") + 1]) / module.ARCHIVE).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", run)
    assert len(rated_sentences()) == len(rated_sentences()) == 240
    (command,) = asked
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert "--require-hashes" in command


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (
            subprocess.CompletedProcess([], 1, "", "ERROR: no such host\n"),
            "cannot be downloaded: ERROR: no such host; run `python",
        ),
        (subprocess.CompletedProcess([], 0, "", ""), "cannot be downloaded: pip failed; run `python"),
        (subprocess.TimeoutExpired("pip", 600), "timed out after 600 seconds; run `python"),
    ],
)
def test_a_download_that_fails_is_explained(outcome, says, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    monkeypatch.delenv("HUBSERVE_OFFLINE", raising=False)

    def run(command, **_):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(module.subprocess, "run", run)
    with pytest.raises(DatasetError, match=says):
        rated_sentences()
    assert not module.archive_path().exists()


def test_it_has_no_folder(placed):
    with pytest.raises(DatasetError, match="movie-sentences are downloaded into the folder of hubserve, and folder"):
        load_search_data("movie-sentences", placed.parent)
