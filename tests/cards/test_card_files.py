"""Card files that anybody may have written: a card, or CardError; and no card leads out of the package it names."""

from __future__ import annotations

import tomllib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hubserve.cards.card import _CARDS, Card, WeightSource, parse_card
from hubserve.errors import CardError, HubserveError
from hubserve.hub import list_cards, read_card
from hubserve.hub.registry import card_space

TEXTS = [_CARDS.joinpath(f"{name}.toml").read_text("utf-8") for name in list_cards()]
HARMFUL = ['"', "[", "]]", "{", "=", "\n", "-1", "1e999", "nan", "inf", "true"]


def parsed(text: str) -> Card | None:
    """The card, or None where an error says what is wrong."""
    try:
        return parse_card(text, where="a card")
    except CardError as error:
        reported = str(error)
    assert "a card" in reported
    return None


@settings(max_examples=100, deadline=None)
@given(text=st.sampled_from(TEXTS), data=st.data())
def test_a_card_with_a_stretch_replaced(text, data):
    first = data.draw(st.integers(0, len(text)))
    last = data.draw(st.integers(first, min(len(text), first + 40)))
    put = data.draw(st.text(max_size=20) | st.sampled_from(HARMFUL))
    card = parsed(text[:first] + put + text[last:])
    if card is not None:
        with suppress(HubserveError):
            card_space(card).validate(card.arch)


@settings(max_examples=200, deadline=None)
@given(text=st.sampled_from(TEXTS), data=st.data())
def test_a_card_with_lines_left_out_doubled_and_swapped(text, data):
    lines = text.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(lines) - 1))
        other = data.draw(st.integers(0, len(lines) - 1))
        what = data.draw(st.sampled_from(["out", "double", "swap"]))
        if what == "out" and len(lines) > 1:
            del lines[place]
        elif what == "double":
            lines.insert(other, lines[place])
        else:
            lines[place], lines[other] = lines[other], lines[place]
    parsed("\n".join(lines))


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=200))
def test_anything_is_no_card(text):
    assert parsed(text) is None


TOO_MUCH = ["a = " + "[" * 100_000, "a = " + "{b=" * 20_000, "a = " + "9" * 5_000, "a." * 5_000 + "a = 1", "#" * 2_000_000]


@pytest.mark.parametrize("text", TOO_MUCH)
def test_what_is_too_deep_or_too_long(text):
    assert parsed(text) is None


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "card.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CardError, match="cannot read the card"):
        read_card(path)
    with pytest.raises(CardError, match="cannot read the card"):
        read_card(tmp_path)


@pytest.mark.parametrize("filename", ["../../../etc/passwd", "/etc/passwd", "torch/../../../../etc/passwd", "..", "\x00"])
def test_a_card_reads_no_file_outside_the_package_it_names(filename):
    with pytest.raises(ValidationError, match="does not lead out of its package"):
        WeightSource(package="torch", filename=filename)


def test_the_cards_themselves():
    assert all(parsed(text) is not None and tomllib.loads(text) for text in TEXTS)
