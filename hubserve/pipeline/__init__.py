"""Search jobs: from a definition to a model in the store.

`check_job` makes all that a definition names and holds it together, `run_job` does it, or what is left of it. It stands above
the rooms that search and those that export and publish, and joins them.
"""

from __future__ import annotations

from hubserve.pipeline.resolve import Parts, check_job, check_names
from hubserve.pipeline.run import run_job

__all__ = ["Parts", "check_job", "check_names", "run_job"]
