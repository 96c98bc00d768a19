"""Folders of small images, each different from all others."""

from __future__ import annotations

from pathlib import Path

from tests.images import noise


def make(root: Path, counts: dict[str, int], *, first: int = 0) -> Path:
    """`root/FOLDER/N.png` for each folder of `counts`, as many as it says; FOLDER may have slashes."""
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (folder / f"{number:03d}.png").write_bytes(noise(12, seed=first))
            first += 1
    return root
