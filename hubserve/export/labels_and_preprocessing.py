"""Labels and preprocessing of own weights: reads them from files, and writes the warnings about those that are not given."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.cards.card import load_card
from hubserve.errors import ExportError
from hubserve.preprocess import Preprocess
from hubserve.similar_names import suggest
from hubserve.validation_sentence import first_mistake
from hubserve.weights_warning import warn_of_weights

CROP_RATIO = 0.875
"""Ratio of the crop's side to the shorter side after the resize in ImageNet's usual preprocessing: 224 to 256 pixels."""


def read_label_file(path: Path) -> tuple[str, ...]:
    """Returns the labels in a UTF-8 text file with one label per line, in the order of the logits, without spaces around them.

    Raises:
        ExportError: The file cannot be read, is empty, or has an empty line before its last label or the same label twice.
    """
    try:
        lines = [line.strip() for line in read_bounded_text(path).removeprefix("\ufeff").rstrip().split("\n")]
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read the labels in {path}: {error}") from error
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise ExportError(f"line {number} of {path} is empty; a file of labels has one label per line")
        if line in first:
            raise ExportError(
                f"lines {first[line]} and {number} of {path} are both {line!r}; each class needs a label of its own"
            )
        first[line] = number
    return tuple(lines)


def read_preprocess_file(path: Path) -> Preprocess:
    """Returns the preprocessing in a JSON file with the attributes of `Preprocess` as keys, such as `{"input_size": 224}`.

    Raises:
        ExportError: The file cannot be read as JSON, or has an unknown key or a value that is not allowed.
    """
    try:
        found = json.loads(read_bounded_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"cannot read the preprocessing in {path}: {error}") from error
    for key in found if isinstance(found, dict) else ():
        if key not in Preprocess.model_fields:
            raise ExportError(f"{path}: no key of a preprocessing is called {key!r}. {suggest(key, Preprocess.model_fields)}")
    try:
        return Preprocess.model_validate(found)
    except ValidationError as error:
        raise ExportError(f"{path}: {first_mistake(error, whole='its content', show_value=True)}") from error


def own_preprocess(key_format: str | None, settings: Mapping[str, Any], input_size: int) -> Preprocess | None:
    """Returns the preprocessing of the weights that a key format is used for; None if the key format does not determine it.

    The key format "efficientnet-lite", and "timm" with `padding="same"`, are those of weights that were trained in TensorFlow,
    with pixels from -1 to 1 and bicubic resizing.

    Args:
        key_format: Naming scheme of the tensors; None is "nni".
        settings: Settings of the model space, by name.
        input_size: Width and height of the network's input in pixels.
    """
    if key_format != "efficientnet-lite" and not (key_format == "timm" and settings.get("padding") == "same"):
        return None
    sizes = {"input_size": input_size, "resize": usual_resize(input_size)}
    return load_card("efficientnet-lite0").image_preprocess.model_copy(update=sizes)


def usual_resize(input_size: int) -> int:
    """Returns the length of the shorter side after the resize in ImageNet's usual preprocessing, in pixels: 256 for 224."""
    return max(input_size, round(input_size / CROP_RATIO))


def placeholder_labels(classes: int) -> tuple[str, ...]:
    """Returns the labels of classes whose names are not known: "class 0", "class 1" and so on."""
    return tuple(f"class {i}" for i in range(classes))


def warn_of_missing_labels(name: str, classes: int) -> None:
    """Warns, with WeightsWarning, that a model with own weights has no labels, and says how to give them."""
    warn_of_weights(
        f"{name} has no labels: its {classes} classes are called 'class 0' to 'class {classes - 1}'. Give them: at the command "
        "line --labels FILE (one label per line, in the order of the logits) or --like MODEL, in Python class_labels=(...)"
    )


def warn_of_unknown_preprocessing(key_format: str | None, used: Preprocess, own: Preprocess | None) -> None:
    """Warns, with WeightsWarning, that nobody gave the preprocessing of own weights, and says which one they are used with.

    There is no warning for the key format "nni", which is that of the files that hubserve writes.

    Args:
        key_format: Naming scheme of the tensors in the file of weights; None is "nni".
        used: The preprocessing that the weights are used with.
        own: The preprocessing that `own_preprocess` returns for the key format.
    """
    if key_format in (None, "nni"):
        return
    reason = f"that of the key format {key_format!r}" if own == used else "not determined by the key format"
    warn_of_weights(
        f"preprocessing, {reason}: {_values(used)}. If the weights need another, give it: at the command line "
        "--preprocess FILE or --like MODEL, in Python preprocess=Preprocess(...)"
    )


def warn_of_other_preprocessing(name: str, used: Preprocess, own: Preprocess) -> None:
    """Warns, with WeightsWarning, if weights are used with another preprocessing than their own one.

    Args:
        name: Name of the model.
        used: The preprocessing that the weights are used with.
        own: The preprocessing that they were trained with. Only filter, channel order and normalisation are compared.
    """
    if not _same_pixels(own, used):
        warn_of_weights(
            f"{name}: its weights were trained with another preprocessing ({_values(own)}); as given, it is {_values(used)}. "
            "Answers may be wrong, and published accuracies do not hold"
        )


def _values(used: Preprocess) -> str:
    """Returns the attributes of a preprocessing as text: "input_size=224, resize=256" and so on."""
    return ", ".join(f"{key}={value}" for key, value in used.model_dump(mode="json").items())


def _same_pixels(one: Preprocess, other: Preprocess) -> bool:
    """Returns whether filter and channel order are the same, and mean and standard deviation, up to 1 % of the pixel range."""

    def numbers(used: Preprocess) -> list[float]:
        return [value * used.scale for value in (*used.mean, *used.std)]

    close = all(math.isclose(a, b, abs_tol=2.55) for a, b in zip(numbers(one), numbers(other), strict=True))
    return close and (one.interpolation, one.channels) == (other.interpolation, other.channels)
