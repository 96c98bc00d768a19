"""Labels and preprocessing that are given at export."""

from __future__ import annotations

import contextlib
import warnings
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import hubserve
from hubserve.cards.card import OtherEvaluation, load_card
from hubserve.errors import ExportError, WeightsError
from hubserve.export.labels_and_preprocessing import read_label_file, read_preprocess_file
from hubserve.export.model_source import arch_source, card_source, package_source
from hubserve.export.write_package import write_package
from hubserve.hub import ProxylessNAS
from hubserve.preprocess import Preprocess
from hubserve.weights_warning import WeightsWarning
from tests.export.nets import ARCH, SETTINGS, write_timm_weights
from tests.stores import tiny_package

SPACE = ProxylessNAS(**SETTINGS)


@pytest.fixture
def timm_weights(tmp_path):
    return write_timm_weights(tmp_path / "timm.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\n\nb\n", "line 2 of .* is empty"), ("a\nb\na\n", "lines 1 and 3 of .* are both 'a'"), ("", "line 1 of .* is empty")],
)
def test_labels_that_are_refused(tmp_path, content, message):
    (tmp_path / "labels.txt").write_text(content)
    with pytest.raises(ExportError, match=message):
        read_label_file(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read"),
        ('{"meen": 1}', "Did you mean mean"),
        ("[]", "its content"),
        ('{"resize": 9}', "resize = 9 is below"),
    ],
)
def test_preprocessing_that_is_refused(tmp_path, content, message):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(ExportError, match=message):
        read_preprocess_file(tmp_path / "p.json")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    for read in (read_label_file, read_preprocess_file):
        with contextlib.suppress(ExportError):
            read(path)


OWN = load_card("efficientnet-lite0").preprocess
OTHER = Preprocess(mean=(0.3,) * 3, std=(0.5,) * 3, interpolation="bicubic")


@contextlib.contextmanager
def warned(*parts):
    """What is run inside warns once for each of `parts`, which is in its message, and of nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    ours = [warning for warning in caught if issubclass(warning.category, WeightsWarning)]
    assert len(ours) == len(parts), [str(warning.message) for warning in ours]
    for warning, part in zip(ours, parts, strict=True):
        assert part in str(warning.message)
        assert warning.filename == __file__  # The line that asked for the model.


class TestArch:
    def test_tensorflow_weights_in_timm_names_get_their_own_preprocessing(self, timm_weights):
        with warned("preprocessing, that of the key format 'timm'", "mine has no labels"):
            source = arch_source(SPACE, SETTINGS, ARCH, name="mine", weights=timm_weights, key_format="timm")
        assert (source.preprocess.mean, source.preprocess.std, source.preprocess.interpolation) == (
            OWN.mean,
            OWN.std,
            "bicubic",
        )

    @pytest.mark.parametrize(("mean", "messages"), [(0.5, ()), (0.3, ("trained with another preprocessing",))])
    def test_another_preprocessing_is_warned_of(self, timm_weights, mean, messages):
        used = Preprocess(mean=(mean,) * 3, std=(0.5,) * 3, interpolation="bicubic")
        names = tuple("abcdefg")
        with warned(*messages):
            source = arch_source(
                SPACE, SETTINGS, ARCH, name="mine", weights=timm_weights, key_format="timm", preprocess=used, class_labels=names
            )
        assert source.preprocess == used
        assert tuple(source.labels) == names

    def test_random_weights_are_nothing_to_warn_of(self):
        with warned():
            arch_source(SPACE, SETTINGS, ARCH, name="mine", preprocess=OTHER)


class TestCard:
    """Own weights for a card, under names of another scheme than the card's sources have."""

    @pytest.fixture
    def card(self):
        card = load_card("efficientnet-lite0")
        small = {**SETTINGS, "num_labels": 10}
        return card.model_copy(update={"name": "mine", "settings": small, "arch": dict(ARCH), "classes": "cifar10"})

    @pytest.fixture
    def of_nni(self, card):
        """A card whose sources have NNI's names, and whose preprocessing is another than TensorFlow's."""
        source = card.weights[0].model_copy(update={"key_format": "nni"})
        return card.model_copy(update={"weights": (source,), "preprocess": Preprocess()})

    @pytest.fixture
    def ten(self, card, tmp_path):
        return write_timm_weights(tmp_path / "ten.safetensors", card.settings)

    def test_the_card_s_own_scheme_is_nothing_to_warn_of(self, card, ten):
        with warned():
            assert card_source(card, weights=ten, key_format="timm").preprocess == OWN

    def test_the_preprocessing_of_the_scheme_comes_before_the_card_s(self, of_nni, ten):
        with warned("that of the key format 'timm'"):
            source = card_source(of_nni, weights=ten, key_format="timm")
        assert (source.preprocess.mean, source.preprocess.interpolation) == (OWN.mean, "bicubic")

    def test_a_scheme_that_does_not_say(self, of_nni, ten):
        symmetric = of_nni.model_copy(update={"settings": {**of_nni.settings, "padding": "symmetric"}})
        with warned("not determined by the key format"):
            assert card_source(symmetric, weights=ten, key_format="timm").preprocess == Preprocess()
        with warned():
            assert card_source(symmetric, weights=ten, key_format="timm", preprocess=OTHER).preprocess == OTHER

    def test_what_is_given_is_used_and_warned_of(self, of_nni, ten):
        with warned("trained with another preprocessing"):
            source = card_source(of_nni, weights=ten, key_format="timm", preprocess=OTHER, class_labels=tuple("0123456789"))
        assert (source.preprocess, source.labels, source.provenance.metric) == (OTHER, tuple("0123456789"), None)
        with pytest.raises(ExportError, match="2 labels are given, and mine has 10 classes"):
            card_source(of_nni, weights=ten, key_format="timm", preprocess=OTHER, class_labels=("a", "b"))

    def test_published_weights_with_another_preprocessing(self):
        card = load_card("efficientnet-lite0")
        with warned():
            assert card_source(card, download=False, preprocess=card.preprocess).provenance.metric == card.metric
        with warned("efficientnet-lite0: its weights were trained with another preprocessing"):
            source = card_source(card, download=False, preprocess=Preprocess())
        assert source.provenance.metric is None
        larger = card.preprocess.model_copy(update={"input_size": 256, "resize": 292})
        with warned():
            assert card_source(card, download=False, preprocess=larger).provenance.metric is None

    def test_the_published_configuration_of_the_authors_keeps_their_figure(self):
        card = load_card("efficientnet-lite0")
        other = OtherEvaluation(by="its authors", top1=70, interpolation="bilinear")
        card = card.model_copy(update={"other_evaluations": (other,)})
        bilinear = card.preprocess.model_copy(update={"interpolation": "bilinear"})
        with warned():
            assert card_source(card, download=False, preprocess=bilinear).provenance.metric.top1 == 70


class TestPackage:
    def test_other_labels_and_preprocessing(self):
        package = tiny_package()
        names = tuple("abcdefg")
        own = package.manifest.provenance.model_copy(update={"weights": "trial"})
        package = replace(package, manifest=package.manifest.model_copy(update={"provenance": own, "temperature": 2.0}))
        with warned():
            assert package_source(package, class_labels=names).labels == names
        with warned("tiny: its weights were trained with another preprocessing"):
            source = package_source(package, preprocess=OTHER)
        assert (source.preprocess, source.temperature) == (OTHER, None)

    def test_own_weights_without_labels(self, timm_weights, tmp_path):
        with warned("that of the key format", "mine has no labels"):
            source = arch_source(SPACE, SETTINGS, ARCH, name="mine", weights=timm_weights, key_format="timm")
        package = write_package(source, tmp_path / "mine", formats=("torchscript",))
        with warned("mine has no labels"):
            package_source(package)
        with warned("mine has no labels"):
            assert hubserve.load(tmp_path / "mine").labels[0] == "class 0"
        with warned():
            assert hubserve.load(tmp_path / "mine", class_labels=tuple("abcdefg")).labels[0] == "a"


def test_load_takes_own_weights(tmp_path):
    (tmp_path / "few.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"few\.safetensors"):
        hubserve.load("efficientnet-lite0", weights=tmp_path / "few.safetensors")
    with pytest.raises(ExportError, match="go with a pre-searched model"):
        hubserve.load(tiny_package().path, weights=tmp_path / "few.safetensors")
    state = hubserve.load("efficientnet-lite0", download=False).network.state_dict()
    save_file(state, tmp_path / "mine.safetensors")
    model = hubserve.load("efficientnet-lite0", weights=tmp_path / "mine.safetensors")
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.network.state_dict().items())
