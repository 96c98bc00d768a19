"""Builds the network of a card or an arch and loads weights from a file: `load_frozen`, `load_weights` and `assign`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hubserve.cards.card import Card
from hubserve.errors import KeyFormatError
from hubserve.hub.key_formats import convert
from hubserve.hub.read_state_dict import read_state_dict
from hubserve.hub.weight_sources import fetch_first
from hubserve.space import ModelSpace

WeightsOrigin = Literal["published", "local", "random"]
"""Origin of a model's weights: the sources of its card, a file that the caller names, or random initialisation."""

ENTRIES = {"cream": "state_dict_ema"}
"""Key format -> entry of the file that the authors evaluate, where a file of that format has several state dicts."""


def weights_origin(*, pretrained: bool, weights: Path | None) -> WeightsOrigin:
    """Returns the origin of the weights that `hubserve.hub.load_model` uses with these arguments.

    Args:
        pretrained: True gives "published" and False gives "random", if `weights` is None.
        weights: Path of a file of weights, which gives "local" whatever `pretrained` is; None for no such file.
    """
    if weights is not None:
        return "local"
    return "published" if pretrained else "random"


def load_frozen(
    space: ModelSpace, card: Card, *, pretrained: bool, key_format: str | None = None, download: bool, progress: bool
) -> nn.Module:
    """Returns the network of `card` in eval mode, with the published weights or with random ones.

    Args:
        space: The space of the card, with the card's settings.
        card: The card, which gives the arch and the sources of the weights.
        pretrained: Whether to load the weights from the card's sources; False initialises them at random.
        key_format: Naming scheme of the tensors, a key of `hubserve.hub.key_formats.KEY_FORMATS`; None takes the source's.
        download: Whether weights that are not on this machine may be downloaded.
        progress: Whether to show a progress bar on stderr; none is shown if stderr is not a terminal.

    Raises:
        ArchError: The card's arch is not in the space.
        WeightsUnavailableError: No source provides the weights, or they must be downloaded and this is forbidden.
        WeightsError: The file cannot be read, `key_format` is unknown, or the names and shapes of the file's tensors are not
            those of the network.
        StorageError: The disk to which the weights are downloaded is full, faulty or not writable.
    """
    if not pretrained:
        return space.freeze(card.arch).eval()
    path, source = fetch_first(card.weights, what=card.name, download=download, progress=progress)
    return load_weights(space, card.arch, path, key_format or source.key_format, entry=source.entry, member=source.member)


def load_weights(
    space: ModelSpace,
    arch: Mapping[str, Any],
    path: Path,
    key_format: str = "nni",
    *,
    entry: str | None = None,
    member: str | None = None,
) -> nn.Module:
    """Returns the network of `arch` in eval mode, with the weights of the file `path`.

    Args:
        space: The space of the arch.
        arch: The arch: a dict from labels to chosen values.
        path: Path of the file, of one of the kinds that `read_state_dict` reads, such as safetensors or that of `torch.save`.
        key_format: Naming scheme of the tensors in the file, a key of `hubserve.hub.key_formats.KEY_FORMATS`.
        entry: Key of the state dict in the file's dict; None takes the entry of the key format (`ENTRIES`), if it has one, else
            the first of the usual keys that the file has (`hubserve.hub.read_state_dict.CONTAINERS`).
        member: End of the path of the file of weights in an archive of several; see `read_state_dict`.

    Raises:
        ArchError: `arch` is not in the space.
        WeightsError: The file cannot be read. The message names the file.
        KeyFormatError: `key_format` is unknown, or the names and shapes of the tensors are not those of the network. The
            message names the file.
    """
    state = read_state_dict(path, entry=entry or ENTRIES.get(key_format), member=member)
    # The meta device avoids that weights are allocated and initialised only to be replaced.
    with torch.device("meta"):
        model = space.freeze(arch)
    try:
        converted = convert(state, model, key_format, space)
    except KeyFormatError as error:
        raise KeyFormatError(f"{path}: {error}") from error
    return assign(model, converted, rebuild=lambda: space.freeze(arch)).eval()


def assign(model: nn.Module, state: dict[str, Tensor], *, rebuild: Callable[[], nn.Module]) -> nn.Module:
    """Loads `state` into a model that was built on the meta device, and returns the model.

    If the model has buffers that are not in its state dict, `state` has no values for them. Then a model that `rebuild` makes
    is loaded and returned instead of `model`.

    Args:
        model: Model on the meta device; it is changed in place.
        state: State dict with exactly the keys and shapes of the model; tensors are converted to the dtypes of the model,
            and made contiguous.
        rebuild: Function that makes the same model on a device with memory.

    Raises:
        KeyError: `state` has a key that the model does not have.
        RuntimeError: A key of the model is missing in `state`, or a tensor has another shape.
    """
    dtypes = {key: tensor.dtype for key, tensor in model.state_dict().items()}
    if any(buffer.is_meta and name not in dtypes for name, buffer in model.named_buffers()):
        model = rebuild()
    model.load_state_dict({key: tensor.to(dtypes[key]).contiguous() for key, tensor in state.items()}, strict=True, assign=True)
    return model
