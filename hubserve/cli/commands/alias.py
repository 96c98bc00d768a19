"""The commands `hubserve alias ...`; an alias is a name for a version in the store, or for two that share the traffic."""

from typing import Annotated

import typer

from hubserve.cli.exit_codes import CommandGroup
from hubserve.cli.output import Json, print_json, print_table

app = CommandGroup(no_args_is_help=True, help="Names such as production that a running service follows.")

Name = Annotated[str, typer.Argument(help="Name of the alias.")]


@app.command("set")
def set_alias(
    name: Name,
    model: Annotated[str, typer.Argument(help="Tag in the store, or a name for its newest version.")],
    canary: Annotated[str | None, typer.Option(help="Tag or name that gets a part of the traffic.")] = None,
    weight: Annotated[int | None, typer.Option(help="Percent of the traffic for the canary, 1 to 99; 10 unless given.")] = None,
    as_json: Json = False,
) -> None:
    """Make an alias a name of a version in the store; a running service follows within a second.

    hubserve alias set production lite0:v2 --canary lite0:v3 --weight 10
    """
    from hubserve.errors import AliasError
    from hubserve.store import aliases

    if canary is None and weight is not None:
        raise AliasError(f"weight = {weight} is the canary's, and there is none; name it with --canary")
    alias = aliases.set_alias(name, model, canary=canary, weight=10 if weight is None else weight)
    meaning = alias.model if alias.canary is None else f"{alias.model}, and {alias.weight} % of its traffic to {alias.canary}"
    return print_json({"name": name, **alias.model_dump()}) if as_json else typer.echo(f"{name} means {meaning}")


@app.command("list")
def list_aliases(as_json: Json = False) -> None:
    """List the aliases."""
    from hubserve.store import aliases

    known = sorted(aliases.list_aliases().items())
    if as_json:
        return print_json([{"name": name, **alias.model_dump()} for name, alias in known])
    rows = [(name, alias.model, alias.canary, alias.weight or None) for name, alias in known]
    return print_table("Aliases", ("alias", "model", "canary", "% of traffic"), rows)


@app.command("delete")
def delete_alias(name: Name, as_json: Json = False) -> None:
    """Remove an alias; the versions that it named stay in the store."""
    from hubserve.store import aliases

    aliases.delete_alias(name)
    return print_json({"deleted": name}) if as_json else typer.echo(f"deleted {name}")
