"""Reading and writing job files: YAML or JSON text to a `Job` and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.errors import JobError
from hubserve.jobs.definition import Job
from hubserve.jobs.fine_tune_job import FineTuneJob
from hubserve.jobs.search_job import SearchJob
from hubserve.jobs.shrink_job import ShrinkJob
from hubserve.jobs.validation_message import explain

MOST_BYTES = 2**20
"""Longest job file that is read, in bytes."""

MOST_REFERENCES = 50
"""Most references of YAML in a job file; many that nest describe huge data in a short text."""


def parse_job(text: str, *, where: str) -> Job:
    """The job that a text describes.

    Args:
        text: YAML or JSON.
        where: Name of the text's source, for errors.

    Raises:
        JobError: Not YAML, or a key is missing, unknown or out of range; the message lists up to ten mistakes.
    """
    try:
        given = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"{where} is not YAML: {error}") from error
    if not isinstance(given, dict):
        raise JobError(
            f"{where} holds a {type(given).__name__}; a job is a mapping with name, data, and start, or space and strategy"
        )
    return parse_mapping(given, where=where)


def parse_mapping(given: Mapping[str, Any], *, where: str) -> Job:
    """The job that data describe, such as the body of a request. Raises JobError as `parse_job` does.

    With `start` it is a fine-tuning, or with `strategy`, too, a search for a smaller network; otherwise a search of a space.
    """
    if "start" in given and "space" in given:
        raise JobError(f"{where} is not a job: it has start and space; the space of a search with start is that of its model")
    record: type[Job] = SearchJob if "start" not in given else ShrinkJob if "strategy" in given else FineTuneJob
    try:
        return record.model_validate(given)
    except ValidationError as error:
        raise JobError(f"{where} is not a job: {explain(error, record)}") from error


def read_job(path: Path) -> Job:
    """The job in a file. Raises JobError as `parse_job` does, and if the file cannot be read."""
    return parse_job(read_text(path), where=str(path))


def read_text(path: Path) -> str:
    """The text of a job file. Raises JobError if it cannot be read."""
    try:
        return read_bounded_text(path, MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"cannot read the job {path}: {error}") from error


def dump_job(definition: Mapping[str, Any]) -> str:
    """A definition that is given as data, as the text of a job file. Raises JobError if it holds more than plain data."""
    try:
        return yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"the definition is not plain data: {error}") from error


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, of which YAML would silently keep the last."""

    references = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self.references += 1
            if self.references > MOST_REFERENCES:
                raise yaml.YAMLError(f"it has more than {MOST_REFERENCES} references")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
