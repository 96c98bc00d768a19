"""The pages of docs/hub, written from the same data as the tables of the commands: `python scripts/hub_pages.py docs/hub`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hubserve.cli.listings import card_page, space_page
from hubserve.drawing import draw
from hubserve.hub import SPACES, list_cards, load_card
from hubserve.hub.registry import card_space

NOTE = "<!-- Written by scripts/docs; change the card or the docstring instead. -->"


def write(folder: Path) -> None:
    """Writes all pages and drawings into `folder`."""
    (folder / "drawings").mkdir(parents=True, exist_ok=True)
    for name, text in texts({name: card_page(name) for name in list_cards()}).items():
        (folder / name).write_text(text, "utf-8")
    for name in list_cards():
        card = load_card(name)
        draw(card_space(card), card.arch, folder / "drawings" / f"{name}.svg", title=name)


def texts(models: dict[str, dict[str, Any]]) -> dict[str, str]:
    """File name -> page, without the drawings; `models` holds the `card_page` of each card."""
    spaces = {name: space_page(name) for name in SPACES}
    return {
        "README.md": _index(spaces, models),
        **{f"{name}.md": _space(name, page) for name, page in spaces.items()},
        **{f"{name}.md": _model(name, page) for name, page in models.items()},
    }


def _index(spaces: dict[str, dict[str, Any]], models: dict[str, dict[str, Any]]) -> str:
    space_table = _table(
        ("space", "choices", "different archs", "input", "what it is"),
        (
            (f"[{name}]({name}.md)", len(page["choices"]), page["size"], _short_input(page), page["summary"])
            for name, page in spaces.items()
        ),
    )
    model_table = _table(
        ("model", "space", "top-1 %", "params M", "published", "MACs M", "published"),
        (
            (
                f"[{name}]({name}.md)",
                page["space"],
                page["metric"]["top1"] if page["metric"] else "",
                f"{page['params'] / 1e6:.2f}",
                (page["published_size"] or {}).get("params", ""),
                f"{_all_macs(page) / 1e6:.0f}",
                (page["published_size"] or {}).get("macs", ""),
            )
            for name, page in models.items()
        ),
    )
    return _page(
        "The hub",
        f"## Model spaces\n\n{space_table}",
        "## Pre-searched models",
        "Accuracies are the published ones. Parameters and MACs are counted on the network that `freeze` builds, by running it "
        "without numbers; one MAC is a multiplication with its addition, of convolutions, linear layers and attention. Biases, "
        "norms, activations, pooling and element-wise operations count as 0. MACs of models of sequences are those of one "
        "sequence with the lengths on the page of the model. Beside them stands what the authors print, who partly count a "
        "little more.",
        model_table,
    )


def _space(name: str, page: dict[str, Any]) -> str:
    found = [f"- [{model}]({model}.md)" for model in page["models"]]
    choices = _table(
        ("label", "candidates", "matters if"),
        ((f"`{c['label']}`", ", ".join(map(str, c["candidates"])), c["matters_if"]) for c in page["choices"]),
    )
    facts = [
        f"- Paper: <{page['paper']}>",
        f"- Different archs: {page['exact_size']:,}",
        f"- Images: {page['input_size']} x {page['input_size']} px" if page["input_size"] else f"- Inputs: {page['inputs']}",
        f"- Settings: `{page['settings']}`",
    ]
    sections = [page["summary"], "\n".join(facts), f"## Choices\n\n{choices}"]
    return _page(name, *sections, *(["## Pre-searched models\n\n" + "\n".join(found)] if found else []))


def _model(name: str, page: dict[str, Any]) -> str:
    metric = page["metric"]
    facts = [
        f"- Space: [{page['space']}]({page['space']}.md)",
        f"- Paper: <{page['paper']}>",
        f"- Accuracy: {metric['top1']} % top-1 on {metric['dataset']}, as published" if metric else "",
        *(f"- Published with its configuration: {_code(evaluation)}" for evaluation in page["evaluations"] or ()),
        f"- Parameters: {page['params']:,}",
        f"- MACs: {_all_macs(page):,}{_at_lengths(page)}",
        f"- Classes: {page['classes']}" if page["classes"] else "",
        _prepared(page),
        f"- Licence of the weights: {page['licence']}",
        *(f"- Weights: {source}" for source in page["sources"]),
    ]
    arch = _table(("label", "value"), ((f"`{label}`", value) for label, value in page["arch"].items()))
    drawing = f"![{name}](drawings/{name}.svg)"
    return _page(name, page["summary"], "\n".join(fact for fact in facts if fact), drawing, f"## Arch\n\n{arch}")


def _short_input(page: dict[str, Any]) -> str:
    return f"{page['input_size']} px" if page["input_size"] else str(page["inputs"])


def _at_lengths(page: dict[str, Any]) -> str:
    """For which lengths the MACs are, where they depend on any."""
    lengths = page["lengths"] or {}
    return f", for {', '.join(f'{axis} {length}' for axis, length in lengths.items())}" if lengths else ""


def _prepared(page: dict[str, Any]) -> str:
    prepare = page["preprocess"]
    if prepare is None:
        return f"- Inputs: {page['inputs']}"
    return (
        f"- Images: shorter side to {prepare['resize']} px ({prepare['interpolation']}), centre {prepare['input_size']} px, "
        f"{prepare['channels'].upper()}, divided by {prepare['scale']:g}, mean {prepare['mean']}, deviation {prepare['std']}"
    )


def _code(evaluation: str) -> str:
    """The sentence about a published accuracy, with its command and its JSON as code."""
    return re.sub(r"(hubserve export \S+ --preprocess FILE|\{.*\})", r"`\1`", evaluation)


def _all_macs(page: dict[str, Any]) -> int:
    return int(page["macs"]) + int(page["attention_macs"] or 0)


def _page(title: str, *sections: str) -> str:
    return "\n\n".join((NOTE, f"# {title}", *sections)) + "\n"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
