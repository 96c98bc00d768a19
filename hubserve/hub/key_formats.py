"""`convert` renames the tensors of a state dict from a naming scheme such as timm's or torchvision's to that of hubserve."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from hubserve.errors import KeyFormatError
from hubserve.hub.autoformer_original import original_to_subnet
from hubserve.hub.autoformer_supernet import SUPERNET_LAYERS, check_supernet, supernet_to_subnet
from hubserve.hub.match_tensors import check_tensors
from hubserve.hub.mobile_tensor_names import Rename, efficientnet_lite, matrix_as_convolution, timm, torchvision
from hubserve.hub.original_tensor_names import acenas, darts, proxylessnas, pytorchcv
from hubserve.hub.sequence_tensor_names import mlnet_nasbert, neuralspeech_lightspeech
from hubserve.similar_names import suggest
from hubserve.space import ModelSpace
from hubserve.weights_warning import warn_of_weights

Converter = Callable[[Mapping[str, Tensor], nn.Module, ModelSpace | None], dict[str, Tensor]]
"""Function of the tensors of a file, the network and its space, which returns the tensors under the network's keys.

It leaves the key of a tensor without a rule in brackets, which no network has, so that `convert` reports it."""


def convert(
    state: Mapping[str, Tensor], model: nn.Module, key_format: str, space: ModelSpace | None = None
) -> dict[str, Tensor]:
    """Returns the tensors of `state` under the keys of `model`, in the model's order.

    Tensors are matched by explicit rules on their names, never by shape or order. The result has all keys of the model and no
    others, with the model's shapes. A `num_batches_tracked` of a batch norm that is missing in `state` is set to 0.

    Args:
        state: State dict, with the keys of the file.
        model: Network whose state dict defines the keys and shapes; it may be on the meta device.
        key_format: Naming scheme of `state`, a key of `KEY_FORMATS`.
        space: Model space of `model`. With it, formats whose file is a supernet check that it is the supernet of this space;
            None leaves out this check.

    Raises:
        KeyFormatError: `key_format` is unknown or for other networks, a key is missing, a key is not one of the model, or a
            shape differs.
    """
    if key_format not in KEY_FORMATS:
        raise KeyFormatError(f"no key format is called {key_format!r}. {suggest(key_format, KEY_FORMATS)}")
    converted = KEY_FORMATS[key_format](state, model, space)
    wanted = model.state_dict()
    for key, tensor in wanted.items():
        if key.endswith("num_batches_tracked") and key not in converted:
            converted[key] = tensor.new_zeros((), device="cpu")
    check_tensors(converted, wanted, key_format, tuple(KEY_FORMATS))
    return {key: converted[key] for key in wanted}


def _same(state: Mapping[str, Tensor], model: nn.Module, space: ModelSpace | None) -> dict[str, Tensor]:
    """Returns a copy of the dict `state` with unchanged keys."""
    return dict(state)


def _renamed(rules: Callable[[nn.Module], Rename]) -> Converter:
    """Returns the converter that follows `rules`, which depend on the model alone."""
    return lambda state, model, space: _rename(state, rules(model))


def _renamed_by_file(rules: Callable[[Mapping[str, Tensor], nn.Module], Rename]) -> Converter:
    """Returns the converter that follows `rules`, which depend on the keys of the file, too."""
    return lambda state, model, space: _rename(state, rules(state, model))


def _rename(state: Mapping[str, Tensor], rename: Rename) -> dict[str, Tensor]:
    """Returns the tensors of `state` under our keys; a key without a rule is in brackets: `check_tensors` reports it."""
    ours = {theirs: module for module, theirs in rename.items()}
    converted = {}
    for key, tensor in state.items():
        module, _, name = key.rpartition(".")
        converted[f"{ours[module]}.{name}" if module in ours else f"[{key}]"] = tensor
    return converted


def _torchvision(state: Mapping[str, Tensor], model: nn.Module, space: ModelSpace | None) -> dict[str, Tensor]:
    return matrix_as_convolution(_rename(state, torchvision(model)), model)


def _by_network(rules: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]) -> Converter:
    """Returns the converter that is the function `rules` of the tensors of a file and the network."""
    return lambda state, model, space: rules(state, model)


def _autoformer_supernet(state: Mapping[str, Tensor], model: nn.Module, space: ModelSpace | None) -> dict[str, Tensor]:
    if space is not None:
        check_supernet(state, space)  # The cut does not notice the supernet of a larger space.
        _warn_of_cut_biases(state, model)
    return supernet_to_subnet(state, model)


def _warn_of_cut_biases(state: Mapping[str, Tensor], model: nn.Module) -> None:
    """Warns, with WeightsWarning, if a layer of the subnet `model` has fewer heads than the layer of NNI's supernet `state`."""
    cut = [
        layer
        for key, tensor in model.state_dict().items()
        if key.endswith(".attn.v.bias")
        and len(tensor) < len(state[f"{SUPERNET_LAYERS}{(layer := key.split('.')[1])}.attn.v.bias"])
    ]
    if cut:
        warn_of_weights(
            f"layers {', '.join(cut)} have fewer heads than those of NNI's supernet file, which has one bias of the values for "
            "all numbers of heads: they get a bias that they were not trained with. Subnets are cut exactly from the files of "
            "AutoFormer's authors, with the key format 'cream-autoformer'"
        )


KEY_FORMATS: dict[str, Converter] = {
    "nni": _same,
    "timm": _renamed(timm),
    "torchvision": _torchvision,
    "efficientnet-lite": _renamed(efficientnet_lite),
    "autoformer-supernet": _autoformer_supernet,
    "cream": _renamed(timm),
    "cream-autoformer": original_to_subnet,
    "proxylessnas": _renamed_by_file(proxylessnas),
    "pytorchcv": _renamed_by_file(pytorchcv),
    "acenas": _renamed_by_file(acenas),
    "darts": _by_network(darts),
    "singlepathoneshot": _same,
    "neuralspeech-lightspeech": _by_network(neuralspeech_lightspeech),
    "mlnet-nasbert": _by_network(mlnet_nasbert),
}
"""Format -> converter; "nni" is also the format of the files that we write."""
