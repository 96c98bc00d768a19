"""One matrix over every space of the hub: choices, counts and frozen networks equal NNI's."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from random import Random

import pytest
import torch

from hubserve.errors import SpaceError
from hubserve.hub import SPACES, get_space
from hubserve.space import AnyOf, KOf, OneOf
from tests.hub.image_spaces import IMAGE_SPACES
from tests.hub.parity import assert_equals_fixture
from tests.marks import slow_but

VARIANTS = [
    "AutoFormer",
    "AutoFormer-preset-base",
    "AutoFormer-preset-small",
    "MobileNetV3Space",
    "NasBench101",
    "NasBench201",
    "ProxylessNAS",
    "ShuffleNetSpace",
    "ShuffleNetSpace-channel_search",
    *(f"{space}-{dataset}" for space in ("NASNet", "ENAS", "AmoebaNet", "PNAS", "DARTS") for dataset in ("cifar", "imagenet")),
]
"""Files of parity/spaces, without their ending."""

ARCHS = [f"{space}-{i}" for space in IMAGE_SPACES for i in (0, 1)]
"""Files of parity/dev."""


def read(path: Path) -> dict:
    return json.loads(path.read_text())


@pytest.mark.parametrize("variant", VARIANTS)
class TestAgainstNni:
    def test_constructor(self, shared, variant):
        fixture = read(shared / "parity" / "spaces" / f"{variant}.json")
        ours = [(f.name, _plain(f.default)) for f in fields(SPACES[fixture["space"]])]
        theirs = [(name, default) for name, default in fixture["constructor_signature"]]
        # Settings that NNI does not have come after its own.
        assert ours[: len(theirs)] == theirs

    def test_choices(self, shared, variant):
        fixture = read(shared / "parity" / "spaces" / f"{variant}.json")
        space = get_space(fixture["space"], fixture["constructor_kwargs"])
        expected = [m for m in fixture["mutables"] if m["kind"].startswith("Categorical")]
        assert list(space.choices) == [m["label"] for m in expected]
        for choice, mutable in zip(space.choices.values(), expected, strict=True):
            assert list(choice.candidates) == mutable["values"], choice.label
            n_chosen = mutable.get("n_chosen")
            inputs = AnyOf if n_chosen is None else KOf
            assert type(choice) is (inputs if mutable["kind"] == "CategoricalMultiple" else OneOf)
            if isinstance(choice, KOf):
                assert choice.n_chosen == n_chosen
            if isinstance(choice, OneOf) and choice.weights is not None:
                assert list(choice.weights) == pytest.approx(mutable["weights"])

    def test_counts(self, shared, variant):
        fixture = read(shared / "parity" / "spaces" / f"{variant}.json")
        space = get_space(fixture["space"], fixture["constructor_kwargs"])
        assert space.count() == int(fixture["distinct_architecture_count"])
        raw = 1
        for choice in space.choices.values():
            raw *= choice.size
        assert raw == int(fixture["raw_sample_count"])
        assert space.input_size == fixture["default_input_size"]


@pytest.mark.parametrize("name", slow_but(ARCHS, {f"{space}-0" for space in IMAGE_SPACES}))
def test_frozen_networks_equal_nni(shared, name):
    fixture = read(shared / "parity" / "dev" / f"{name}.json")
    space = get_space(fixture["space"], fixture["constructor_kwargs"])
    assert_equals_fixture(space.freeze(fixture["arch"]), fixture)


@pytest.mark.parametrize("name", SPACES)
class TestEverySpace:
    def test_random_archs_freeze_and_run(self, name):
        space, rng = SPACES[name](), Random(0)
        arch = space.random(rng)
        model = space.freeze(arch).eval()
        with torch.no_grad():
            found = model(*space.example_inputs(batch=1))
        for tensor, entry in zip(found if isinstance(found, tuple) else (found,), space.outputs, strict=True):
            assert str(tensor.dtype) == f"torch.{entry.dtype}"
            assert len(tensor.shape) == len(entry.shape)
            assert all(a == b for a, b in zip(tensor.shape, entry.shape, strict=True) if isinstance(b, int))

    def test_describes_its_inputs(self, name):
        space = SPACES[name]()
        assert space.takes_images == (name in IMAGE_SPACES)
        assert [entry.meaning for entry in space.outputs][:1] == (["logits"] if space.num_labels else ["other"])
        for tensor, entry in zip(space.example_inputs(batch=3), space.inputs, strict=True):
            assert str(tensor.dtype) == f"torch.{entry.dtype}"
            assert len(tensor) == 3
        assert all(tensor.is_meta and len(tensor) == 2 for tensor in space.cost_inputs(batch=2))

    def test_cites_its_paper(self, name):
        assert SPACES[name].paper.startswith("https://arxiv.org/abs/")

    def test_pickles(self, name):
        import pickle

        assert pickle.loads(pickle.dumps(SPACES[name]())) == SPACES[name]()


def test_unknown_names_get_a_suggestion():
    with pytest.raises(SpaceError, match="Did you mean ProxylessNAS"):
        get_space("Proxyless")
    with pytest.raises(SpaceError, match=r"has no setting 'num_label'\. Did you mean num_labels"):
        get_space("ProxylessNAS", {"num_label": 10})


def _plain(value: object) -> object:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
