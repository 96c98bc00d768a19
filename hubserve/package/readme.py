"""Writes the text of README.md, the model card that is pushed with a package: accuracy, labels, preprocessing, use, provenance.

The card begins with front matter in YAML, which the Hugging Face hub reads. README.md is not part of the package, so its owner
may edit it afterwards.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from hubserve.cards.card import list_cards, load_card
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.package.manifest import Manifest, Provenance
from hubserve.package.package import Package
from hubserve.package.text_tokenizer import TOKENIZER

README = "README.md"
"""File name of the model card."""

_KINDS = {"image-classification": "An image classifier", "text-classification": "A text classifier"}
_ITEMS = {"image-classification": "images", "text-classification": "texts"}

MOST_LABELS = 100
"""Largest number of classes that the model card lists by name."""

_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "bsd-2-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0")
"""Identifiers of licences on the Hugging Face hub; for a licence that begins with none of them the card says "other"."""


def readme(package: Package, url: str, *, timm: bool = False) -> str:
    """Returns the model card of a package in Markdown, with front matter in YAML.

    Args:
        package: The package.
        url: Address from which the package will be pulled, for the examples in the card.
        timm: Whether files from which timm can load the model are pushed with the package.

    Raises:
        PackageError: labels.txt, parity.json or accuracy.json of the package cannot be read.
    """
    manifest, task = package.manifest, _task(package)
    front = yaml.safe_dump(_front_matter(package, timm), sort_keys=False, allow_unicode=True)
    kind = _KINDS.get(task or "", "A classifier" if manifest.classes else "A model")
    classes = f" with {manifest.classes} classes" if manifest.classes else ""
    parts = [
        f"---\n{front}---",
        f"# {_text(manifest.name)}",
        f"{kind}{classes}: an arch of the model space {_text(manifest.space)}, exported by hubserve as "
        f"{', '.join(manifest.exports)}.",
        "## Accuracy",
        *_accuracy(package),
        "## Use",
        *_use(package, url, timm),
        *(["## Preprocessing", _preprocessing(manifest)] if manifest.classifies_images else ["## Inputs", *_tensors(manifest)]),
        *([f"## Classes ({manifest.classes})", _labels(package.labels)] if manifest.classes else []),
        "## Exported formats",
        _formats(package),
        "## Provenance",
        *_provenance(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(package: Package, timm: bool) -> dict[str, Any]:
    manifest = package.manifest
    source = manifest.provenance
    found: dict[str, Any] = {}
    if source.licence is not None:
        named = next((name for name in _LICENCES if re.match(rf"{re.escape(name)}(?![\w.-])", source.licence.lower())), "other")
        found["license"] = named
        if named == "other":
            found["license_name"] = source.licence
    found["library_name"] = "timm" if timm else "hubserve"
    task = _task(package)
    if task is not None:
        found["pipeline_tag"] = task
    found["tags"] = [
        "hubserve",
        *([] if task is None else [task]),
        "neural-architecture-search",
        *(["timm"] if timm else []),
        *manifest.exports,
    ]
    if (base := _base_model(source)) is not None:
        found["base_model"] = base
    report = package.accuracy
    if report is not None:
        found["model-index"] = [{"name": manifest.name, "results": [_result(report, task)]}]
    return found


def _base_model(source: Provenance) -> str | None:
    """Returns the Hugging Face repository of the published weights that a fine-tuning started from; None if there is none."""
    start = source.fine_tuning.get("start")
    if source.fine_tuning.get("start_weights") != "published" or start not in list_cards():
        return None
    return next((weights.hub_id for weights in load_card(start).weights if weights.hub_id is not None), None)


def _task(package: Package) -> str | None:
    """Returns the name of the model's task on the Hugging Face hub; None for a model that takes neither images nor texts."""
    if package.manifest.classifies_images:
        return "image-classification"
    return "text-classification" if package.manifest.classifies_texts and TOKENIZER in package.manifest.files else None


def _result(report: AccuracyReport, task: str | None) -> dict[str, Any]:
    return {
        "task": {"type": task or "other"},
        "dataset": {"name": report.dataset, "type": "own", "split": "test"},
        "metrics": [{"type": "accuracy", "value": round(report.top1, 6)}],
    }


def _accuracy(package: Package) -> Iterator[str]:
    report, published = package.accuracy, package.manifest.provenance.metric
    if report is None and published is None:
        yield f"It was not measured on test {_ITEMS.get(_task(package) or '', 'data')}."
    if report is not None:
        low, high = report.top1_interval
        yield (
            f"**{report.top1:.1%}** top-1 (95 % interval {low:.1%} to {high:.1%}) of {report.images} test {report.items} of "
            f"{_text(report.dataset)}, with which nothing was trained or chosen. Expected calibration error of the "
            f"probabilities: {report.calibration_error:.3f}."
        )
        if report.notes:
            yield "\n".join(f"- {_text(note)}" for note in report.notes)
        if len(report.classes) <= MOST_LABELS:
            rows = [
                (_text(entry.label), str(entry.images), _percent(entry.precision), _percent(entry.recall))
                for entry in report.classes
            ]
            yield _table(("class", f"test {report.items}", "precision", "recall"), rows)
    elif published is not None:
        top5 = "" if published.top5 is None else f", {published.top5} % top-5"
        yield f"{published.top1} % top-1{top5} on {_text(published.dataset)}, as published; not measured on this package."


def _use(package: Package, url: str, timm: bool) -> Iterator[str]:
    manifest = package.manifest
    name = re.sub(r"[^a-z0-9._-]+", "-", manifest.name.lower()).strip("-._") or "model"
    if _task(package) == "text-classification":
        yield from _use_texts(url, name)
        return
    if not manifest.classifies_images:
        yield (
            f"```sh\npip install hubserve\nhubserve pull {url} --name {name}\n"
            f"hubserve serve  # POST /v2/models/{name}/infer\n```"
        )
        arguments = ", ".join(entry.name for entry in manifest.inputs)
        yield (
            f'```python\nimport hubserve\n\nmodel = hubserve.store.resolve("{name}").package.tensor_runner("onnx")\n'
            f"outputs = model.run([{arguments}])  # Arrays of numpy.\n```"
        )
        return
    yield (
        f"```sh\npip install hubserve\nhubserve pull {url} --name {name}\nhubserve predict {name} photo.jpg\n"
        f"hubserve serve  # POST /classify?model={name}\n```"
    )
    yield (
        f'```python\nimport hubserve\n\nhubserve.store.pull("{url}", name="{name}")\n'
        f'model = hubserve.load("{name}")\nmodel("photo.jpg")\n```'
    )
    yield (
        "`pull` compares every file with the hash in `manifest.json`. TorchScript and `.pt2` files are programs: they are "
        "loaded only with `--trust`."
    )
    if timm and url.startswith("hf://"):
        place = url.removeprefix("hf://")
        yield f'```python\nimport timm\n\nmodel = timm.create_model("hf-hub:{place}", pretrained=True)\n```'


def _use_texts(url: str, name: str) -> Iterator[str]:
    yield (
        f'```sh\npip install "hubserve[text]"\nhubserve pull {url} --name {name}\n'
        f'hubserve predict {name} --text "a good film"\n'
        f"hubserve serve  # POST /classify-text?model={name}\n```"
    )
    yield (
        "```python\nimport hubserve\nfrom hubserve.package.text_classifier import text_classifier\n\n"
        f'classifier = text_classifier(hubserve.store.resolve("{name}").package)\nclassifier.classify(["a good film"])\n```'
    )


def _tensors(manifest: Manifest) -> Iterator[str]:
    """Yields tables of the inputs and outputs."""
    rows = [
        (
            _text(entry.name),
            entry.dtype,
            _text(" x ".join(map(str, entry.shape))),
            " to ".join("any" if limit is None else str(limit) for limit in (entry.lowest, entry.highest)),
            "" if entry.padding is None else str(entry.padding),
        )
        for entry in manifest.inputs
    ]
    yield _table(("input", "type", "shape", "values", "padding"), rows)
    outputs = [(_text(entry.name), entry.dtype, _text(" x ".join(map(str, entry.shape)))) for entry in manifest.outputs]
    yield _table(("output", "type", "shape"), outputs)


def _preprocessing(manifest: Manifest) -> str:
    given = manifest.image_preprocess
    fits = {
        "crop": f"the shorter side is resized to {given.resize} pixels, and the centre is cropped",
        "pad": "the longer side is resized to that size, and a border is added",
        "squash": "both sides are resized to that size",
    }
    text = (
        f"Images of {given.input_size} x {given.input_size} pixels, {given.interpolation}: {fits[given.fit]}. Channels are in "
        f"the order {given.channels.upper()}; pixel values 0..255 are divided by {given.scale:g}, then mean "
        f"{list(given.mean)} is subtracted, and the result is divided by std {list(given.std)}."
    )
    if manifest.temperature is None:
        return text
    return f"{text} The logits are divided by the temperature {manifest.temperature:.4g} before the softmax."


def _labels(labels: Sequence[str]) -> str:
    shown = ", ".join(_text(label) for label in labels[:MOST_LABELS])
    more = len(labels) - MOST_LABELS
    return f"{shown}, and {more} more in `labels.txt`" if more > 0 else shown


def _formats(package: Package) -> str:
    rows = [
        (report.format, f"{report.max_abs_error:.2g}", f"{report.scale:.3g}", f"{report.top1_agreement:.1%}")
        for report in package.parity
    ]
    columns = ("format", "largest difference of a logit from eager PyTorch", "standard deviation of logits", "same best class")
    return _table(columns, rows)


def _provenance(manifest: Manifest) -> Iterator[str]:
    source = manifest.provenance
    facts = {
        "origin": source.origin,
        "weights": source.weights,
        "licence of the weights": source.licence or "not known",
        "paper": source.paper,
        **_plain("search", source.search),
        **_plain("fine-tuning", source.fine_tuning),
        "written with": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    }
    yield _table(("", ""), [(_text(name), _text(str(value))) for name, value in facts.items() if value is not None])
    yield "The arch, the settings of its space and the whole provenance are in `manifest.json`."


def _plain(what: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries of `facts` whose values are not lists or dictionaries, with "`what`: " before each name."""
    return {f"{what}: {name}": value for name, value in facts.items() if not isinstance(value, (dict, list))}


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _text(text: str) -> str:
    """Returns `text` on one line, with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", " ".join(text.split()))
