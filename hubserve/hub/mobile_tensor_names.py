"""The names that timm, torchvision and the PyTorch ports of EfficientNet give to the layers of our mobile networks.

The networks are MobileNetV3 (of MobileNetV3Space) and ProxylessNet (of ProxylessNAS, which contains MobileNetV2 and
EfficientNet-Lite). Each function reads the layers of the given network, so that it works for every depth, width and kernel.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from hubserve.blocks.mobile import MobileBlock, SqueezeExcite
from hubserve.errors import KeyFormatError

Rename = dict[str, str]
"""Path of a module in our network -> its path in the file; the names of its tensors (`weight`, `bias`, ...) are the same."""

TORCHVISION_BN_EPS = {"MobileNetV3": 1e-3, "ProxylessNet": 1e-5}
"""Class of our network -> `eps` of the batch norms of torchvision's network; files of weights do not contain it."""


def timm(model: nn.Module) -> Rename:
    """Returns the names of the modules of `model` in timm: stages, blocks in a stage, and a name for each layer of a block.

    Raises:
        KeyFormatError: `model` is not a mobile network.
    """
    rename = {"stem.0": "conv_stem", "stem.1": "bn1"}
    all_stages = stages(model)
    for s, stage in enumerate(all_stages):
        for i, (path, block) in enumerate(blocks_of(stage, f"blocks.{s}")):
            rename |= block_names(block, path, f"blocks.{s}.{i}", _TIMM_SEPARABLE, _TIMM_INVERTED)
            rename |= {
                f"{path}.{index}.{conv}": f"blocks.{s}.{i}.se.{conv}"
                for index, layer in enumerate(block)
                if isinstance(layer, SqueezeExcite)
                for conv in ("conv_reduce", "conv_expand")
            }
    if not _is_mobilenet_v3(model):
        return rename | {"feature_mix_layer.0": "conv_head", "feature_mix_layer.1": "bn2", "classifier": "classifier"}
    at = len(all_stages)
    # In timm, the last convolution of a MobileNetV3 is a further stage.
    last = {f"blocks.{at}.0": f"blocks.{at}.0.conv", f"blocks.{at}.1": f"blocks.{at}.0.bn1"}
    return rename | last | {f"blocks.{at + 2}.0": "conv_head", "classifier.1": "classifier"}


def efficientnet_lite(model: nn.Module) -> Rename:
    """Returns the names of the modules of `model` in the PyTorch ports of EfficientNet-Lite: a single list of all blocks.

    Raises:
        KeyFormatError: `model` is not a mobile network.
    """
    rename = {
        "stem.0": "_conv_stem",
        "stem.1": "_bn0",
        "feature_mix_layer.0": "_conv_head",
        "feature_mix_layer.1": "_bn1",
        "classifier": "_fc",
    }
    for i, (path, block) in enumerate(_all_blocks(model)):
        rename |= block_names(block, path, f"_blocks.{i}", _LITE_SEPARABLE, _LITE_INVERTED)
    return rename


def torchvision(model: nn.Module) -> Rename:
    """Returns the names of the modules of `model` in torchvision's MobileNetV3 or MobileNetV2, where layers have numbers.

    Raises:
        KeyFormatError: `model` is not a mobile network, or the `eps` of its batch norms is not the one of torchvision.
    """
    _check_bn_eps(model)
    v3 = _is_mobilenet_v3(model)
    rename = {"stem.0": "features.0.0", "stem.1": "features.0.1"}
    blocks = _all_blocks(model)
    for i, (path, block) in enumerate(blocks, 1):
        theirs = f"features.{i}"
        rename |= _v3_block(block, path, theirs) if v3 else block_names(block, path, theirs, _V2_SEPARABLE, _V2_INVERTED)
    last, at = f"features.{len(blocks) + 1}", len(stages(model))
    if not v3:
        return rename | {"feature_mix_layer.0": f"{last}.0", "feature_mix_layer.1": f"{last}.1", "classifier": "classifier.1"}
    head = {f"blocks.{at}.0": f"{last}.0", f"blocks.{at}.1": f"{last}.1"}
    return rename | head | {f"blocks.{at + 2}.0": "classifier.0", "classifier.1": "classifier.3"}


def matrix_as_convolution(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Returns `state` with the weight of the layer after the pooling of a MobileNetV3 reshaped for a 1x1 convolution.

    torchvision has a linear layer there, whose weight has two axes.

    Args:
        state: State dict with our keys.
        model: Our network, a MobileNetV3 or a ProxylessNet; the state dict of a ProxylessNet is not changed.
    """
    key = f"blocks.{len(stages(model)) + 2}.0.weight"
    return {name: tensor[:, :, None, None] if name == key and tensor.dim() == 2 else tensor for name, tensor in state.items()}


# The names of the convolutions and batch norms of a depthwise separable block and of an inverted residual, in their order.
_TIMM_SEPARABLE = ("conv_dw", "bn1", "conv_pw", "bn2")
_TIMM_INVERTED = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_LITE_SEPARABLE = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2")
_LITE_INVERTED = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
_V2_SEPARABLE = ("conv.0.0", "conv.0.1", "conv.1", "conv.2")
_V2_INVERTED = ("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3")


def block_names(block: MobileBlock, ours: str, theirs: str, separable: tuple[str, ...], inverted: tuple[str, ...]) -> Rename:
    """Returns the names of the convolutions and batch norms of a block.

    Args:
        block: A depthwise separable block or an inverted residual of our network.
        ours: Path of the block in our network.
        theirs: Path of the block in the file.
        separable: Names of the layers in the file, in the order in which they run, if the block is depthwise separable.
        inverted: The same for an inverted residual.
    """
    places = [i for i, layer in enumerate(block) if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    names = separable if len(places) == len(separable) else inverted
    return {f"{ours}.{i}": f"{theirs}.{name}" for i, name in zip(places, names, strict=True)}


def _v3_block(block: MobileBlock, ours: str, theirs: str) -> Rename:
    """Returns the names of the layers of a block in torchvision's MobileNetV3.

    There, each convolution together with its batch norm, and each squeeze-and-excite, has a number in the block.

    Args:
        block: The block of our network.
        ours: Path of the block in our network.
        theirs: Path of the block in the file.
    """
    rename: Rename = {}
    part = -1
    for i, layer in enumerate(block):
        part += isinstance(layer, (nn.Conv2d, SqueezeExcite))
        if isinstance(layer, SqueezeExcite):
            rename |= {f"{ours}.{i}.conv_reduce": f"{theirs}.block.{part}.fc1"}
            rename |= {f"{ours}.{i}.conv_expand": f"{theirs}.block.{part}.fc2"}
        elif isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
            rename[f"{ours}.{i}"] = f"{theirs}.block.{part}.{int(isinstance(layer, nn.BatchNorm2d))}"
    return rename


def _check_bn_eps(model: nn.Module) -> None:
    """Raises KeyFormatError unless all batch norms of `model` have the `eps` of torchvision's network.

    With another `eps` the tensors could be loaded, but the outputs of the network would differ from torchvision's.
    """
    wanted = TORCHVISION_BN_EPS["MobileNetV3" if _is_mobilenet_v3(model) else "ProxylessNet"]
    found = {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    if found != {wanted}:
        has = ", ".join(map(str, sorted(found)))
        raise KeyFormatError(
            f"torchvision trains this network with bn_eps = {wanted:g}, and the model has {has}: its outputs would differ. "
            f"Give the space bn_eps = {wanted:g}"
        )


def _is_mobilenet_v3(model: nn.Module) -> bool:
    """Returns True for a MobileNetV3 and False for a ProxylessNet; only the classifier of the former is an `nn.Sequential`."""
    return isinstance(_child(model, "classifier"), nn.Sequential)


def stages(model: nn.Module, name: str = "blocks") -> list[nn.Module]:
    """Returns the stages of a network, which are the children of its module `name`.

    In a mobile network, each is a block or an `nn.Sequential` of blocks. The last three children of a MobileNetV3, which are no
    stages, are left out.

    Raises:
        KeyFormatError: The model has no such module, or no module `classifier`.
    """
    found = list(_child(model, name).children())
    # In a MobileNetV3 the last convolution, the pooling and the layer after it are also in `blocks`.
    return found[:-3] if _is_mobilenet_v3(model) else found


def _all_blocks(model: nn.Module) -> list[tuple[str, MobileBlock]]:
    """Returns (path in the network, block) for each block of a mobile network, in their order."""
    return [named for s, stage in enumerate(stages(model)) for named in blocks_of(stage, f"blocks.{s}")]


def blocks_of(stage: nn.Module, path: str) -> list[tuple[str, MobileBlock]]:
    """Returns (path in the network, block) for each block of a stage with the path `path`; the stage may itself be a block."""
    if isinstance(stage, MobileBlock):
        return [(path, stage)]
    return [(f"{path}.{i}", block) for i, block in enumerate(stage.children()) if isinstance(block, MobileBlock)]


def _child(model: nn.Module, name: str) -> nn.Module:
    """Returns the submodule `name` of `model`; raises KeyFormatError if it has none."""
    found = getattr(model, name, None)
    if not isinstance(found, nn.Module):
        raise KeyFormatError(f"this key format is for networks with {name!r}; {type(model).__name__} has none")
    return found
