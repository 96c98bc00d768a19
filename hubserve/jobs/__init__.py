"""Jobs: searches that run in processes of their own, each with a run folder that tells everything about it.

A run folder, `HUBSERVE_HOME/jobs/<id>/`, is all that the job, the command line and the service know of each other:

    job.yaml        the definition, as submitted
    where           the working folder of whoever submitted it
    status.json     a JobStatus; replaced in one step, by the job's process
    log.txt         what the process printed
    pid             its number; the file is locked for as long as the process lives
    stop            is there once somebody asked for the end
    plots/NAME.svg  pictures of the study
    (and what the job itself keeps: its study, weights, the package)

This room is light: no torch, no Optuna, so a service can list, start and stop jobs without loading them.

>>> run = create(definition, name="digits_quickstart")    # definition: text of a job file, or a mapping; validated (JobError)
>>> start(run)                                            # its own process and session; survives the one that started it
>>> read(run)                                             # JobStatus, with what became of the process: see `read`
>>> find("digits_quickstart-20261125-102135-3f2a")        # JobError for an unknown or unsafe id
>>> list_runs()                                           # newest first; `list_statuses()` reads them all
>>> stop(run, grace_seconds=20)                           # blocks: SIGTERM, then SIGKILL; JobStatus afterwards
>>> request_stop(run)                                     # SIGTERM only, returns at once; state "stopping" until it ended
>>> start(run)                                            # again: goes on where it was; JobError where it runs or is done
>>> run.plot("best")                                      # Path of plots/best.svg; JobError where there is none
>>> run.log_tail(lines=50)                                # list of str
>>> delete(run)                                           # the folder; JobError while it runs
>>> available_jobs()                                      # the files of search_jobs/: (name, summary, path)
>>> available_job("digits_quickstart").text()             # JobError with near names
"""

from __future__ import annotations

from hubserve.jobs.available import AvailableJob, available_job, available_jobs
from hubserve.jobs.definition import (
    ExecutorEntry,
    Job,
    MultiTrialEntry,
    Recipe,
    StrategyEntry,
    dump_job,
    parse_job,
    read_job,
)
from hubserve.jobs.folder import Run, create, find, jobs_folder, list_runs, open_run
from hubserve.jobs.process import delete, hold, is_running, list_statuses, read, request_stop, start, stop
from hubserve.jobs.status import (
    FINAL,
    Best,
    JobStatus,
    LabelProbabilities,
    ObjectiveInfo,
    OneShotView,
    Phase,
    State,
    TrialRow,
)

__all__ = [
    "FINAL",
    "AvailableJob",
    "Best",
    "ExecutorEntry",
    "Job",
    "JobStatus",
    "LabelProbabilities",
    "MultiTrialEntry",
    "ObjectiveInfo",
    "OneShotView",
    "Phase",
    "Recipe",
    "Run",
    "State",
    "StrategyEntry",
    "TrialRow",
    "available_job",
    "available_jobs",
    "create",
    "delete",
    "dump_job",
    "find",
    "hold",
    "is_running",
    "jobs_folder",
    "list_runs",
    "list_statuses",
    "open_run",
    "parse_job",
    "read",
    "read_job",
    "request_stop",
    "start",
    "stop",
]
