"""Tensor names of published files, translated to ours by written-out rules, never by shape or order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from hubserve.blocks.mobile import MobileBlock, SqueezeExcite
from hubserve.errors import KeyFormatError, suggest
from hubserve.hub.autoformer_supernet import supernet_to_subnet

Rename = dict[str, str]
"""Our module -> the file's module, both without the tensor's own name."""


def convert(state: Mapping[str, Tensor], model: nn.Module, key_format: str) -> dict[str, Tensor]:
    """The tensors of `state` under the names of `model`: exactly the model's keys, each with the model's shape.

    Batch norm's counter of batches may be absent from the file; it only matters for training with a cumulative average.

    Raises:
        KeyFormatError: unknown format; or keys are missing, left over, or of another shape.
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
    complaints = [
        _listed("missing", [key for key in wanted if key not in found]),
        _listed("not of this model", [key for key in found if key not in wanted]),
        _listed(
            "of another shape",
            [
                f"{key} {tuple(found[key].shape)} where {tuple(wanted[key].shape)} is needed"
                for key in wanted
                if key in found and found[key].shape != wanted[key].shape
            ],
        ),
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
    """A converter from rules; what no rule names keeps its own name, so that the check can complain of it."""

    def convert_state(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        ours = {theirs: module for module, theirs in rules(model).items()}
        converted = {}
        for key, tensor in state.items():
            module, _, name = key.rpartition(".")
            converted[f"{ours[module]}.{name}" if module in ours else f"[{key}]"] = tensor
        return converted

    return convert_state


def _timm_mobilenet_v3(model: nn.Module) -> Rename:
    """As timm names a MobileNetV3: the last convolution is one more stage, and blocks name their layers."""
    rename = {"stem.0": "conv_stem", "stem.1": "bn1", "classifier.1": "classifier"}
    stages = list(_child(model, "blocks").children())[:-3]
    for s, stage in enumerate(stages):
        for i, (path, block) in enumerate(_blocks_of(stage, f"blocks.{s}")):
            rename |= _block_rename(block, path, f"blocks.{s}.{i}", _TIMM_SEPARABLE, _TIMM_INVERTED)
            rename |= {
                f"{path}.{index}.{conv}": f"blocks.{s}.{i}.se.{conv}"
                for index, layer in enumerate(block)
                if isinstance(layer, SqueezeExcite)
                for conv in ("conv_reduce", "conv_expand")
            }
    at = len(stages)
    return rename | {
        f"blocks.{at}.0": f"blocks.{at}.0.conv",
        f"blocks.{at}.1": f"blocks.{at}.0.bn1",
        f"blocks.{at + 2}.0": "conv_head",
    }


def _efficientnet_lite(model: nn.Module) -> Rename:
    """The naming of the PyTorch ports of EfficientNet: one flat list of blocks, layers with a leading underscore."""
    rename = {
        "stem.0": "_conv_stem",
        "stem.1": "_bn0",
        "feature_mix_layer.0": "_conv_head",
        "feature_mix_layer.1": "_bn1",
        "classifier": "_fc",
    }
    stages = enumerate(_child(model, "blocks").children())
    blocks = [named for s, stage in stages for named in _blocks_of(stage, f"blocks.{s}")]
    for i, (path, block) in enumerate(blocks):
        rename |= _block_rename(block, path, f"_blocks.{i}", _LITE_SEPARABLE, _LITE_INVERTED)
    return rename


_TIMM_SEPARABLE = ("conv_dw", "bn1", "conv_pw", "bn2")
_TIMM_INVERTED = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_LITE_SEPARABLE = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
_LITE_INVERTED = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")


def _block_rename(block: MobileBlock, ours: str, theirs: str, separable: tuple[str, ...], inverted: tuple[str, ...]) -> Rename:
    """Convolutions and norms of a block, in the order in which it runs them."""
    places = [i for i, layer in enumerate(block) if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    names = separable if len(places) == len(separable) else inverted
    return {f"{ours}.{i}": f"{theirs}.{name}" for i, name in zip(places, names, strict=True)}


def _blocks_of(stage: nn.Module, path: str) -> list[tuple[str, MobileBlock]]:
    """A stage is one block, or a row of them."""
    if isinstance(stage, MobileBlock):
        return [(path, stage)]
    return [(f"{path}.{i}", block) for i, block in enumerate(stage.children()) if isinstance(block, MobileBlock)]


def _child(model: nn.Module, name: str) -> nn.Module:
    found = getattr(model, name, None)
    if not isinstance(found, nn.Module):
        raise KeyFormatError(f"this key format is for mobile networks with {name!r}; {type(model).__name__} has none")
    return found


KEY_FORMATS: dict[str, Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]]] = {
    "nni": _same,
    "timm": _renamed(_timm_mobilenet_v3),
    "efficientnet-lite": _renamed(_efficientnet_lite),
    "autoformer-supernet": supernet_to_subnet,
}
"""Format -> converter; "nni" is also the format of what we write."""
