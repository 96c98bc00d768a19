"""The hub: model spaces under NNI's names, and the pre-searched models found in them."""

from __future__ import annotations

from hubserve.hub.base import HubSpace
from hubserve.hub.card import Card, list_cards, load_card, read_card
from hubserve.hub.mobilenet_v3 import MobileNetV3Space
from hubserve.hub.proxyless import ProxylessNAS
from hubserve.hub.registry import SPACES, get_space, load_model

__all__ = [
    "SPACES",
    "Card",
    "HubSpace",
    "MobileNetV3Space",
    "ProxylessNAS",
    "get_space",
    "list_cards",
    "load_card",
    "load_model",
    "read_card",
]
