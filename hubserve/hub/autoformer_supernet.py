"""State dicts of subnets, cut from AutoFormer's supernet checkpoints, as NNI publishes them, by explicit rules.

A supernet has each tensor in the largest size of its space. A subnet has the tensors of its own layers, cut to their first
entries along each axis whose size is chosen (Chen et al. 2021, section 3.2, "weight entanglement").
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hubserve.errors import KeyFormatError
from hubserve.space import ModelSpace

SUPERNET_LAYERS, LAYERS = "blocks.blocks.", "blocks."
"""Prefixes of the keys of a layer's tensors in a supernet of NNI, and in a subnet."""

WHOLE, CUT = False, True

AXES: dict[str, tuple[bool, ...]] = {
    "patch_embed.weight": (CUT, WHOLE, WHOLE, WHOLE),
    "patch_embed.bias": (CUT,),
    "cls_token.cls_token": (WHOLE, WHOLE, CUT),
    "pos_embed.pos_embed": (WHOLE, WHOLE, CUT),
    "norm.weight": (CUT,),
    "norm.bias": (CUT,),
    "head.weight": (WHOLE, CUT),
    "head.bias": (WHOLE,),
}
"""Key -> for each axis of the tensor, whether it is cut; sizes of the other axes must be equal."""

LAYER_AXES: dict[str, tuple[bool, ...]] = {
    **{f"{layer}.weight": (CUT, CUT) for layer in ("attn.q", "attn.k", "attn.v", "attn.proj", "fc1", "fc2")},
    **{f"{layer}.bias": (CUT,) for layer in ("attn.q", "attn.k", "attn.v", "attn.proj", "fc1", "fc2")},
    **{f"attn.rel_pos_embed_{of}.embeddings_table_{way}": (WHOLE, WHOLE) for of in "kv" for way in "vh"},
    **{f"{norm}.{tensor}": (CUT,) for norm in ("attn_layer_norm", "ffn_layer_norm") for tensor in ("weight", "bias")},
}
"""Key of a layer's tensor, without the prefix and number of the layer -> for each axis, whether it is cut."""


def slice_supernet(state: Mapping[str, Tensor], space: ModelSpace, arch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a subnet: copies of the first entries of its supernet's tensors.

    Args:
        state: State dict of the supernet of `space` under NNI's names (`blocks.blocks.0.attn.q.weight` and so on).
        space: An AutoFormer; its largest network has the sizes of the supernet.
        arch: Arch of the subnet.

    Raises:
        ArchError: `arch` is not in `space`.
        KeyFormatError: `state` is not the supernet of `space`.
    """
    check_supernet(state, space)
    with torch.device("meta"):
        subnet = space.freeze(arch)
    inherited = supernet_to_subnet(state, subnet)
    return {key: inherited[key] for key in subnet.state_dict()}


def check_supernet(state: Mapping[str, Tensor], space: ModelSpace) -> None:
    """Raises KeyFormatError unless `state` has the tensors of the largest network of `space`, under NNI's names."""
    with torch.device("meta"):
        model = space.freeze({label: max(choice.candidates) for label, choice in space.choices.items()})
    largest = model.state_dict()
    found = {_subnet_name(key): (key, tuple(tensor.shape)) for key, tensor in state.items()}
    wrong = [f"{name} of its largest network is missing" for name in largest if name not in found]
    wrong += [f"{key} is not of that space" for name, (key, _) in found.items() if name not in largest]
    wrong += [
        f"{key} has shape {shape} where its largest network has {tuple(largest[name].shape)}"
        for name, (key, shape) in found.items()
        if name in largest and shape != tuple(largest[name].shape)
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise KeyFormatError(
            f"this is not the supernet of the given space: {'; '.join(wrong[:3])}{more}. Is it the supernet of "
            "another preset, or a subnet's file, which needs no slicing?"
        )


def supernet_to_subnet(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors that `model`, a subnet, has of its supernet's state dict: copies, under the model's keys.

    A tensor without a rule gets a key that no model has, and a tensor that is too small is not cut, so that a comparison of
    keys and shapes reports them. Only `check_supernet`, which knows the space, notices the supernet of a larger space.
    """
    wanted = model.state_dict()
    depth = 1 + max((_layer_of(key) for key in wanted), default=-1)
    inherited = {}
    for key, tensor in state.items():
        name = _subnet_name(key)
        axes = _axes(name)
        if axes is None or name not in wanted:
            if _layer_of(name) < depth:
                inherited[f"[{key}]"] = tensor
        else:
            inherited[name] = _cut(tensor, axes, wanted[name])
    return inherited


def _subnet_name(key: str) -> str:
    """Key in a subnet of the supernet's tensor `key`; in brackets, which no model has, where no supernet has such a tensor."""
    if key.startswith(SUPERNET_LAYERS):
        return LAYERS + key.removeprefix(SUPERNET_LAYERS)
    return f"[{key}]" if key.startswith(LAYERS) else key


def _axes(name: str) -> tuple[bool, ...] | None:
    if not name.startswith(LAYERS):
        return AXES.get(name)
    return LAYER_AXES.get(name.split(".", 2)[-1]) if _layer_of(name) >= 0 else None


def _layer_of(name: str) -> int:
    """Number of the layer that has the tensor, or -1 for a tensor outside of the layers."""
    number = name.removeprefix(LAYERS).partition(".")[0]
    return int(number) if name.startswith(LAYERS) and number.isdecimal() else -1


def _cut(tensor: Tensor, axes: tuple[bool, ...], wanted: Tensor) -> Tensor:
    if tensor.dim() != len(axes):
        return tensor
    for axis, is_cut in enumerate(axes):
        if is_cut and tensor.shape[axis] > wanted.shape[axis]:
            tensor = tensor.narrow(axis, 0, wanted.shape[axis])
    # A copy: a view would keep the much larger tensor of the file in memory.
    return tensor.clone()
