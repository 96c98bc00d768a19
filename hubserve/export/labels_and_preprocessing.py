"""Labels and preprocessing of own weights: reads them from files, and writes the warnings about those that are not given."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.cards.card import load_card
from hubserve.errors import ExportError, suggest
from hubserve.preprocess import Preprocess
from hubserve.validation_sentence import first_mistake

CROP_RATIO = 0.875
"""Ratio of the crop's side to the shorter side after the resize in ImageNet's usual preprocessing: 224 to 256 pixels."""


def read_label_file(path: Path) -> tuple[str, ...]:
    """Returns the labels in a UTF-8 text file with one label per line, in the order of the logits.

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
    return load_card("efficientnet-lite0").preprocess.model_copy(update=sizes)


def usual_resize(input_size: int) -> int:
    """Returns the length of the shorter side after the resize in ImageNet's usual preprocessing, in pixels: 256 for 224."""
    return max(input_size, round(input_size / CROP_RATIO))


def label_note(name: str, classes: int) -> str:
    """Returns the warning that a package from own weights has no labels, and how to give them."""
    return (
        f"WARNING: {name} has no labels: its {classes} classes are called 'class 0' to 'class {classes - 1}'. "
        "Give --labels FILE (one label per line, in the order of the logits) or --like MODEL"
    )


def preprocess_note(key_format: str | None, used: Preprocess, own: Preprocess | None, *, given: bool) -> str | None:
    """Returns a message on the preprocessing that own weights are exported with; None if there is nothing to be checked.

    Args:
        key_format: Naming scheme of the tensors in the file of weights; None is "nni".
        used: The preprocessing that is written to the package.
        own: The preprocessing that `own_preprocess` returns for the key format.
        given: Whether the caller chose the preprocessing.
    """
    values = ", ".join(f"{key}={value}" for key, value in used.model_dump(mode="json").items())
    if given:
        if own is None or _same_pixels(own, used):
            return None
        return (
            f"WARNING: weights of the key format {key_format!r} are usually trained with another preprocessing "
            f"({', '.join(f'{key}={value}' for key, value in own.model_dump(mode='json').items())}); as given, it is {values}"
        )
    if key_format in (None, "nni"):
        return None
    reason = f"that of the key format {key_format!r}" if own == used else "not determined by the key format"
    return f"WARNING: preprocessing, {reason}: {values}. If the weights need another, give --preprocess FILE or --like MODEL"


def _same_pixels(one: Preprocess, other: Preprocess) -> bool:
    """Returns whether two preprocessings resize with the same filter and normalise alike, up to 1 % of the pixel range."""

    def numbers(used: Preprocess) -> list[float]:
        return [value * used.scale for value in (*used.mean, *used.std)]

    close = all(math.isclose(a, b, abs_tol=2.55) for a, b in zip(numbers(one), numbers(other), strict=True))
    return close and (one.interpolation, one.channels) == (other.interpolation, other.channels)
