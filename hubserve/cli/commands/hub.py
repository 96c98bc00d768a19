"""The commands `hubserve spaces`, `hubserve models` and `hubserve draw`, which show what the hub and the store contain."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hubserve.cli.output import MODEL_HELP, SPACE_HELP, Json, Trust, print_facts, print_json, print_table
from hubserve.cli.output_files import check_writable


def spaces(
    space: Annotated[str | None, typer.Argument(help=f"The one to show. {SPACE_HELP}")] = None, as_json: Json = False
) -> None:
    """List the model spaces, or show one."""
    from hubserve.cli.listings import space_page, space_rows

    if space is None:
        rows = space_rows()
        if as_json:
            return print_json(rows)
        table = [(row["name"], row["choices"], row["size"], row["input_size"], row["paper"]) for row in rows]
        return print_table("Model spaces", ("space", "choices", "different archs", "input", "paper"), table)
    page = space_page(space)
    if as_json:
        return print_json(page)
    facts = {name: page[name] for name in ("summary", "paper", "exact_size", "inputs", "settings")}
    print_facts(page["name"], {**facts, "models": ", ".join(page["models"]) or None})
    choices = [(c["label"], ", ".join(map(str, c["candidates"])), c["matters_if"]) for c in page["choices"]]
    return print_table("Choices", ("label", "candidates", "matters if"), choices)


def models(
    model: Annotated[str | None, typer.Argument(help="An alias, a name or tag in the store, or a pre-searched model.")] = None,
    check_sources: Annotated[bool, typer.Option(help="Ask each source of weights, and print its answer.")] = False,
    as_json: Json = False,
) -> None:
    """List the pre-searched models and those in the store, or show one."""
    from hubserve.cli.listings import card_rows, model_page, source_rows, store_rows

    if check_sources:
        asked = source_rows(model)
        if as_json:
            return print_json(asked)
        lines = [[row[column] for column in ("name", "source", "held_to", "here", "answer")] for row in asked]
        return print_table("Sources of weights", ("name", "source", "held to", "here", "answer"), lines)
    if model is not None:
        page = model_page(model)
        return print_json(page) if as_json else print_facts(model, page)
    cards, stored = card_rows(), store_rows()
    if as_json:
        return print_json({"cards": cards, "store": stored})
    table = [(c["name"], c["space"], c["top1"], c["input_size"], _place(c), c["summary"]) for c in cards]
    print_table("Pre-searched models", ("name", "space", "top-1 %", "input px", "weights", "summary"), table)
    columns = ("tag", "space", "weights", "top1", "latency_ms", "created", "problem")
    titles = ("tag", "space", "weights", "top-1 %", "latency ms", "published", "problem")
    return print_table("Models in the store", titles, [[row[column] for column in columns] for row in stored])


def _place(card: dict[str, Any]) -> str:
    """Returns where the weights of a row of `card_rows` are: "here", the source that would be asked first, or "no source"."""
    return "here" if card["weights_here"] else next(iter(card["sources"]), "no source")


def draw(
    model: Annotated[str | None, typer.Argument(help=f"{MODEL_HELP} Or give --space and --arch.")] = None,
    out: Annotated[Path | None, typer.Option(help="Drawing to write (.svg, .png, .pdf); NAME.svg unless given.")] = None,
    space: Annotated[str | None, typer.Option(help=f"{SPACE_HELP} For an arch of your own.")] = None,
    arch: Annotated[Path | None, typer.Option(help="JSON file: label -> value; a random arch unless given.")] = None,
    settings: Annotated[Path | None, typer.Option(help="JSON file: settings of the space.")] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Draw an arch: its cells as graphs, or its blocks in a row.

    hubserve draw darts-v2 --out darts.svg
    """
    from hubserve.cli.model_options import drawn_arch
    from hubserve.drawing import draw as draw_arch

    check_writable(out or Path("drawing.svg"))
    title, built, chosen = drawn_arch(model, space=space, arch=arch, settings=settings, trusted=trust)
    path = out or Path(f"{title}.svg")
    check_writable(path)
    draw_arch(built, chosen, path, title=title)
    return print_json({"path": str(path), "arch": chosen}) if as_json else typer.echo(path)
