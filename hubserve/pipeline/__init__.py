"""The phases of a job, from its definition to a model in the store: search, train, test, export, profile, publish.

`check_definition` checks what needs no data, `resolve_job` loads the data and makes all that a definition names, `run_job`
runs the phases that a run folder does not have yet, and `run_here` does so with all that a process of its own needs.
"""

from hubserve.pipeline.check_definition import check_definition
from hubserve.pipeline.resolve import resolve_job
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.run import run_here, run_job

__all__ = ["ResolvedJob", "check_definition", "resolve_job", "run_here", "run_job"]
