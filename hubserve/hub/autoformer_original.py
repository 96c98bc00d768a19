"""Cuts subnets of AutoFormer from the supernet files of its authors (microsoft/Cream, silent-chen/AutoFormer-model-zoo).

These supernets are wider than those of NNI, and queries, keys and values of a layer are one matrix whose rows alternate between
the three. The biases do not alternate: they follow each other at the subnet's width, so that the bias of the values depends on
the layer's number of heads. No supernet of NNI can hold that; a subnet must be cut directly from the original file.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from hubserve.errors import KeyFormatError
from hubserve.hub.autoformer_supernet import LAYERS, SUPERNET_LAYERS, supernet_to_subnet
from hubserve.space import ModelSpace

HEAD_DIM = 64
"""Number of channels of a head."""

_NAMES = {
    "patch_embed_super.proj.weight": "patch_embed.weight",
    "patch_embed_super.proj.bias": "patch_embed.bias",
    "cls_token": "cls_token.cls_token",
    "pos_embed": "pos_embed.pos_embed",
}
"""Key in the original file -> key in ours, where they differ outside of the layers."""


def original_to_subnet(state: Mapping[str, Tensor], model: nn.Module, space: ModelSpace | None) -> dict[str, Tensor]:
    """Returns the tensors of `model`, a subnet, cut from the authors' supernet file, under the model's keys.

    As with `supernet_to_subnet`, the caller compares the keys and shapes of the result with the model.

    Raises:
        KeyFormatError: The file's supernet is another than that of `space`; without `space` this is not checked.
    """
    if space is not None:
        _check_space(state, space)
    wanted = model.state_dict()
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        layer = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
        if layer is None:
            renamed[_NAMES.get(key, f"[{key}]" if key in _NAMES.values() else key)] = tensor
        elif layer[2] in ("attn.qkv.weight", "attn.qkv.bias"):
            renamed |= _queries_keys_values(tensor, int(layer[1]), layer[2].rpartition(".")[2], wanted)
        else:
            renamed[f"{SUPERNET_LAYERS}{layer[1]}.{layer[2]}"] = tensor
    return supernet_to_subnet(renamed, model)


def _queries_keys_values(tensor: Tensor, layer: int, kind: str, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the three parts of the joint tensor of a layer, cut to the subnet's rows; nothing for a layer that it lacks.

    Args:
        tensor: (3 * width, channels) if `kind` is "weight", else (3 * width).
        layer: Number of the layer.
        kind: "weight" or "bias".
        wanted: State dict of the subnet.
    """
    ours = wanted.get(f"{LAYERS}{layer}.attn.q.{kind}")
    if ours is None:
        return {}
    rows = len(ours)
    parts = [tensor[i : 3 * rows : 3] if kind == "weight" else tensor[i * rows : (i + 1) * rows] for i in range(3)]
    return {f"{SUPERNET_LAYERS}{layer}.attn.{name}.{kind}": part for name, part in zip("qkv", parts, strict=True)}


def _check_space(state: Mapping[str, Tensor], space: ModelSpace) -> None:
    """Raises KeyFormatError unless number of layers and of heads in the file are the largest ones of `space`."""
    layers = {int(found[1]) for key in state if (found := re.match(r"blocks\.(\d+)\.", key))}
    rows = {len(tensor) for key, tensor in state.items() if key.endswith("attn.qkv.weight")}
    if not rows or "depth" not in space.choices or "num_head_0" not in space.choices:
        raise KeyFormatError("this is not a supernet of AutoFormer's authors, or the space is not AutoFormer")
    sizes = (len(layers), max(rows) // (3 * HEAD_DIM))
    largest = (max(space.choices["depth"].candidates), max(space.choices["num_head_0"].candidates))
    if sizes != largest:
        raise KeyFormatError(
            f"the supernet in the file has {sizes[0]} layers of {sizes[1]} heads, and that of the given space has "
            f"{largest[0]} of {largest[1]}. Is it the supernet of another preset?"
        )
