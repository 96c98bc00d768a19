"""The network of a card or an arch, with weights read from a file."""

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

ENTRIES = {"cream": "state_dict_ema"}
"""Key format -> entry of the file that the authors evaluate, where a file of that format has several state dicts."""


def weights_origin(*, pretrained: bool, weights: Path | None) -> WeightsOrigin:
    """Which weights `load_model` uses for these arguments; if `weights` is a file, `pretrained` does not matter."""
    if weights is not None:
        return "local"
    return "published" if pretrained else "random"


def load_frozen(
    space: ModelSpace, card: Card, *, pretrained: bool, key_format: str | None = None, download: bool, progress: bool
) -> nn.Module:
    """The network of `card`, with weights of its sources, in eval mode; `space` is its space with the card's settings.

    `hubserve.hub.load_model` says what the other arguments mean.

    Raises:
        ArchError: The card's arch is not in the space.
        WeightsUnavailableError: No source has the weights.
        WeightsError: The file cannot be read, or its tensors do not fit the model in every name and shape.
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
    """The network of `arch` in eval mode, with the tensors of the file `path`.

    Args:
        space: The space of the arch.
        arch: Label -> chosen value.
        path: A file of PyTorch, or of safetensors where it ends in `.safetensors`.
        key_format: Naming scheme of the tensors in the file, a key of `hubserve.hub.key_formats.KEY_FORMATS`.
        entry: Key of the state dict in the file's dict; None is the entry of the key format (`ENTRIES`), or one of the usual.
        member: End of the path of the file of weights in an archive of several; see `read_state_dict`.

    Raises:
        ArchError: `arch` is not in the space.
        WeightsError: The file cannot be read, or (KeyFormatError) does not fit; the message names the file.
    """
    state = read_state_dict(path, entry=entry or ENTRIES.get(key_format), member=member)
    # On the meta device, so that no weights are allocated and initialised only to be replaced.
    with torch.device("meta"):
        model = space.freeze(arch)
    try:
        converted = convert(state, model, key_format, space)
    except KeyFormatError as error:
        raise KeyFormatError(f"{path}: {error}") from error
    return assign(model, converted, rebuild=lambda: space.freeze(arch)).eval()


def assign(model: nn.Module, state: dict[str, Tensor], *, rebuild: Callable[[], nn.Module]) -> nn.Module:
    """`model`, which was built on the meta device, with the tensors of `state`, converted to the types of the model's own.

    All tensors are contiguous: files of channels-last tensors would keep their strides otherwise.

    A model with buffers that are in no state dict is replaced by `rebuild()`, which has their values.
    """
    dtypes = {key: tensor.dtype for key, tensor in model.state_dict().items()}
    if any(buffer.is_meta and name not in dtypes for name, buffer in model.named_buffers()):
        model = rebuild()
    model.load_state_dict({key: tensor.to(dtypes[key]).contiguous() for key, tensor in state.items()}, strict=True, assign=True)
    return model
