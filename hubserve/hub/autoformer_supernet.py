"""Slices the state dict of a subnet from a checkpoint of an AutoFormer supernet: `slice_supernet` and `check_supernet`.

In the checkpoints that NNI publishes, each tensor has the largest size of its space. A subnet has the tensors of its layers,
with only the first entries along each axis whose size is searched (Chen et al. 2021, section 3.2, "weight entanglement").
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hubserve.errors import ArchError, KeyFormatError
from hubserve.space import ModelSpace

SUPERNET_LAYERS, LAYERS = "blocks.blocks.", "blocks."
"""The prefixes of the keys of all layers, in a supernet checkpoint of NNI and in the state dict of a subnet."""

WHOLE, CUT = False, True
"""Values in `AXES` and `LAYER_AXES`: a `CUT` axis is cut to its first entries, a `WHOLE` axis keeps its size."""

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
"""Key of a tensor outside of the layers -> `CUT` or `WHOLE` for each axis of the tensor."""

LAYER_AXES: dict[str, tuple[bool, ...]] = {
    **{f"{layer}.weight": (CUT, CUT) for layer in ("attn.q", "attn.k", "attn.v", "attn.proj", "fc1", "fc2")},
    **{f"{layer}.bias": (CUT,) for layer in ("attn.q", "attn.k", "attn.v", "attn.proj", "fc1", "fc2")},
    **{f"attn.rel_pos_embed_{of}.embeddings_table_{way}": (WHOLE, WHOLE) for of in "kv" for way in "vh"},
    **{f"{norm}.{tensor}": (CUT,) for norm in ("attn_layer_norm", "ffn_layer_norm") for tensor in ("weight", "bias")},
}
"""Key of a tensor of a layer, without "blocks." and the layer's number -> `CUT` or `WHOLE` for each axis of the tensor."""


def slice_supernet(state: Mapping[str, Tensor], space: ModelSpace, arch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the state dict of a subnet, with copies of the first entries of its supernet's tensors.

    Args:
        state: State dict of the supernet of `space` under NNI's names (`blocks.blocks.0.attn.q.weight` and so on).
        space: The AutoFormer space of the supernet; the supernet has the sizes of its largest network.
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
    """Raises KeyFormatError unless `state` has the keys and shapes of the supernet of `space`, as NNI publishes it."""
    try:
        with torch.device("meta"):
            model = space.freeze({label: max(choice.candidates) for label, choice in space.choices.items()})
    except (ArchError, TypeError) as error:  # The largest candidates are no network of another space.
        raise KeyFormatError(
            f"this format is of the supernets of AutoFormer, and the space is {type(space).__name__}"
        ) from error
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
    """Returns copies of the supernet's tensors, cut to the shapes of the subnet `model` and under its keys.

    The result is not checked: the caller compares its keys and shapes with the model. A tensor without a rule is returned under
    its key in brackets, which no model has, and a tensor that is too small keeps its shape, so that the comparison finds both.
    The supernet of a larger space can only be detected by `check_supernet`.

    Args:
        state: State dict of the supernet, with the keys of NNI.
        model: Network of the subnet; it may be on the meta device.
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
    """Returns the key that a supernet's tensor `key` has in a subnet; `key` in brackets if no supernet has such a tensor."""
    if key.startswith(SUPERNET_LAYERS):
        return LAYERS + key.removeprefix(SUPERNET_LAYERS)
    return f"[{key}]" if key.startswith(LAYERS) else key


def _axes(name: str) -> tuple[bool, ...] | None:
    """Returns `CUT` or `WHOLE` for each axis of a subnet's tensor `name`; None if there is no rule for it."""
    if not name.startswith(LAYERS):
        return AXES.get(name)
    return LAYER_AXES.get(name.split(".", 2)[-1]) if _layer_of(name) >= 0 else None


def _layer_of(name: str) -> int:
    """Returns the number of the layer, from 0 on, to which a subnet's tensor `name` belongs; -1 outside of the layers."""
    number = name.removeprefix(LAYERS).partition(".")[0]
    return int(number) if name.startswith(LAYERS) and number.isdecimal() else -1


def _cut(tensor: Tensor, axes: tuple[bool, ...], wanted: Tensor) -> Tensor:
    """Returns a copy of `tensor` in which each axis that is `CUT` in `axes` has at most the size that it has in `wanted`.

    A tensor whose number of axes is not that of `axes` is returned unchanged and not copied.
    """
    if tensor.dim() != len(axes):
        return tensor
    for axis, is_cut in enumerate(axes):
        if is_cut and tensor.shape[axis] > wanted.shape[axis]:
            tensor = tensor.narrow(axis, 0, wanted.shape[axis])
    # A view would keep the much larger tensor of the file in memory.
    return tensor.clone()
