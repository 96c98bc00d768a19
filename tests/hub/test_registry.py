"""Spaces by name, and from a card to a model."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

import hubserve.hub
from hubserve.errors import CardError, SpaceError
from hubserve.hub import SPACES, HubSpace, get_space, load_card, load_model
from hubserve.hub.registry import card_space


def test_every_space_that_the_hub_exports_is_in_the_table():
    exported = {
        name: found
        for name, found in vars(hubserve.hub).items()
        if isinstance(found, type) and issubclass(found, HubSpace) and found is not HubSpace
    }
    assert exported.pop("AutoformerSpace") is SPACES["AutoFormer"]  # NNI has both names.
    assert exported == SPACES
    assert set(SPACES) <= set(hubserve.hub.__all__)


class TestGetSpace:
    @pytest.mark.parametrize("name", SPACES)
    def test_defaults_and_settings(self, name):
        assert get_space(name) == SPACES[name]()
        settings = {field.name: field.default for field in fields(SPACES[name])}
        assert get_space(name, settings) == SPACES[name]()

    def test_lists_from_toml_and_json_are_the_same_space(self):
        settings = {"base_widths": [16, 16, 24, 32, 64, 96, 160, 320, 640]}
        space = get_space("ProxylessNAS", settings)
        assert space == get_space("ProxylessNAS", {"base_widths": tuple(settings["base_widths"])})
        assert hash(space) == hash(get_space("ProxylessNAS", settings))

    @pytest.mark.parametrize(
        ("name", "settings", "message"),
        [
            ("proxyless", None, "no model space is called 'proxyless'"),
            ("DARTS", {"num_cell": 8}, r"DARTS has no setting 'num_cell'\. Did you mean num_cells"),
            ("DARTS", {"paper": "x"}, "DARTS has no setting 'paper'"),
            ("DARTS", {"num_cells": "eight"}, "DARTS: num_cells = 'eight': .*valid integer"),
            ("NasBench101", {"num_stacks": None}, "NasBench101: num_stacks = None: .*valid integer"),
        ],
    )
    def test_errors(self, name, settings, message):
        with pytest.raises(SpaceError, match=message):
            get_space(name, settings)


class TestCards:
    CARD = load_card("acenas-m1")

    def test_a_card_of_one_s_own(self):
        card = self.CARD.model_copy(update={"name": "mine", "settings": {"num_labels": 7}})
        model = load_model(card, pretrained=False)
        assert not model.training
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)

    def test_the_error_names_the_card(self):
        with pytest.raises(CardError, match="card mine: no model space is called 'Nowhere'"):
            card_space(self.CARD.model_copy(update={"name": "mine", "space": "Nowhere"}))
        with pytest.raises(CardError, match="card mine: ProxylessNAS has no setting 'widths'"):
            load_model(self.CARD.model_copy(update={"name": "mine", "settings": {"widths": 1}}), pretrained=False)

    def test_an_unknown_one(self):
        with pytest.raises(CardError, match=r"no pre-searched model is called 'acenas-m4'\. Did you mean acenas-m"):
            load_model("acenas-m4")


def test_the_four_ways_of_evaluation():
    """As data, in the cards: the usual one; bicubic; small images, 7/8 of the resize; and BGR in 0..255, not normalised."""

    def facts(name):
        p = load_card(name).preprocess
        return p.input_size, p.resize, p.interpolation, p.channels, p.scale

    assert facts("acenas-m1") == (224, 256, "bilinear", "rgb", 255.0)
    assert facts("mobilenetv3-large-100") == (224, 256, "bicubic", "rgb", 255.0)
    for name, size in (("cream-014", 64), ("cream-043", 96), ("cream-114", 160)):
        assert facts(name) == (size, int(size / 0.875), "bilinear", "rgb", 255.0)
    assert facts("spos") == (224, 256, "bilinear", "bgr", 1.0)
    spos = load_card("spos").preprocess
    assert (spos.mean, spos.std) == ((0, 0, 0), (1, 1, 1))
