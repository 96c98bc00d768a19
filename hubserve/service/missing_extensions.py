"""Names the extensions of the Open Inference Protocol that this service lacks, for the answer 404 to a request for one."""

import re

MISSING = (
    (r"(/models/[^/]+(/versions/[^/]+)?|/models)/stats", "statistics", "/metrics has the numbers of each version"),
    (r"/repository/models/[^/]+/unload", "model_repository", "a model is unloaded when the memory for models is used up"),
    (r"(/models/[^/]+)?/trace/setting", "trace", "the settings of the server say what is traced"),
    (r"/logging", "logging", "the settings of the server say what is logged"),
    (r"/systemsharedmemory(/.*)?", "system_shared_memory", "send tensors in JSON, or as bytes after it"),
    (r"/cudasharedmemory(/.*)?", "cuda_shared_memory", "send tensors in JSON, or as bytes after it"),
    (r"/models/[^/]+(/versions/[^/]+)?/generate(_stream)?", "generate", "the models of this service classify images"),
)
"""Extensions that this service lacks: a pattern of their paths below /v2, their name, and what there is instead."""


def missing_extension(path: str) -> str | None:
    """Returns a sentence that names the extension of the protocol that has `path`, and what this service has instead.

    Returns None if no extension in `MISSING` has the path, which is that of the whole request, such as "/v2/logging".
    """
    for pattern, name, instead in MISSING:
        if re.fullmatch(f"/v2{pattern}", path):
            return f"this service does not have the extension {name!r} of the protocol: {instead}"
    return None
