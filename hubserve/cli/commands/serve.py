"""`hubserve serve`: the HTTP service."""

from typing import Annotated

import typer

from hubserve.cli.output import Json, print_json


def serve(
    host: Annotated[str, typer.Option(help="Address to bind; only this machine reaches the default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to bind.")] = 3000,
    model: Annotated[
        str | None,
        typer.Option(help="Name, tag or alias that answers if a request names none; else the alias production, or the newest."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve every model in the store over HTTP; stop with Ctrl-C. --json first prints the address and the process."""
    import os
    import sys

    from hubserve.service.launch import serve as start
    from hubserve.service.settings import ServiceSettings
    from hubserve.store import aliases

    ServiceSettings.from_environment()  # A wrong setting is reported here, not by a server that restarts over and over.
    if model is not None:
        aliases.resolve(model)
    if as_json:
        print_json({"url": f"http://{host}:{port}", "pid": os.getpid()})
        sys.stdout.flush()
    start(host=host, port=port, model=model)
