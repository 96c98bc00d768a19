"""Naming schemes of tensors in published files, and their conversion to ours by explicit rules, never by shape or order."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from hubserve.errors import KeyFormatError, suggest
from hubserve.hub.autoformer_supernet import supernet_to_subnet
from hubserve.hub.mobile_tensor_names import Rename, efficientnet_lite, matrix_as_convolution, timm, torchvision


def convert(state: Mapping[str, Tensor], model: nn.Module, key_format: str) -> dict[str, Tensor]:
    """The tensors of `state` under the keys of `model`: all of them and no others, each with the model's shape.

    The counter of batches of a batch norm may be absent; only training with a cumulative average reads it.

    Args:
        state: Key -> tensor, as in the file.
        model: Network whose state dict gives the keys and shapes; it may be on the meta device.
        key_format: Naming scheme of `state`, a key of `KEY_FORMATS`.

    Raises:
        KeyFormatError: The format is unknown, or keys are missing, left over, or have another shape.
    """
    if key_format not in KEY_FORMATS:
        raise KeyFormatError(f"no key format is called {key_format!r}. {suggest(key_format, KEY_FORMATS)}")
    converted = KEY_FORMATS[key_format](state, model)
    wanted = model.state_dict()
    for key, tensor in wanted.items():
        if key.endswith("num_batches_tracked") and key not in converted:
            converted[key] = tensor.new_zeros((), device="cpu")
    _check(converted, wanted, key_format)
    return {key: converted[key] for key in wanted}


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], key_format: str) -> None:
    other_shape = [key for key in wanted if key in found and found[key].shape != wanted[key].shape]
    shapes = [f"{key} {tuple(found[key].shape)} where {tuple(wanted[key].shape)} is needed" for key in other_shape]
    complaints = [
        _listed("missing", [key for key in wanted if key not in found]),
        _listed("not of this model", [key for key in found if key not in wanted]),
        _listed("of another shape", shapes),
    ]
    if any(complaints):
        raise KeyFormatError(
            f"read as key format {key_format!r}, the weights do not fit the model: {'; '.join(filter(None, complaints))}. "
            f"Are they of another model, or of another format ({', '.join(KEY_FORMATS)})?"
        )


def _listed(what: str, keys: list[str], most: int = 3) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return f"{len(keys)} {what}: {', '.join(keys[:most])}{more}"


def _same(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    return dict(state)


def _renamed(rules: Callable[[nn.Module], Rename]) -> Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]:
    """A converter that follows `rules`. A key without a rule is put in brackets, so that `_check` reports it."""

    def convert_state(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        ours = {theirs: module for module, theirs in rules(model).items()}
        converted = {}
        for key, tensor in state.items():
            module, _, name = key.rpartition(".")
            converted[f"{ours[module]}.{name}" if module in ours else f"[{key}]"] = tensor
        return converted

    return convert_state


def _torchvision(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    return matrix_as_convolution(_renamed(torchvision)(state, model), model)


KEY_FORMATS: dict[str, Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]] = {
    "nni": _same,
    "timm": _renamed(timm),
    "torchvision": _torchvision,
    "efficientnet-lite": _renamed(efficientnet_lite),
    "autoformer-supernet": supernet_to_subnet,
}
"""Format -> converter; "nni" is also the format of the files that we write."""
