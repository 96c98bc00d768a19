"""Program that checks the job or the arch in a request to the service, before a folder is made for the job or the export.

python -m hubserve.workers.check < REQUEST

REQUEST is a JSON object with "job" (a job definition) and "limits" (a JobLimits), or with "space", "settings", "arch" and
"limits" (an ExportLimits). The program prints a JSON object: {} if the request can be carried out, and else "type", the name
of a class in `hubserve.errors`, and "message".
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch

from hubserve.errors import HubserveError
from hubserve.find_named import REFUSED_OVER_HTTP
from hubserve.hub.registry import get_space
from hubserve.jobs import JobLimits, parse_mapping
from hubserve.jobs.limited_values import check_values
from hubserve.pipeline import check_definition
from hubserve.service.export_folder import ExportLimits
from hubserve.space.building_limit import limit_networks

MOST_CHARACTERS = 2000
"""Length to which the message of an answer is cut: messages quote values of the request, which may be long."""


def answer(request: Mapping[str, Any]) -> dict[str, str]:
    """Checks the request, a parsed REQUEST of this module, and returns the answer to print: {}, or "type" and "message"."""
    try:
        if "job" in request:
            check_definition(parse_mapping(request["job"], where="the definition"), JobLimits.model_validate(request["limits"]))
        else:
            _check_arch(request)
    except HubserveError as error:
        return {"type": type(error).__name__, "message": str(error)[:MOST_CHARACTERS]}
    except (MemoryError, RecursionError, RuntimeError, OverflowError) as error:
        return {"type": "JobError", "message": f"this cannot be built: {type(error).__name__}: {str(error)[:200]}"}
    return {}


def _check_arch(request: Mapping[str, Any]) -> None:
    """Builds the network of an export on the meta device, within the limits. Raises a HubserveError if that fails."""
    limits = ExportLimits.model_validate(request["limits"])
    with limit_networks(modules=limits.modules, parameters=limits.parameters):
        check_values("settings", request["settings"])
        check_values("arch", request["arch"])
        space = get_space(request["space"], request["settings"], refused=None if limits.own_code else REFUSED_OVER_HTTP)
        arch = space.canonical(request["arch"])
        with torch.device("meta"):
            space.freeze(arch)


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
