"""Carries out `hubserve shrink`: makes a job that searches a smaller network from the options of the command, and runs it."""

from collections.abc import Mapping, Sequence
from typing import Any

from hubserve import jobs
from hubserve.cli.finetune import fine_tuning_keys, name_of
from hubserve.cli.search import Check, launch
from hubserve.errors import JobError


def shrink(
    model: str,
    data: str,
    *,
    limits: Mapping[str, float | None],
    name: str | None,
    budget: Mapping[str, Any],
    images: Mapping[str, Any],
    settings: Sequence[str],
    seed: int,
    resume: bool,
    check: Check,
    detach: bool,
    as_json: bool,
) -> None:
    """Makes the job from the options of `hubserve shrink`, and checks, runs or resumes it.

    Args:
        model: Name of the model to start from, or the folder of a package.
        data: Folder of the images, a listing of them (CSV, TSV, Parquet), or `hf://owner/name`.
        limits: Values of `latency_ms` and `latency_share`, of which one is given; None leaves a key out.
        name: Name of the job and of the published model; None makes one from the name of the folder.
        budget: Values of `minutes` and `epochs` in the recipe of the job; None leaves a key out.
        images: Values of `size` and `fit` in the section `images` of the job; None leaves a key out.
        settings: Further settings of the recipe as KEY=VALUE, such as "augment.mixup=0".
        seed: Seed of all random numbers of the job.
        resume: Whether to resume the newest run of that name that is not done, in place of starting a new one.
        check: Whether to only check that the job can run: "auto" does so, "all" also decodes every image, however many there
            are; None runs the job.
        detach: Whether to run it in the background.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: An option is wrong, the job cannot be run, or (JobNotFoundError) there is no run to resume.
        typer.Exit: No network is fast enough (exit code 3), or the run was interrupted (exit code 130).
    """
    given = {key: value for key, value in limits.items() if value is not None}
    if len(given) != 1:
        raise JobError("say how fast the network must be: --latency-ms 5, or --latency-share 0.5, one of the two")
    keys = fine_tuning_keys(
        model, data, name=name or f"{name_of(data)[:54]}-small", budget=budget, images=images, settings=settings, seed=seed
    )
    text = jobs.dump_job({**keys, "strategy": {"name": "RegularizedEvolution"}, "constraints": given})
    parsed = jobs.parse_job(text, where="the command line")
    launch(text, parsed, names={parsed.name}, resume=resume, check=check, detach=detach, as_json=as_json)
