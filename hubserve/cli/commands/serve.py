"""The command `hubserve serve`, which starts the HTTP service."""

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
    grpc_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port for the Open Inference Protocol over gRPC, at the same address; else none."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve every model in the store over HTTP; stop with Ctrl-C. --json first prints the address and the process id."""
    import os
    import sys

    from pydantic import ValidationError

    from hubserve.errors import ServerStartError
    from hubserve.service.launch import check_grpc, find_address
    from hubserve.service.launch import serve as start
    from hubserve.service.settings import ServiceSettings, sentence

    # Wrong settings are reported here in one sentence; otherwise the server would start and end with a traceback.
    if grpc_port is not None:
        os.environ["HUBSERVE_GRPC_PORT"] = str(grpc_port)
    try:
        settings = ServiceSettings.from_environment()
    except ValidationError as error:
        raise ServerStartError(f"wrong settings: {sentence(error)}") from error
    address = find_address(host, port)
    if settings.grpc_port is not None:
        check_grpc(address, port, settings.grpc_port)
    try:
        from hubserve.store import aliases
        from hubserve.store.bentoml_store import check_folders
        from hubserve.store.stored_models import check_readable
    except Exception as error:  # BentoML reads its configuration at import, and raises exceptions of many types.
        if "BENTOML_CONFIG" not in os.environ:
            raise
        raise ServerStartError(f"BENTOML_CONFIG={os.environ['BENTOML_CONFIG']}: {' '.join(str(error).split())}") from error
    check_readable()
    if model is not None:
        aliases.resolve(model)
    check_folders()
    if as_json:
        print_json({"url": f"http://{host}:{port}", "pid": os.getpid()})
        sys.stdout.flush()
    start(host=address, port=port, model=model)
