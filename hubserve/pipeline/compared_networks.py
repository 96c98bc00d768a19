"""Trains, tests, exports and profiles what a search's winner is compared with: members of its Pareto front, and baselines."""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hubserve.errors import NothingFeasibleError
from hubserve.jobs import ComparedRow, Retraining, Run
from hubserve.latency.profile_report import ProfileReport
from hubserve.package.package import Package
from hubserve.pipeline.baselines import hand_made
from hubserve.pipeline.front import cost_of
from hubserve.pipeline.phases.choose_front import choose_front
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.export import export
from hubserve.pipeline.phases.profile import profile
from hubserve.pipeline.phases.publish import publish
from hubserve.pipeline.phases.test import TestedNetwork
from hubserve.pipeline.phases.train import train
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.search_source import search_source
from hubserve.pipeline.status_writer import StatusWriter

FRONT, BASELINES = "front", "baselines"
"""Folders of a run folder with a folder for each member of the front and for each baseline."""


@dataclass(frozen=True)
class ComparedNetwork:
    """A network that is profiled and tested beside the winner.

    Attributes:
        name: Name in the model store of a member of the front; name of a baseline in its job.
        kind: "front" or "baseline".
        resolved: The job, with the member's name in the store; for a baseline, with the recipe that trains it.
        winner: The arch, and its scores if it had a trial.
        run: The folder for its files, which have the names that the winner's files have in the folder of the job's run.
    """

    name: str
    kind: Literal["front", "baseline"]
    resolved: ResolvedSearch
    winner: Winner
    run: Run


def finish_network(
    resolved: ResolvedSearch, winner: Winner, run: Run, status: StatusWriter, *, folder: Run | None = None
) -> tuple[TestedNetwork, Package]:
    """Trains, tests and exports a network; returns the result of the test and the package, which has no profile yet.

    Phases whose results are saved are not repeated.

    Args:
        resolved: The job.
        winner: The arch of the network, and the weights that the search saved.
        run: The run, for the provenance.
        status: Writer of the run's status.
        folder: Folder in which the results are saved; None takes that of the run.

    Raises:
        JobError: The network is to begin with weights that the search has not saved.
        HubserveError: A phase failed for another reason, see `train`, `SearchTask.test` and `export`.
    """
    place = folder or run
    trained = train(resolved, winner, place, status)
    task, evaluator = resolved.task, resolved.recipe_evaluator
    tested = task.test(trained.model, evaluator, resolved.test_evaluator, place, status)
    source = search_source(resolved, winner, trained, tested, run)
    texts = task.compared_texts()
    return tested, export(source, resolved.formats, lambda: task.compared_images(evaluator), place, status, texts=texts)


def networks_to_compare(resolved: ResolvedSearch, winner: Winner, run: Run, status: StatusWriter) -> list[ComparedNetwork]:
    """Returns the further members of the front, the cheapest first, and then the baselines of a job; empty if it has none.

    Members are those of `choose_front`; there are none if the search has measured no cost. Baselines have no trial: they are
    trained by `retrain` if it starts with new weights, and else by `recipe` on one device.
    """
    job = resolved.job
    found: list[ComparedNetwork] = []
    cost = cost_of(status.status)
    if job.publish is not None and job.publish.front > 1 and cost is not None:
        for i, member in enumerate(choose_front(resolved, winner, cost, run), 1):
            publish = job.publish.model_copy(update={"name": f"{job.store_name}-front-{i}"})
            named = replace(resolved, job=job.model_copy(update={"publish": publish}))
            found.append(ComparedNetwork(named.job.store_name, "front", named, member, Run(run.path / FRONT / str(i))))
    # A baseline has no trial, so it is trained by the recipe of the trials if there is none for new weights of the winner.
    new = job.retrain if job.retrain is not None and job.retrain.start == "new" else None
    # The devices of `recipe` train a supernet together.
    retrain = new or Retraining(**job.recipe.model_dump(exclude={"devices"}))
    trains = replace(resolved, job=job.model_copy(update={"retrain": retrain}))
    for i, (name, arch) in enumerate(hand_made(job, resolved.space).items(), 1):
        made = Winner(number=None, arch=arch, scores={}, weights=None)
        found.append(ComparedNetwork(name, "baseline", trains, made, Run(run.path / BASELINES / str(i))))
    return found


def compare_networks(
    networks: list[ComparedNetwork],
    winner: tuple[Winner, TestedNetwork, Package],
    resolved: ResolvedSearch,
    run: Run,
    status: StatusWriter,
) -> list[Package]:
    """Finishes and profiles each network, writes the comparison to the status, and returns the packages in the same order.

    Errors of the phases are passed on, see `finish_network`.

    Args:
        networks: The networks; nothing is done if there are none.
        winner: The winner, the result of its test, and its profiled package.
        resolved: The job.
        run: The run.
        status: Writer of the run's status.
    """
    rows, packages = [_row(resolved.job.store_name, "winner", *winner)], []
    for i, network in enumerate(networks, 1):
        with status.within("front", f"{network.name}, {i} of {len(networks)}"):
            tested, package = finish_network(network.resolved, network.winner, run, status, folder=network.run)
            package = profile(network.resolved, package, [], status)
        packages.append(package)
        rows.append(_row(network.name, network.kind, network.winner, tested, package))
        status.write(compared=list(rows))
    return packages


def publish_front(networks: list[ComparedNetwork], packages: list[Package], plots: list[Path], status: StatusWriter) -> None:
    """Publishes the members of the front, with the plots of the search; those that are published already are left alone.

    A member that misses the latency limit when it is measured for the last time is not published; the status gets a note.

    Args:
        networks: Members of the front and baselines; the latter are not published.
        packages: Their packages, in the same order.
        plots: Files of the plots; the confusion matrix, which is that of the winner, is not added.
        status: Writer of the run's status.
    """
    for network, package in zip(networks, packages, strict=True):
        if network.kind != "front":
            continue
        # The confusion matrix is that of the winner.
        complete = profile(network.resolved, package, [path for path in plots if path.stem != "confusion"], status)
        try:
            with status.within("publish", network.name):
                tag = publish(network.resolved, complete, network.run, status)
        except NothingFeasibleError as error:
            status.note(f"{network.name} was not published: {error}")
            continue
        mark, rows = {"published": tag}, status.status.compared
        status.write(compared=[row.model_copy(update=mark) if row.name == network.name else row for row in rows])


def _row(
    name: str, kind: Literal["winner", "front", "baseline"], winner: Winner, tested: TestedNetwork, package: Package
) -> ComparedRow:
    report = ProfileReport.model_validate(package.profile)
    latency, search = report.latency_of("onnx"), package.manifest.provenance.search
    return ComparedRow(
        name=name,
        kind=kind,
        number=winner.number,
        val_acc=search.get("val_acc"),
        test_acc=tested.test_acc,
        latency_ms=None if latency is None else statistics.median(latency.samples_ms),
        params=None if report.cost is None else report.cost.params,
        macs=None if report.cost is None else report.cost.macs,
    )
