"""Maps the names of tensors in the published files of ProxylessNAS, AceNAS, DARTS and pytorchcv to those of our networks.

ProxylessNAS and AceNAS number all blocks of a network, four for each stage, and leave out the numbers of skipped blocks; our
networks count the blocks that are there. So these rules look at the file's keys, not at our network alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from hubserve.hub.mobile_tensor_names import Rename, block_names, blocks_of, stages

_NumberOf = Callable[[str], tuple[int, str] | None]

BLOCKS_OF_A_STAGE = 4
"""Largest number of blocks in a stage of ProxylessNAS; the last stage has one."""

_PROXYLESS_INVERTED = tuple(
    f"mobile_inverted_conv.{layer}.{part}"
    for layer in ("inverted_bottleneck", "depth_conv", "point_linear")
    for part in ("conv", "bn")
)
_PROXYLESS_SEPARABLE = _PROXYLESS_INVERTED[2:]
_ACENAS_INVERTED = tuple(f"ops.conv.{place}" for place in ("0.0", "0.1", "1.0", "1.1", "2", "3"))
_ACENAS_SEPARABLE = tuple(f"ops.conv.{place}" for place in ("0.0", "0.1", "1", "2"))
_PYTORCHCV_INVERTED = tuple(f"body.{layer}.{part}" for layer in ("bc_conv", "dw_conv", "pw_conv") for part in ("conv", "bn"))
_PYTORCHCV_SEPARABLE = _PYTORCHCV_INVERTED[2:]


def proxylessnas(state: Mapping[str, Tensor], model: nn.Module) -> Rename:
    """Returns the names of the modules of `model` in `state`, a file of ProxylessNAS's authors (mit-han-lab/proxylessnas).

    Raises:
        KeyFormatError: `model` is not a mobile network.
    """
    rename = {
        "stem.0": "first_conv.conv",
        "stem.1": "first_conv.bn",
        "feature_mix_layer.0": "feature_mix_layer.conv",
        "feature_mix_layer.1": "feature_mix_layer.bn",
        "classifier": "classifier.linear",
    }
    return rename | _numbered(state, model, _flat_number, _PROXYLESS_SEPARABLE, _PROXYLESS_INVERTED)


def acenas(state: Mapping[str, Tensor], model: nn.Module) -> Rename:
    """Returns the names of the modules of `model` in `state`, a file of AceNAS's authors (ultmaster/AceNAS).

    Raises:
        KeyFormatError: `model` is not a mobile network.
    """
    rename = {
        "stem.0": "first_conv.0",
        "stem.1": "first_conv.1",
        "feature_mix_layer.0": "feature_mix_layer.0",
        "feature_mix_layer.1": "feature_mix_layer.1",
        "classifier": "classifier",
    }
    return rename | _numbered(state, model, _flat_number, _ACENAS_SEPARABLE, _ACENAS_INVERTED)


def pytorchcv(state: Mapping[str, Tensor], model: nn.Module) -> Rename:
    """Returns the names of the modules of `model`, a ProxylessNAS, in `state`, a file of pytorchcv (osmr/imgclsmob).

    Raises:
        KeyFormatError: `model` is not a mobile network.
    """
    rename = {
        "stem.0": "features.init_block.conv",
        "stem.1": "features.init_block.bn",
        "feature_mix_layer.0": "features.final_block.conv",
        "feature_mix_layer.1": "features.final_block.bn",
        "classifier": "output",
    }
    return rename | _numbered(state, model, _pytorchcv_number, _PYTORCHCV_SEPARABLE, _PYTORCHCV_INVERTED)


def _flat_number(module: str) -> tuple[int, str] | None:
    """Returns number and path of the block to which the module of a file of ProxylessNAS or AceNAS belongs; None: no block."""
    found = re.match(r"blocks\.(\d+)\.", module)
    return (int(found[1]), found[0][:-1]) if found else None


def _pytorchcv_number(module: str) -> tuple[int, str] | None:
    """Returns the number that the block would have in ProxylessNAS's own file, and its path; None: no block.

    In pytorchcv, stages 4 and 5 of the paper are units 1 to 4 and 5 to 8 of one stage, and so are stages 6 and 7.
    """
    found = re.match(r"features\.stage([1-5])\.unit(\d+)\.", module)
    if found is None:
        return None
    stage, unit = int(found[1]), int(found[2])
    before = {1: -1, 2: 0, 3: 4, 4: 8, 5: 16}[stage]  # Blocks before the stage, so that its first unit gets the next number.
    return before + unit, found[0][:-1]


def _numbered(
    state: Iterable[str], model: nn.Module, number_of: _NumberOf, separable: tuple[str, ...], inverted: tuple[str, ...]
) -> Rename:
    """Returns the names of all layers in blocks: the j-th block of a stage in the file is the j-th of our stage."""
    theirs = dict(found for key in state if (found := number_of(key)) is not None)
    rename: Rename = {}
    for s, stage in enumerate(stages(model)):
        first = 1 + BLOCKS_OF_A_STAGE * (s - 1)
        numbers = range(1) if s == 0 else range(first, first + BLOCKS_OF_A_STAGE)
        paths = [theirs[number] for number in numbers if number in theirs]
        # Blocks too many on either side keep their names, and `convert` reports them.
        for (ours, block), path in zip(blocks_of(stage, f"blocks.{s}"), paths, strict=False):
            rename |= block_names(block, ours, path, separable, inverted)
    return rename


def darts(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns the tensors of a file of DARTS's authors (quark0/darts) under our keys.

    Tensors of the auxiliary head, which only training uses, are left out: the file does not fit a `model` that has this head.

    Raises:
        KeyFormatError: `model` is not a network of cells, with modules `stages` and `classifier`.
    """
    places = [(s, c) for s, stage in enumerate(stages(model, "stages")) for c, _ in enumerate(stage.children())]
    return {_darts_key(key, places): tensor for key, tensor in state.items() if not key.startswith("auxiliary_head.")}


def _darts_key(key: str, places: list[tuple[int, int]]) -> str:
    """Returns our key of a tensor, or the key in brackets, which no model has, where there is no rule.

    Args:
        key: Key in the file.
        places: Stage and number in the stage of each cell of our network.
    """
    cell, name = re.fullmatch(r"cells\.(\d+)\.(.+)", key), key
    if cell is None:
        return name if name.startswith(("stem.", "classifier.")) else f"[{key}]"
    if int(cell[1]) >= len(places):
        return f"[{key}]"
    s, c = places[int(cell[1])]
    if found := re.fullmatch(r"preprocess([01])\.(?:op\.)?(.+)", cell[2]):
        return f"stages.{s}.{c}.preprocessor.pre{found[1]}.{found[2]}"
    if found := re.fullmatch(r"_ops\.(\d+)\.(?:op\.)?(.+)", cell[2]):
        node, edge = divmod(int(found[1]), 2)
        return f"stages.{s}.{c}.ops.{node}.{edge}.{found[2]}"
    return f"[{key}]"
