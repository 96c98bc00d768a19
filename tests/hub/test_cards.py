"""One matrix over every card: its network is NNI's, and the card is complete."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from hubserve.blocks.mobile import MobileBlock
from hubserve.cards.card import parse_card
from hubserve.cards.labels import imagenet_wnids, labels
from hubserve.errors import CardError, WeightsUnavailableError
from hubserve.hub import SPACES, list_cards, load_card, load_model, read_card
from hubserve.hub.autoformer_cards import SUPERNETS
from hubserve.hub.registry import card_space
from tests.hub.parity import assert_equals_fixture
from tests.marks import slow_but

OUR_OWN = {"efficientnet-lite0", "torchvision-mobilenetv2", "torchvision-mobilenetv3-large", "torchvision-mobilenetv3-small"}
"""Cards of image classifiers that NNI does not have."""
SEQUENCES = [name for name in list_cards() if load_card(name).preprocess is None]
ALIASES = [name for name in list_cards() if name not in OUR_OWN and name not in SEQUENCES]


@pytest.fixture
def fixture_of(shared):
    def read(name):
        # NNI has a supernet of each AutoFormer too.
        file = f"{name}-subnet" if name.startswith("autoformer-") else name
        return json.loads((shared / "parity" / "aliases" / f"{file}.json").read_text())

    return read


def test_how_many_there_are(fixture_of):
    """The numbers that README and CHANGELOG give."""
    fixtures = [fixture_of(name) for name in ALIASES]
    in_table = [fixture for fixture in fixtures if fixture["in_space_hub_table"]]
    assert len(SPACES) == 13
    assert (len(list_cards()), len(in_table), len(ALIASES) - len(in_table), len(OUR_OWN)) == (38, 18, 3, 4)
    assert len(SEQUENCES) == 13
    assert sum(not fixture["builds_in_stock_nni_3_0"] for fixture in in_table) == 5
    assert len(SUPERNETS) == 3


QUICK = {"mobilenetv3-large-100", "acenas-m1", "proxyless-cpu", "cream-114", "spos", "darts-v2", "autoformer-tiny"}
"""A model of each kind of network and of source."""


@pytest.mark.parametrize("name", slow_but(ALIASES, QUICK))
class TestAgainstNni:
    def test_network(self, fixture_of, name):
        fixture = fixture_of(name)
        card = load_card(name)
        model = card_space(card).freeze(card.arch)
        flags = [[path, block.residual] for path, block in model.named_modules() if isinstance(block, MobileBlock)]
        assert flags == fixture.get("residual_flags", [])
        assert_equals_fixture(model, fixture)

    def test_nni_s_own_arch_means_the_same(self, fixture_of, name):
        card = load_card(name)
        space = card_space(card)
        assert space.canonical(fixture_of(name)["arch"]) == space.canonical(card.arch)

    def test_what_is_published(self, fixture_of, name):
        fixture = fixture_of(name)
        card = load_card(name)
        if fixture["in_space_hub_table"]:
            assert card.metric.top1 == fixture["published_metric_top1"]
        assert card.metric.dataset == fixture["published_dataset"]
        assert card.space == fixture["space"]
        assert card.weights[0].url.endswith(fixture["pretrained_file"])
        assert card.weights[0].sha256 == fixture["pretrained_hash_suffix"]

    def test_preprocessing(self, fixture_of, name):
        asked = fixture_of(name)["eval_preprocessing"]
        found = load_card(name).preprocess
        size = fixture_of(name)["eval_input_size"]
        # CIFAR-10's images need no resizing; over HTTP other sizes come, which are brought to that of its images.
        wanted = (asked["center_crop"] or size, asked["resize"] or size, asked["interpolation"] or "bilinear")
        assert (found.input_size, found.resize, found.interpolation) == wanted
        assert found.channels.upper() == asked["channel_order"]
        assert found.scale == (1.0 if asked["scale"].startswith("raw") else 255.0)
        assert list(found.mean) == (asked["mean"] or [0.0] * 3)
        assert list(found.std) == (asked["std"] or [1.0] * 3)


@pytest.mark.parametrize("name", list_cards())
class TestEveryCard:
    def test_arch_is_complete_and_without_rest(self, name):
        card = load_card(name)
        assert card.name == name
        assert card_space(card).canonical(card.arch) == card.arch

    def test_has_sources_that_can_be_checked(self, name):
        """By a hash, or at least held to the file of the first download, which is said aloud."""
        pins = ("sha256", "git_blob", "size", "hub_id", "trust_on_first_use")
        assert all(any(getattr(source, pin) for pin in pins) for source in load_card(name).weights)


@pytest.mark.parametrize("name", [name for name in list_cards() if name not in SEQUENCES])
def test_belongs_to_the_space_that_loads_it(name):
    card = load_card(name)
    model = SPACES[card.space].load_searched_model(name)
    assert not model.training
    *_, last = (module for module in model.modules() if isinstance(module, nn.Linear))
    assert len(labels(card.classes)) == last.out_features == card_space(card).num_labels


@pytest.mark.parametrize(
    ("name", "params"), [("nasbert-5m", 4_475_136), ("nasbert-mlnet-14m", 13_690_368), ("lightspeech", 1_771_093)]
)
def test_models_of_sequences_have_the_published_size(name, params):
    """Of the encoder alone for NAS-BERT, and with the layer for speakers for LightSpeech."""
    card = load_card(name)
    with torch.device("meta"):
        model = card_space(card).freeze(card.arch)
    assert sum(p.numel() for key, p in model.named_parameters() if not key.startswith("classifier.")) == params


def test_a_model_without_weights_says_what_to_do():
    with pytest.raises(WeightsUnavailableError, match=r"nasbert-60m:\n.*names no source\nWith the file on this machine"):
        load_model("nasbert-60m")
    with pytest.raises(CardError, match="whose inputs are no images"):
        _ = load_card("nasbert-60m").image_preprocess


def test_table_is_complete():
    wanted = "acenas-m1 acenas-m2 acenas-m3 proxyless-cpu proxyless-gpu proxyless-mobile mobilenetv3-large-100 "
    wanted += "mobilenetv3-small-050 mobilenetv3-small-075 mobilenetv3-small-100 "
    wanted += "cream-014 cream-043 cream-114 cream-287 cream-481 cream-604 darts-v2 spos efficientnet-lite0 "
    wanted += "autoformer-tiny autoformer-small autoformer-base"
    assert set(wanted.split()) <= set(list_cards())


def test_the_wrong_space_names_the_right_one():
    with pytest.raises(CardError, match="a model of ProxylessNAS, not of MobileNetV3Space"):
        SPACES["MobileNetV3Space"].load_searched_model("acenas-m1")


class TestErrors:
    def test_unknown_name(self):
        with pytest.raises(CardError, match=r"Did you mean .*proxyless-cpu"):
            load_card("proxylesscpu")

    @pytest.mark.parametrize("name", ["../../etc/passwd", "", ".", "cards/acenas-m1"])
    def test_a_name_is_not_a_path(self, name):
        with pytest.raises(CardError, match="no pre-searched model"):
            load_card(name)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(CardError, match="cannot read the card"):
            read_card(tmp_path / "none.toml")

    def test_entries_are_named(self):
        with pytest.raises(CardError, match=r"mine is not a card: .*arch: Field required"):
            parse_card('name = "x"', where="mine")
        with pytest.raises(CardError, match="mine is not TOML"):
            parse_card("name =", where="mine")


def test_label_sets():
    assert len(labels("imagenet-1k")) == len(set(labels("imagenet-1k"))) == 1000
    assert labels("imagenet-1k")[281] == "tabby"
    assert list(imagenet_wnids()) == sorted(set(imagenet_wnids()))
    assert len(imagenet_wnids()) == 1000
    assert labels("cifar10")[3] == "cat"
    with pytest.raises(CardError, match="no label set"):
        labels("imagenet-22k")


def test_wnids_are_those_of_real_folders(shared):
    folders = sorted(path.name for path in (shared / "data" / "imagenet_samples").iterdir())
    assert folders == list(imagenet_wnids()[::4])
