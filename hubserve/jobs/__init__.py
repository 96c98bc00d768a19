"""Jobs: searches and fine-tunings that run in processes of their own, each with a run folder for its definition and results.

The command line, the service and the job's process communicate only through files in the run folder, `HUBSERVE_HOME/jobs/ID/`:

    job.yaml        the definition, as submitted
    where           path of the folder in which relative paths of the definition start
    status.json     a JobStatus; the job's process replaces it atomically
    log.txt         output of the job's process
    pid             id of the job's process, or of its guard; the file is locked as long as the process is alive
    stop            exists after the job was asked to stop
    reason          why the job was killed, for example because it exceeded a limit of time or memory
    limits.json     a JobLimits; exists if the job was submitted over HTTP, and also holds when the job is resumed
    parts.json      which of the user's images are for training, validation and test
    plots/NAME.svg  plots of the job
    (and what `hubserve.pipeline` writes: the study, weights, results of finished phases, the package)

This package imports neither torch nor Optuna, so that the service can list, start and stop jobs without loading them.

>>> run = create(definition, name="digits_quickstart")    # text of a job file, or a mapping; JobError if it is not valid
>>> start(run)                                            # in a process of its own, which outlives the caller
>>> read(run)                                             # JobStatus; "failed" if the process was killed
>>> find("digits_quickstart-20261125-102135-3f2a9c01")    # JobNotFoundError for an unknown or malformed id
>>> list_runs()                                           # newest first; `list_summaries()` reads their states
>>> request_stop(run)                                     # returns at once; the state is "stopping" until the job has ended
>>> stop(run, grace_seconds=20)                           # SIGTERM, then SIGKILL; waits and returns the final JobStatus
>>> start(run)                                            # resumes a stopped or failed job; JobError if running or done
>>> run.plot("best")                                      # Path of plots/best.svg
>>> run.log_tail(lines=50)                                # list of str
>>> delete(run)                                           # removes the folder; JobError if the job is running
>>> available_jobs()                                      # job files: (name, summary, path)
>>> available_job("digits_quickstart").text()             # JobNotFoundError with the nearest names
"""

from hubserve.jobs.available import AvailableJob, available_job, available_jobs
from hubserve.jobs.definition import Job
from hubserve.jobs.fine_tune_job import FineTuneJob
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.jobs.job_file import dump_job, parse_job, parse_mapping, read_job
from hubserve.jobs.limited_keys import LISTING_BYTES, TABLE_BYTES, check_limits, check_paths
from hubserve.jobs.limits import UNLIMITED, JobLimits
from hubserve.jobs.process import delete, end_soon, hold, request_stop, start, stop
from hubserve.jobs.read_status import is_running, list_summaries, read, read_summary
from hubserve.jobs.run_folder import Run, create, find, jobs_folder, list_runs, open_run
from hubserve.jobs.search_job import (
    ExecutorEntry,
    FilterEntry,
    MultiTrialEntry,
    Recipe,
    Retraining,
    SearchJob,
    StrategyEntry,
    ZeroCostName,
)
from hubserve.jobs.shrink_job import ShrinkJob
from hubserve.jobs.status import (
    FINAL,
    Best,
    Closest,
    ComparedRow,
    EpochRow,
    JobStatus,
    JobSummary,
    LabelProbabilities,
    ObjectiveInfo,
    OneShotView,
    PartTime,
    Phase,
    RefusalRow,
    State,
    TimedPart,
    TrialRow,
    best_epoch,
    estimated_total,
)

__all__ = [
    "FINAL",
    "LISTING_BYTES",
    "TABLE_BYTES",
    "UNLIMITED",
    "AvailableJob",
    "Best",
    "Closest",
    "ComparedRow",
    "EpochRow",
    "ExecutorEntry",
    "FilterEntry",
    "FineTuneJob",
    "FineTuneRecipe",
    "Job",
    "JobLimits",
    "JobStatus",
    "JobSummary",
    "LabelProbabilities",
    "MultiTrialEntry",
    "ObjectiveInfo",
    "OneShotView",
    "PartTime",
    "Phase",
    "Recipe",
    "RefusalRow",
    "Retraining",
    "Run",
    "SearchJob",
    "ShrinkJob",
    "State",
    "StrategyEntry",
    "TimedPart",
    "TrialRow",
    "ZeroCostName",
    "available_job",
    "available_jobs",
    "best_epoch",
    "check_limits",
    "check_paths",
    "create",
    "delete",
    "dump_job",
    "end_soon",
    "estimated_total",
    "find",
    "hold",
    "is_running",
    "jobs_folder",
    "list_runs",
    "list_summaries",
    "open_run",
    "parse_job",
    "parse_mapping",
    "read",
    "read_job",
    "read_summary",
    "request_stop",
    "start",
    "stop",
]
