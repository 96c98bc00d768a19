"""What the options of a command select: a model to export, an arch to draw, a classifier to evaluate."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hubserve.accuracy import Classifier, HttpClassifier, LocalClassifier
from hubserve.bounded_files import read_bounded_text
from hubserve.cli.resolve_model import open_package
from hubserve.errors import ArchError, ExportError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.model_source import ModelSource, arch_source
from hubserve.export.named_source import named_source
from hubserve.export.rebuild_model import rebuild_model
from hubserve.hub import HubSpace, get_space, load_card
from hubserve.hub.registry import card_space


def source_of(
    model: str | None,
    *,
    space: str | None,
    arch: Path | None,
    settings: Path | None,
    weights: Path | None,
    key_format: str | None,
    random_weights: bool,
) -> ModelSource:
    """What `export` exports: what `model` means, see `hubserve.export.named_source`, or an arch of a space.

    Raises:
        ExportError: the options do not go together.
        ModelNotFoundError: nothing is called `model`.
    """
    if (model is None) == (space is None) or (space is None) != (arch is None):
        raise ExportError("name a pre-searched model, or give --space together with --arch")
    if weights is not None and random_weights:
        raise ExportError("--weights and --random-weights exclude each other")
    # An option that has no effect is refused: its user expects one.
    if settings is not None and space is None:
        raise ExportError("--settings goes with --space: a pre-searched model has settings of its own")
    if key_format is not None and (weights is None or space is not None):
        raise ExportError("--key-format names the scheme of the tensor names in the file of --weights of a pre-searched model")
    if model is not None:
        return named_source(model, random_weights=random_weights, weights=weights, key_format=key_format)
    given = read_json(settings) if settings is not None else {}
    built = get_space(space or "", given)
    name = arch.stem.lower() if arch is not None else ""
    return arch_source(built, given, read_json(arch), name=name, weights=weights)


def drawn_arch(
    model: str | None, *, space: str | None, arch: Path | None, settings: Path | None
) -> tuple[str, HubSpace, dict[str, Any]]:
    """Title, space and arch of what `draw` draws.

    Raises:
        ExportError: the options do not go together.
    """
    if (model is None) == (space is None) or (model is not None and (arch is not None or settings is not None)):
        raise ExportError("name a pre-searched model, or give --space, with --arch for one arch of it")
    if model is not None:
        card = load_card(model)
        return card.name, card_space(card), card.arch
    built = get_space(space or "", read_json(settings))
    return (arch.stem, built, read_json(arch)) if arch is not None else (type(built).__name__, built, built.random())


def read_json(path: Path | None) -> dict[str, Any]:
    """The object in a JSON file; an empty one for no file. Raises ArchError where it is none."""
    if path is None:
        return {}
    try:
        found = json.loads(read_bounded_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ArchError(f"cannot read {path} as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ArchError(f"{path} holds a {type(found).__name__}; expected an object: name -> value")
    return found


@contextmanager
def classifier_of(model: str, backend: str, url: str | None, *, trusted: bool) -> Iterator[tuple[Classifier, Sequence[str]]]:
    """The classifier that `eval` evaluates, and the labels of its classes."""
    with open_package(model, trusted=trusted) as package:
        if url is not None:
            with closing(HttpClassifier(url, model=model)) as classifier:
                yield classifier, package.labels
            return
        runner = EagerRunner(rebuild_model(package)) if backend == "eager" else package.runner(backend)  # type: ignore[arg-type]
        yield LocalClassifier(runner, package.manifest.preprocess), package.labels
