"""The cards of the pre-searched models, one TOML file for each, and the label sets of their classes. Imports no torch."""

from hubserve.cards.card import Card, Metric, WeightSource, list_cards, load_card, read_card
from hubserve.cards.labels import imagenet_wnids, labels

__all__ = ["Card", "Metric", "WeightSource", "imagenet_wnids", "labels", "list_cards", "load_card", "read_card"]
