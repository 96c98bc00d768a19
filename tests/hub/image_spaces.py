"""The spaces and cards of the hub whose networks read images, for tests that make images."""

from __future__ import annotations

from hubserve.hub import SPACES, list_cards, load_card

IMAGE_SPACES = [name for name, space in SPACES.items() if space().takes_images]
IMAGE_CARDS = [name for name in list_cards() if load_card(name).preprocess is not None]
