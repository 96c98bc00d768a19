"""Reads and writes job files: turns the text of a job file, YAML or JSON, into a `Job`, and a mapping into such a text."""

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
"""Largest job file that is read, in bytes."""

MOST_REFERENCES = 50
"""Largest number of YAML aliases in a job file; with nested aliases, a short text can describe huge data."""


def parse_job(text: str, *, where: str) -> Job:
    """Parses the text of a job file and returns the job.

    Args:
        text: The job in YAML or JSON.
        where: Where the text comes from, for example a path; error messages begin with it.

    Raises:
        JobError: The text is not YAML or not a mapping, has a key twice or more than `MOST_REFERENCES` aliases, or is not a
            job; see `parse_mapping`.
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
    """Validates a mapping, such as the JSON body of a request, and returns the job.

    A mapping with `start` is a fine-tuning or, if it has `strategy` as well, a search for a smaller network in that model; any
    other one is a search of a model space.

    Args:
        given: The keys and values of a job file.
        where: Where the mapping comes from; error messages begin with it.

    Raises:
        JobError: A key is missing, unknown or out of range, or keys do not fit together; the message lists up to ten mistakes.
            Or there are both `start` and `space`.
    """
    if "start" in given and "space" in given:
        raise JobError(f"{where} is not a job: it has start and space; the space of a search with start is that of its model")
    record: type[Job] = SearchJob if "start" not in given else ShrinkJob if "strategy" in given else FineTuneJob
    try:
        return record.model_validate(given)
    except ValidationError as error:
        raise JobError(f"{where} is not a job: {explain(error, record)}") from error


def read_job(path: Path) -> Job:
    """Reads a job file and returns the job. Raises JobError if the file cannot be read or is not a valid job."""
    return parse_job(read_text(path), where=str(path))


def read_text(path: Path) -> str:
    """Returns the text of a job file. Raises JobError if it cannot be read or has more than `MOST_BYTES` bytes."""
    try:
        return read_bounded_text(path, MOST_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"cannot read the job {path}: {error}") from error


def dump_job(definition: Mapping[str, Any]) -> str:
    """Returns the text of a job file, in YAML, for a definition that is given as a mapping.

    Raises:
        JobError: The mapping holds a value that YAML's safe dumper does not write, such as an object of a class or an array.
    """
    try:
        return yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"the definition is not plain data: {error}") from error


class _Loader(yaml.SafeLoader):
    """YAML loader that refuses duplicate keys, of which YAML keeps only the last, and more than `MOST_REFERENCES` aliases."""

    references = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Composes the next node. Raises YAMLError once there are more than `MOST_REFERENCES` aliases."""
        if self.check_event(yaml.AliasEvent):
            self.references += 1
            if self.references > MOST_REFERENCES:
                raise yaml.YAMLError(f"it has more than {MOST_REFERENCES} references")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Returns the mapping of a node; `deep` as in PyYAML: whether the values in it are complete on return.

        Raises:
            ConstructorError: Two keys have the same text, as `1` and `"1"` have; the merge key `<<` may occur several times.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
