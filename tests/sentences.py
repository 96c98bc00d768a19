"""A small archive in place of that of the movie sentences: made-up sentences with a rating, which a network learns at once."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from random import Random

import pytest

from hubserve.data import movie_sentences as module

GOOD, BAD = ("good", "fine", "great", "lovely"), ("bad", "dull", "poor", "awful")
THINGS = ("film", "plot", "cast", "story", "scene", "ending", "music", "script")


def rated(count: int = 240) -> list[tuple[float, str]]:
    """Sentences with a word that gives the rating, among others that do not; one more has the rating 0."""
    rng = Random(0)
    found = []
    for number in range(count):
        good = number % 2 == 0
        words = [rng.choice(GOOD if good else BAD), *rng.choices(THINGS, k=rng.randrange(2, 7)), str(number)]
        found.append((1.5 if good else -0.7, " ".join(words)))
    return [*found, (0.0, "neither this nor that")]


def archive(lines: list[str]) -> bytes:
    """The archive with these lines in its inner file."""
    inner = packed(module.FILE, "\n".join(lines).encode("latin-1"))
    return packed(module.INNER, inner)


def packed(name: str, content: bytes) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w:gz") as file:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
    return found.getvalue()


def place_sentences(patch: pytest.MonkeyPatch, home: Path, sentences: list[tuple[float, str]] | None = None) -> Path:
    """Puts such an archive into a home of hubserve, which `patch` makes the one that is used, and returns its path."""
    patch.setenv("HUBSERVE_HOME", str(home))
    content = archive([f"{i}\t{rating}\t{text}" for i, (rating, text) in enumerate(sentences or rated(), 1)])
    patch.setattr(module, "SHA256", hashlib.sha256(content).hexdigest())
    path = module.archive_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
