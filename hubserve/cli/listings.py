"""Collects the data that `hubserve spaces` and `hubserve models` print, as dicts and lists."""

import inspect
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import torch
from pydantic import ValidationError

from hubserve import store
from hubserve.cards.card import Card
from hubserve.complexity import complexity
from hubserve.errors import ModelNotFoundError, PackageError, SpaceError
from hubserve.export.named_package import known_names
from hubserve.find_named import entry_point_names
from hubserve.hub import SPACES, HubSpace, get_space, list_cards, load_card
from hubserve.hub.own_space import SPACE_KIND
from hubserve.hub.registry import card_space
from hubserve.hub.weights_availability import ask, here, on_this_machine
from hubserve.latency.profile_report import ProfileReport
from hubserve.package.manifest import InputEntry
from hubserve.similar_names import suggest
from hubserve.space import Choice, KOf
from hubserve.store import StoredModel, aliases

ASKED_AT_ONCE = 8
"""Number of sources of weights that are asked at the same time."""


def space_rows() -> list[dict[str, Any]]:
    """Returns one row for each model space of the hub and of entry points, as a dict."""
    rows = [_space_row(name, space()) for name, space in SPACES.items()]
    return [*rows, *(_entry_point_row(name) for name in entry_point_names(SPACE_KIND) if name not in SPACES)]


def _entry_point_row(name: str) -> dict[str, Any]:
    """Returns the row of the space of an entry point; one that cannot be imported has the reason in place of the paper."""
    try:
        return _space_row(name, get_space(name))
    except SpaceError as error:
        return dict.fromkeys(("choices", "size", "exact_size", "input_size")) | {"name": name, "paper": str(error)}


def space_page(name: str) -> dict[str, Any]:
    """Returns all data about one model space: the row of `space_rows`, summary, settings, models and choices.

    Raises:
        SpaceError: There is no space of that name, or it cannot be imported.
    """
    space = get_space(name)
    summary = (inspect.getdoc(type(space)) or "").split("\n\n")[0].replace("\n", " ")
    settings = ", ".join(f"{f.name} = {getattr(space, f.name)}" for f in fields(space))  # type: ignore[arg-type]
    choices = [
        {
            "label": c.label,
            "kind": type(c).__name__,
            "candidates": list(c.candidates),
            "n_chosen": c.n_chosen if isinstance(c, KOf) else None,
            "matters_if": _conditions(c),
        }
        for c in space.choices.values()
    ]
    models = [model for model in list_cards() if load_card(model).space == name]
    page = {"summary": summary, "inputs": described(space.inputs), "settings": settings, "models": models, "choices": choices}
    return {**_space_row(name, space), **page}


def _space_row(name: str, space: HubSpace) -> dict[str, Any]:
    return {
        "name": name,
        "choices": len(space.choices),
        "size": f"{space.count():.3g}" if space.count() > 10**9 else str(space.count()),
        "exact_size": space.count(),
        "input_size": space.input_size if space.takes_images else None,
        "paper": space.paper,
    }


def described(inputs: Sequence[InputEntry]) -> str:
    """Returns the inputs of a network as text, such as `tokens (batch, length) int64`."""
    return ", ".join(f"{each.name} ({', '.join(map(str, each.shape))}) {each.dtype}" for each in inputs)


def _conditions(choice: Choice) -> str:
    """Returns the condition under which a choice has an effect, such as "depth is 3 or 4"; empty if it always has."""
    alternatives = (
        " and ".join(f"{label} is {' or '.join(map(str, values))}" for label, values in alternative)
        for alternative in choice.conditions
    )
    return "; or ".join(alternatives)


def card_rows() -> list[dict[str, Any]]:
    """Returns one row for each pre-searched model, as a dict."""
    cards = [load_card(name) for name in list_cards()]
    return [
        {
            "name": card.name,
            "space": card.space,
            "dataset": card.metric.dataset if card.metric else None,
            "top1": card.metric.top1 if card.metric else None,
            "input_size": card.preprocess.input_size if card.preprocess else None,
            "summary": card.summary,
            "weights_here": on_this_machine(card.weights),
            "sources": [source.describe() for source in card.weights],
        }
        for card in cards
    ]


def source_rows(model: str | None) -> list[dict[str, Any]]:
    """Asks each source of one pre-searched model, or of all for None, and returns one row for each source with its answer.

    Several sources are asked at the same time.

    Raises:
        CardError: There is no pre-searched model of that name.
    """
    cards = [load_card(name) for name in ([model] if model is not None else list_cards())]
    sources = [(card.name, source) for card in cards for source in card.weights]
    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        answers = list(pool.map(ask, (source for _, source in sources)))
    return [
        {
            "name": name,
            "source": source.describe(),
            "held_to": source.held_to(),
            "here": here(source),
            "usable": answer.usable,
            "answer": answer.text,
        }
        for (name, source), answer in zip(sources, answers, strict=True)
    ]


def store_rows() -> list[dict[str, Any]]:
    """Returns one row for each version in the store, as a dict, the newest first.

    The row of a corrupt version has the reason under "problem" and None for its other properties.
    """
    return [{"tag": m.tag, **_figures(m), "created": m.created.isoformat(timespec="seconds")} for m in store.list_models()]


def _figures(model: StoredModel) -> dict[str, Any]:
    """Returns the columns of a version that come from its package.

    They are the space, the origin of the weights, the top-1 accuracy in percent, the median latency of the format "onnx" in
    milliseconds, and the problem that prevents reading the package; a value that is not known is None.
    """
    try:
        manifest, profile = model.package.manifest, model.package.profile
    except PackageError as error:
        return {"space": None, "weights": None, "top1": None, "latency_ms": None, "problem": str(error)}
    metric = manifest.provenance.metric
    return {
        "space": manifest.space,
        "weights": manifest.provenance.weights,
        "top1": metric.top1 if metric else None,
        "latency_ms": _median_ms(profile),
        "problem": None,
    }


def _median_ms(profile: dict[str, Any] | None) -> float | None:
    """Returns the median latency of the format "onnx" in milliseconds; None if the profile is missing or has no median."""
    try:
        report = ProfileReport.model_validate(profile)
    except ValidationError:
        return None
    medians = [p.value for row in report.formats if row.format == "onnx" for p in row.percentiles if p.percent == 50]
    return round(medians[0], 3) if medians and medians[0] is not None else None


def model_page(name: str) -> dict[str, Any]:
    """Returns all data about one version in the store, or else about one card.

    Args:
        name: Alias, name or tag in the store, or name of a card.

    Raises:
        ModelNotFoundError: No model has that name.
        PackageError: The package of the version is corrupt.
        StoreError: The store, or the file of aliases (AliasError), cannot be read.
    """
    try:
        stored = aliases.resolve(name)
    except ModelNotFoundError as error:
        if name in list_cards():
            return card_page(name)
        raise ModelNotFoundError(
            f"{name!r} is no alias, no model in the store, and no pre-searched model. {suggest(name, known_names())}"
        ) from error
    manifest = stored.package.manifest.model_dump(mode="json", exclude={"files"})
    return {"tag": stored.tag, "path": str(stored.path), "created": stored.created.isoformat(timespec="seconds"), **manifest}


def evaluations(card: Card) -> list[str]:
    """Returns a sentence for each published accuracy of a card with several: which configuration gives it, and how to get it.

    The list is empty for a card with one accuracy, or none.
    """
    if card.metric is None or not card.other_evaluations:
        return []
    filter_of_card = card.image_preprocess.interpolation
    found = [f"{card.metric.top1} % top-1 by NNI, with {filter_of_card} resizing: the preprocessing of this card"]
    for other in card.other_evaluations:
        how = other.note
        if other.interpolation is not None:
            changed = card.image_preprocess.model_copy(update={"interpolation": other.interpolation})
            used = changed.model_dump(exclude_defaults=True)
            how = f"with {other.interpolation} resizing: hubserve export {card.name} --preprocess FILE, with {json.dumps(used)}"
        found.append(f"{other.top1} % top-1 by {other.by}, {how}")
    return found


def card_page(name: str) -> dict[str, Any]:
    """Returns all data about one card; parameters and MACs are counted on the network, not read from the card.

    The MACs are those of one image, or of one sequence with the `usual_lengths` of the space.

    Raises:
        CardError: There is no card of that name.
    """
    card = load_card(name)
    space = card_space(card)
    with torch.device("meta"):
        model = space.freeze(card.arch)
    size = card.preprocess.input_size if card.preprocess else None
    work = complexity(model, (3, size, size) if size else space.cost_inputs())
    return {
        "summary": card.summary,
        "space": card.space,
        "paper": card.paper,
        "licence": card.licence,
        "metric": card.metric.model_dump(exclude_none=True) if card.metric else None,
        "evaluations": evaluations(card) or None,
        "params": work.params,
        "macs": work.macs,
        "attention_macs": work.attention_macs or None,
        "published_size": card.published_size.model_dump(exclude_none=True) if card.published_size else None,
        "classes": card.classes,
        "inputs": described(space.inputs),
        "lengths": space.cost_lengths or None,
        "preprocess": card.preprocess.model_dump() if card.preprocess else None,
        "sources": [source.describe() for source in card.weights],
        "settings": card.settings,
        "arch": card.arch,
    }
