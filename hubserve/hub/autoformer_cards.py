"""`supernet_card` makes the card of a subnet of a published AutoFormer supernet, from which the weights are cut."""

from collections.abc import Mapping
from typing import Any

from hubserve.cards.card import Card, WeightSource, load_card
from hubserve.errors import CardError
from hubserve.hub.autoformer import PRESETS, AutoFormer
from hubserve.preprocess import Preprocess
from hubserve.similar_names import suggest

SUPERNETS = {
    "random-one-shot-tiny": ("tiny", "autoformer-tiny-supernet-6f107004.pth"),
    "random-one-shot-small": ("small", "autoformer-small-supernet-8ed79e18.pth"),
    "random-one-shot-base": ("base", "autoformer-base-supernet-0c6d6612.pth"),
}
"""NNI's name of a supernet -> (preset of AutoFormer, file name). A file name ends in the first digits of the file's SHA-256."""


def supernet_card(supernet: str, arch: Mapping[str, Any]) -> Card:
    """Returns the card of a subnet whose weights are cut from a published supernet, without further training.

    The first sources are the supernet's files of AutoFormer's authors, from which every subnet is cut as in its training. The
    last one is NNI's file, which has one bias of the values for all numbers of heads of a layer, so that layers with fewer
    heads than the most get a wrong one.

    >>> space = AutoFormer.preset("tiny")
    >>> model = load_model(supernet_card("random-one-shot-tiny", space.random()))

    Args:
        supernet: NNI's name of the supernet, a key of `SUPERNETS`.
        arch: Arch of the subnet, from the space `AutoFormer.preset("tiny")`, "small" or "base" of the supernet.

    Raises:
        CardError: There is no supernet of this name.
        ArchError: The arch is not in the supernet's space.
    """
    if supernet not in SUPERNETS:
        raise CardError(f"no supernet of AutoFormer is called {supernet!r}. {suggest(supernet, SUPERNETS)}")
    preset, file = SUPERNETS[supernet]
    authors = (source for source in load_card(f"autoformer-{preset}").weights if source.key_format == "cream-autoformer")
    url = f"https://nni.blob.core.windows.net/nashub/{file}"
    sha256 = file.removesuffix(".pth").rpartition("-")[2]
    return Card(
        name=supernet,
        space=AutoFormer.__name__,
        summary=f"A subnet of AutoFormer's {preset} supernet, with the weights that it has there.",
        paper=AutoFormer.paper,
        licence="unstated; the original repository, and NNI, which hosts the file, are MIT",
        classes="imagenet-1k",
        preprocess=Preprocess(),
        settings={setting: list(candidates) for setting, candidates in PRESETS[preset].items()},
        arch=AutoFormer.preset(preset).canonical(arch),
        weights=(*authors, WeightSource(url=url, sha256=sha256, key_format="autoformer-supernet")),
    )
