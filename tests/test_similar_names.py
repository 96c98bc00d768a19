"""What errors suggest."""

from __future__ import annotations

import pytest

from hubserve.hub import SPACES
from hubserve.similar_names import suggest


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("Darts", ("DARTS", "ENAS"), "Did you mean DARTS?"),
        ("darts", ("DARTS", "darts"), "Did you mean DARTS or darts?"),
        ("widht", ("width", "depth"), "Did you mean width?"),
        ("zzz", ("b", "a"), "Known: a, b."),
        ("zzz", (), "There is none."),
    ],
)
def test_near_names(name, known, sentence):
    assert suggest(name, known) == sentence


@pytest.mark.parametrize("space", SPACES)
def test_a_space_in_other_letters_is_named_first(space):
    for written in (space.lower(), space.upper(), space.swapcase()):
        assert suggest(written, SPACES).startswith(f"Did you mean {space}")
