"""The lookup table of latencies that a job names, held to the job."""

from __future__ import annotations

from pathlib import Path

from hubserve.errors import ProfileError
from hubserve.hub import HubSpace, get_space
from hubserve.latency.table import LatencyTable


def fitting_table(path: Path, space: HubSpace, *, input_size: int, batch_size: int, threads: int) -> LatencyTable:
    """The lookup table of a file, if it is for such networks and such calls.

    Raises:
        ProfileError: it is none, or for others; the message says what differs.
    """
    table = LatencyTable.load(path)
    wanted = {"space": space, "input_size": input_size, "batch_size": batch_size, "threads": threads}
    found = {name: getattr(table, name) for name in wanted} | {"space": get_space(table.space, table.settings)}
    for name, value in wanted.items():
        if found[name] != value:
            raise ProfileError(
                f"{path} is for {name} = {found[name]}, and the job has {value}; `hubserve latency-table build` makes one that "
                "fits, with --settings, --input-size, --batch-size and --threads"
            )
    return table
