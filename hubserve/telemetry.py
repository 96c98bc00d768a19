"""Switches off the usage reports of the libraries that hubserve depends on.

ONNX Runtime, BentoML, Ray and huggingface_hub report usage to their makers unless an environment variable prevents it, and
ONNX Runtime writes a device id into the home folder. Each reads its variable when it is imported or started. Therefore the
variables are set when `hubserve` is imported, before these libraries are; processes that hubserve starts inherit them.
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
    """Sets each of `VARIABLES` in the environment of this process.

    A variable that is already set keeps its value, unless HUBSERVE_OFFLINE is set (to a value other than 0): then all reports
    are switched off.
    """
    offline = os.environ.get("HUBSERVE_OFFLINE", "") not in ("", "0")
    for name, value in VARIABLES.items():
        os.environ[name] = value if offline else os.environ.get(name, value)
