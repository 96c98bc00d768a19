"""Label sets: the names of a classifier's classes, in the order of its logits."""

from functools import cache
from importlib import resources

from hubserve.errors import CardError, suggest

_FOLDER = resources.files("hubserve.cards").joinpath("class_names")

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def labels(classes: str) -> tuple[str, ...]:
    """One readable name per class.

    Raises:
        CardError: no such label set.
    """
    if classes == "cifar10":
        return CIFAR10
    if classes == "imagenet-1k":
        return tuple(_FOLDER.joinpath("imagenet-1k.txt").read_text("utf-8").splitlines())
    raise CardError(f"no label set is called {classes!r}. {suggest(classes, ('cifar10', 'imagenet-1k'))}")


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """WordNet ids of the 1000 ImageNet classes, sorted, which is the order of the logits."""
    return tuple(_FOLDER.joinpath("imagenet-1k-wnids.txt").read_text("utf-8").splitlines())
