"""Writes the two files with which timm loads a model: config.json, and model.safetensors with tensors in timm's names.

It does so only for archs that timm has: those of the cards whose weights come from a repository of timm.
"""

import json
import math
from pathlib import Path
from typing import Any

from torch import nn

from hubserve.cards.card import list_cards, load_card
from hubserve.errors import HubserveError
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.write_weights import write_weights
from hubserve.hub.mobile_tensor_names import timm as timm_names
from hubserve.hub.registry import SPACES
from hubserve.package.manifest import Manifest
from hubserve.package.package import Package
from hubserve.preprocess import Preprocess

CONFIG, TIMM_WEIGHTS = "config.json", "model.safetensors"

_CROP_MODES = {"crop": "center", "pad": "border", "squash": "squash"}

_OF_THE_HEAD = ("num_labels", "dropout_rate")
"""Settings of a space that a model with other classes, or a fine-tuned one, has changed; the arch of timm stays the same."""


def write_timm_files(package: Package, folder: Path) -> dict[str, Path]:
    """Writes config.json and model.safetensors for timm into a folder, and returns their paths by name.

    The dict is empty, and nothing is written, if timm does not have the arch.

    `timm.create_model("hf-hub:OWNER/NAME", pretrained=True)` and `timm.create_model("local-dir:FOLDER", pretrained=True)` then
    give the logits of the package. A package that has files of these names, or whose preprocessing timm cannot express
    (channels in the order BGR), gets none.

    Args:
        package: The package.
        folder: Existing folder for the files.

    Raises:
        PackageError: The package cannot be rebuilt as a PyTorch module.
        WeightsError: The weights cannot be read, or do not fit the network.
    """
    manifest = package.manifest
    architecture = timm_architecture(manifest)
    if architecture is None or manifest.image_preprocess.channels != "rgb" or {CONFIG, TIMM_WEIGHTS} & set(manifest.files):
        return {}
    model = rebuild_model(package)
    theirs = timm_names(model)
    state = {}
    for key, tensor in model.state_dict().items():
        module, _, name = key.rpartition(".")
        state[f"{theirs[module]}.{name}"] = tensor
    config = _config(package, architecture, model)
    write_weights(state, folder / TIMM_WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return {CONFIG: folder / CONFIG, TIMM_WEIGHTS: folder / TIMM_WEIGHTS}


def timm_architecture(manifest: Manifest) -> str | None:
    """Returns the name that timm gives to the arch of a package, such as "tf_efficientnet_lite0"; None if timm has none."""
    if manifest.space not in SPACES:
        return None
    for name in list_cards():
        card = load_card(name)
        theirs = [source.hub_id for source in card.weights if source.key_format == "timm" and source.hub_id is not None]
        if theirs and card.space == manifest.space and _same_network(manifest, card.settings, card.arch):
            return theirs[0].partition("/")[2].partition(".")[0]
    return None


def _same_network(manifest: Manifest, settings: dict[str, Any], arch: dict[str, Any]) -> bool:
    try:
        ours, wanted = SPACES[manifest.space](**manifest.settings), SPACES[manifest.space](**settings)
    except (HubserveError, TypeError):
        return False
    return _body(ours) == _body(wanted) and _normal(manifest.arch) == _normal(arch)


def _body(space: Any) -> Any:
    return _normal({name: value for name, value in vars(space).items() if name not in _OF_THE_HEAD})


def _normal(value: Any) -> Any:
    """Returns a value as JSON has it, so that tuples and lists, and 4 and 4.0, are the same."""
    return json.loads(json.dumps(value, default=str))


def _config(package: Package, architecture: str, model: nn.Module) -> dict[str, Any]:
    norms = {module.eps for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return {
        "architecture": architecture,
        "num_classes": package.manifest.classes,
        "num_features": linear[-1].in_features,
        "global_pool": "avg",
        "label_names": list(package.labels),
        # The default of timm's function need not be the one that the weights were trained with.
        "model_args": {"bn_eps": norms.pop()} if len(norms) == 1 else {},
        "pretrained_cfg": _pretrained_cfg(package.manifest.image_preprocess, package.manifest.provenance.licence)
        | {"num_classes": package.manifest.classes},
    }


def _pretrained_cfg(given: Preprocess, licence: str | None) -> dict[str, Any]:
    size = [3, given.input_size, given.input_size]
    found = {
        "tag": "hubserve",
        "custom_load": False,
        "input_size": size,
        "fixed_input_size": False,
        "interpolation": given.interpolation,
        "crop_pct": _crop_pct(given.input_size, given.resize) if given.fit == "crop" else 1.0,
        "crop_mode": _CROP_MODES[given.fit],
        # timm's numbers are those of pixel values in [0, 1].
        "mean": [value * given.scale / 255 for value in given.mean],
        "std": [value * given.scale / 255 for value in given.std],
        "first_conv": "conv_stem",
        "classifier": "classifier",
    }
    return found if licence is None else found | {"license": licence}


def _crop_pct(input_size: int, resize: int) -> float:
    """Returns the value of `crop_pct` for which timm resizes to exactly `resize`: it rounds `input_size` / `crop_pct` down."""
    share = input_size / resize
    return share if math.floor(input_size / share) == resize else input_size / (resize + 0.5)
