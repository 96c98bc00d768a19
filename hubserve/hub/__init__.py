"""The public names of the hub: the model spaces, under NNI's names, and the functions that load their pre-searched models."""

from hubserve.cards.card import Card, list_cards, load_card, read_card
from hubserve.hub.autoformer import AutoFormer
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.lightspeech import LightSpeech
from hubserve.hub.mobilenet_v3 import MobileNetV3Space
from hubserve.hub.nasbench101 import NasBench101
from hubserve.hub.nasbench201 import NasBench201
from hubserve.hub.nasbert import NASBERT
from hubserve.hub.nasnet_family import DARTS, ENAS, PNAS, AmoebaNet, NASNet
from hubserve.hub.proxyless import ProxylessNAS
from hubserve.hub.registry import SPACES, get_space, load_model
from hubserve.hub.shufflenet import ShuffleNetSpace

AutoformerSpace = AutoFormer
"""NNI's other name of `AutoFormer`."""

__all__ = [
    "DARTS",
    "ENAS",
    "NASBERT",
    "PNAS",
    "SPACES",
    "AmoebaNet",
    "AutoFormer",
    "AutoformerSpace",
    "Card",
    "HubSpace",
    "LightSpeech",
    "MobileNetV3Space",
    "NASNet",
    "NasBench101",
    "NasBench201",
    "ProxylessNAS",
    "ShuffleNetSpace",
    "get_space",
    "list_cards",
    "load_card",
    "load_model",
    "read_card",
]
