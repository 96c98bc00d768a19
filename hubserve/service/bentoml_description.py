"""`bentoml_routes`: describes routes to BentoML's own client, which makes a method of each from /schema.json.

That client calls a route by POST, and has no parameters in paths: so these are the routes that it can call.
"""

from typing import Any

from pydantic import BaseModel

from hubserve.jobs import JobSummary
from hubserve.service.export_folder import ExportRequest, ExportStatus
from hubserve.service.request_images import FIELD
from hubserve.service.request_texts import JsonTexts
from hubserve.service.routes import classify, classify_text, embed, exports, jobs

_FILE = {"type": "file", "format": "image", "description": "An image file, or a list of image files."}
"""The type of a file in BentoML's description. BentoML's client sends such a value as multipart/form-data."""


def bentoml_routes() -> list[dict[str, Any]]:
    """Returns the descriptions of the routes, in the format of `schema` of BentoML's services."""
    return [
        _route(
            classify.classify,
            classify.PATH,
            _images(classify.ClassifyQuery),
            classify.ClassifyResponse,
            classify.ClassifyResponses,
        ),
        _route(
            classify_text.classify_text,
            classify_text.PATH,
            JsonTexts.model_json_schema(),
            classify_text.ClassifyTextResponse,
            classify_text.ClassifyTextResponses,
        ),
        _route(embed.embed, embed.PATH, _images(embed.EmbedQuery), embed.EmbedResponse, embed.EmbedResponses),
        _route(exports.start, "/exports", ExportRequest.model_json_schema(), ExportStatus, name="start_export"),
        _route(jobs.start, "/jobs", jobs.JobRequest.model_json_schema(), JobSummary, name="start_job"),
    ]


def _images(query: type[BaseModel]) -> dict[str, Any]:
    """Returns the schema of a body with images and the parameters of `query`."""
    schema = query.model_json_schema()
    return {**schema, "properties": {FIELD: _FILE, **schema["properties"]}, "required": [FIELD]}


def _route(function: Any, path: str, given: dict[str, Any], *answers: type[BaseModel], name: str = "") -> dict[str, Any]:
    """Returns the description of one route.

    Args:
        function: The function of the route, whose docstring describes it.
        path: Path of the route.
        given: Schema of the arguments.
        answers: Classes of the answers that there may be; the client keeps the keys of all of them.
        name: Name of the method; empty takes that of the function.
    """
    output: dict[str, Any] = {"type": "object", "properties": {}}
    for answer in answers:
        output["properties"] |= answer.model_json_schema(mode="serialization")["properties"]
    name = name or function.__name__
    return {
        "name": name,
        "route": path,
        "doc": function.__doc__,
        "batchable": False,
        "input": given,
        "output": output,
        "is_task": False,
    }
