"""Checks what a request names, before a folder is made for it: the parts of a job, or the arch of an export.

python -m hubserve.workers.check < REQUEST

REQUEST is a JSON object with a "job" (a job definition) or with "space", "settings" and "arch". The answer on stdout is a JSON
object: {} where everything is in order, otherwise "type", the name of a class in `hubserve.errors`, and "message".
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from hubserve.errors import HubserveError
from hubserve.hub.registry import get_space
from hubserve.jobs import Job
from hubserve.pipeline import check_definition


def answer(request: Mapping[str, Any]) -> dict[str, str]:
    """The answer to a request; see the module."""
    try:
        if "job" in request:
            check_definition(Job.model_validate(request["job"]))
        else:
            get_space(request["space"], request["settings"]).canonical(request["arch"])
    except HubserveError as error:
        return {"type": type(error).__name__, "message": str(error)}
    return {}


if __name__ == "__main__":
    print(json.dumps(answer(json.load(sys.stdin))))
