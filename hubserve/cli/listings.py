"""What `hubserve spaces` and `hubserve models` list, as plain data."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import torch
from pydantic import ValidationError

from hubserve import store
from hubserve.complexity import complexity
from hubserve.errors import ModelNotFoundError, PackageError, SpaceError, suggest
from hubserve.export.named_source import known_names
from hubserve.host import Host
from hubserve.hub import SPACES, HubSpace, list_cards, load_card
from hubserve.hub.registry import card_space
from hubserve.latency.profile_report import ProfileReport
from hubserve.space import Choice, KOf
from hubserve.store import StoredModel, aliases
from hubserve.timing import Percentile


def space_rows() -> list[dict[str, Any]]:
    """One row a model space."""
    return [_space_row(name, space()) for name, space in SPACES.items()]


def space_page(name: str) -> dict[str, Any]:
    """All of one model space. Raises SpaceError for an unknown name."""
    if name not in SPACES:
        raise SpaceError(f"no model space is called {name!r}. {suggest(name, SPACES)}")
    space = SPACES[name]()
    summary = (inspect.getdoc(SPACES[name]) or "").split("\n\n")[0].replace("\n", " ")
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
    return {**_space_row(name, space), "summary": summary, "settings": settings, "models": models, "choices": choices}


def _space_row(name: str, space: HubSpace) -> dict[str, Any]:
    return {
        "name": name,
        "choices": len(space.choices),
        "size": f"{space.count():.3g}" if space.count() > 10**9 else str(space.count()),
        "exact_size": space.count(),
        "input_size": space.input_size,
        "paper": space.paper,
    }


def _conditions(choice: Choice) -> str:
    """Why a choice matters, in words; empty where it always does."""
    alternatives = (
        " and ".join(f"{label} is {' or '.join(map(str, values))}" for label, values in alternative)
        for alternative in choice.conditions
    )
    return "; or ".join(alternatives)


def card_rows() -> list[dict[str, Any]]:
    """One row a pre-searched model."""
    cards = [load_card(name) for name in list_cards()]
    return [
        {
            "name": card.name,
            "space": card.space,
            "dataset": card.metric.dataset if card.metric else None,
            "top1": card.metric.top1 if card.metric else None,
            "input_size": card.preprocess.input_size,
            "summary": card.summary,
        }
        for card in cards
    ]


def store_rows() -> list[dict[str, Any]]:
    """One row a version in the store, newest first; a corrupt one has its problem and no figures."""
    return [
        {"tag": model.tag, **_figures(model), "created": model.created.isoformat(timespec="seconds")}
        for model in store.list_models()
    ]


def _figures(model: StoredModel) -> dict[str, Any]:
    """Space, kind of weights, top-1 accuracy in percent, and median latency of the ONNX format in milliseconds."""
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
    """The median latency of the ONNX format; None without a profile, or one with too few samples for a median."""
    try:
        report = ProfileReport.model_validate(profile)
    except ValidationError:
        return None
    medians = [p.value for row in report.forms if row.form == "onnx" for p in row.percentiles if p.percent == 50]
    return round(medians[0], 3) if medians and medians[0] is not None else None


def model_page(name: str) -> dict[str, Any]:
    """All of one version in the store, by alias, name or tag, or else of one card. Raises ModelNotFoundError."""
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


def card_page(name: str) -> dict[str, Any]:
    """All of one card; parameters and MACs are counted, for one image, not copied from the paper."""
    card = load_card(name)
    size = card.preprocess.input_size
    with torch.device("meta"):
        model = card_space(card).freeze(card.arch)
    work = complexity(model, (3, size, size))
    return {
        "summary": card.summary,
        "space": card.space,
        "paper": card.paper,
        "licence": card.licence,
        "metric": card.metric.model_dump(exclude_none=True) if card.metric else None,
        "params": work.params,
        "macs": work.macs,
        "attention_macs": work.attention_macs or None,
        "published_size": card.published_size.model_dump(exclude_none=True) if card.published_size else None,
        "classes": card.classes,
        "preprocess": card.preprocess.model_dump(),
        "sources": [source.describe() for source in card.weights],
        "settings": card.settings,
        "arch": card.arch,
    }


STOPS = {"samples": "enough calls", "max_seconds": "time"}
WARM_UPS = {"steady": "steady", "cap": "not steady"}


def latency_rows(report: ProfileReport) -> list[tuple[str, ...]]:
    """One row a measure, one column a form; a percentile without enough samples says how many it needs."""
    measures: dict[str, list[str]] = {"calls measured": [str(form.n) for form in report.forms]}
    for place, percent in enumerate(p.percent for p in report.forms[0].percentiles):
        found = [form.percentiles[place] for form in report.forms]
        measures[f"p{percent:g} ms"] = [_percentile(p) for p in found]
    measures["mean ms"] = [f"{form.mean_ms:.2f}" for form in report.forms]
    measures["images/s"] = [f"{form.images_per_second:.1f}" for form in report.forms]
    measures["stopped by"] = [STOPS[form.stopped_by] for form in report.forms]
    measures["warm-up calls"] = [f"{form.warm_up_calls} ({WARM_UPS[form.warm_up_ended]})" for form in report.forms]
    measures["load ms"] = [f"{form.load_ms:.0f}" for form in report.forms]
    measures["first call ms"] = [f"{form.first_call_ms:.0f}" for form in report.forms]
    peaks = {memory.form: f"{memory.peak_mib:.0f} (+{memory.delta_mib:.0f})" for memory in report.memory}
    if peaks:
        measures["peak memory MiB"] = [peaks.get(form.form, "") for form in report.forms]
    measures["verdict"] = [form.verdict for form in report.forms]
    return [(name, *values) for name, values in measures.items()]


def host_rows(host: Host) -> list[tuple[str, str]]:
    """What decides about times, a line each; what the machine does not tell is left out."""
    quota = None if host.cpu_quota is None else f", of which the container may use {host.cpu_quota:g}"
    cores = f"{host.cores}{quota or ''}{', two may share one' if host.smt else ''}"
    known = {
        "cpu": host.cpu,
        "cores": cores,
        "clock, MHz": None if host.mhz is None else f"{host.mhz:.0f}",
        "governor": host.governor,
        "vector extensions": " ".join(host.flags),
        "memory, GiB": None if host.memory_gib is None else f"{host.memory_gib:g}",
        "load before": None if host.load_before is None else f"{host.load_before:g}",
        "system": f"{host.system}{', in a container' if host.container else ''}",
        "gpu": host.gpu and f"{host.gpu}, {host.gpu_driver}",
        "environment": " ".join(f"{name}={value}" for name, value in host.environment.items()),
        "software": ", ".join(f"{name} {version}" for name, version in host.versions.items()),
    }
    return [(name, value) for name, value in known.items() if value]


def _percentile(found: Percentile) -> str:
    if found.value is None:
        return f"n/a (needs {found.needs:,})"
    return f"{found.value:.2f} (<= {found.upper_bound:.2f})"
