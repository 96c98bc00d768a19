"""Switches off the usage reports of the libraries that hubserve stands on.

ONNX Runtime, BentoML, Ray and huggingface_hub report usage to their makers unless an environment variable says otherwise, and
ONNX Runtime writes a device id into the home folder. Each reads its variable when it is imported or started, so the variables
are set when `hubserve` itself is imported, before any of them, and processes that hubserve starts inherit them.
"""

import os

VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment variable -> value that switches off the usage reports of one library."""


def disable_telemetry() -> None:
    """Sets each of `VARIABLES` in this process's environment.

    One that the user has set already is kept, but where HUBSERVE_OFFLINE is set: then nothing is reported in any case.
    """
    offline = os.environ.get("HUBSERVE_OFFLINE", "") not in ("", "0")
    for name, value in VARIABLES.items():
        os.environ[name] = value if offline else os.environ.get(name, value)
