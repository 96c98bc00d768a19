"""Labels and preprocessing that are given at export."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.cards.card import load_card
from hubserve.errors import ExportError
from hubserve.export.labels_and_preprocessing import read_label_file, read_preprocess_file
from hubserve.export.model_source import arch_source
from hubserve.hub import ProxylessNAS
from hubserve.preprocess import Preprocess
from tests.export.nets import ARCH, SETTINGS, write_timm_weights

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


def test_tensorflow_weights_in_timm_names_get_their_own_preprocessing(timm_weights):
    source = arch_source(SPACE, SETTINGS, ARCH, name="mine", weights=timm_weights, key_format="timm")
    card = load_card("efficientnet-lite0").preprocess
    assert (source.preprocess.mean, source.preprocess.std, source.preprocess.interpolation) == (card.mean, card.std, "bicubic")
    assert any("preprocessing, that of the key format 'timm'" in note for note in source.notes)
    assert any("mine has no labels" in note for note in source.notes)


@pytest.mark.parametrize(("mean", "warned"), [(0.5, False), (0.3, True)])
def test_another_preprocessing_is_warned_of(timm_weights, mean, warned):
    used = Preprocess(mean=(mean,) * 3, std=(0.5,) * 3, interpolation="bicubic")
    names = tuple("abcdefg")
    source = arch_source(
        SPACE, SETTINGS, ARCH, name="mine", weights=timm_weights, key_format="timm", preprocess=used, class_labels=names
    )
    assert source.preprocess == used
    assert tuple(source.labels) == names
    assert bool(source.notes) == warned
