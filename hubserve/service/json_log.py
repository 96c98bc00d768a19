"""`use_json_lines`: makes each line of the server's log a JSON object, with the id of the request that it belongs to."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from hubserve.service.request_identity import CURRENT

LOGGERS = ("", "bentoml", "uvicorn.error", "circus")
"""Loggers to which BentoML gives handlers of their own; "" is the root logger, to which ours pass their records."""

FIELDS = "fields"
"""Attribute of a log record with a dict of further keys of its JSON object."""


class JsonLineFormatter(logging.Formatter):
    """Formats a log record as one line with a JSON object.

    Its keys are "time" (ISO 8601, UTC), "level", "logger" and "message"; within a request "request_id", and if it is traced
    "trace_id" and "span_id"; "traceback" if there is one; and those of the record's `FIELDS`.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request := CURRENT.get()) is not None:
            line["request_id"] = request.id
            if request.span is not None:
                context = request.span.get_span_context()
                line |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def use_json_lines() -> None:
    """Gives all handlers of `LOGGERS` a `JsonLineFormatter`. Call it after the handlers were made."""
    formatter = JsonLineFormatter()
    for name in LOGGERS:
        for handler in logging.getLogger(name or None).handlers:
            handler.setFormatter(formatter)
