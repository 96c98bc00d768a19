"""The label sets: the names of the classes of ImageNet-1k and CIFAR-10, in the order of a classifier's logits."""

from functools import cache
from importlib import resources

from hubserve.errors import CardError
from hubserve.similar_names import suggest

_FOLDER = resources.files("hubserve.cards").joinpath("class_names")

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@cache
def labels(classes: str | None) -> tuple[str, ...]:
    """Returns the readable names of the classes of a label set, in the order of the logits.

    Args:
        classes: Name of the label set: "imagenet-1k" or "cifar10". None is that of a card without names of classes, and gives
            an empty tuple.

    Raises:
        CardError: There is no such label set.
    """
    if classes is None:
        return ()
    if classes == "cifar10":
        return CIFAR10
    if classes == "imagenet-1k":
        return tuple(_FOLDER.joinpath("imagenet-1k.txt").read_text("utf-8").splitlines())
    raise CardError(f"no label set is called {classes!r}. {suggest(classes, ('cifar10', 'imagenet-1k'))}")


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """Returns the WordNet ids of the 1000 ImageNet classes, sorted, which is the order of the logits."""
    return tuple(_FOLDER.joinpath("imagenet-1k-wnids.txt").read_text("utf-8").splitlines())
