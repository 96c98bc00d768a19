"""A job that begins with the trials of an earlier run."""

from __future__ import annotations

import pytest

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.jobs import JobLimits
from hubserve.pipeline import check_definition, resolve_job, run_job
from hubserve.pipeline.earlier_searches import earlier_searches
from hubserve.pipeline.pinned_data import reading_of
from hubserve.pipeline.resolved_search import ResolvedSearch
from tests.data.made_folders import make
from tests.pipeline.definitions import short

QUICK = {"retrain": None, "publish": None, "budget": {"trials": 1}}


@pytest.fixture
def searched(home, monkeypatch):
    """A run of which only the search is done, so that it is quick."""

    class Done(Exception):  # noqa: N818
        pass

    def stop(*_: object) -> None:
        raise Done

    monkeypatch.setattr("hubserve.pipeline.run.finish_network", stop)

    def run(definition):
        found = jobs.create(definition)
        with pytest.raises(Done):
            run_job(found)
        return found

    return run


def test_it_begins_with_the_trials_of_a_run(searched):
    first = searched(short(**QUICK | {"budget": {"trials": 2}}))
    later = jobs.read(searched(short(**QUICK, warm_start=first.id)))
    assert [row.earlier for row in later.history] == [(first.id, 0), (first.id, 1), None]
    assert [row.values for row in later.history[:2]] == [row.values for row in jobs.read(first).history]
    assert later.trials == 1
    assert later.notes == [f"2 of 2 complete trials of {first.id} were added"]


def test_runs_of_which_the_scores_mean_something_else_are_refused(searched, tmp_path):
    first = searched(short(**QUICK))

    def places(limits=jobs.UNLIMITED, **changes):
        job = jobs.parse_job(short(**QUICK | {"warm_start": first.id} | changes), where="it")
        return earlier_searches(job, space, where=tmp_path, limits=limits)

    resolved = resolve_job(jobs.parse_job(first.definition(), where="it"), where=tmp_path)
    assert isinstance(resolved, ResolvedSearch)
    space = resolved.space
    assert places() == places(JobLimits(roots=(tmp_path,))) == (first.path / "search",)
    with pytest.raises(
        JobError, match=r"^warm_start: .* has recipe: {'epochs': 1}, and here it is {'epochs': 2}.*study.journal"
    ):
        places(recipe={"epochs": 2})
    with pytest.raises(JobError, match=r"^warm_start: .* has data: .*'size': 16"):
        places(data={"name": "digits", "settings": {"size": 8, "augment": False}})
    study = str(first.path / "search" / "study.journal")
    assert [str(path) for path in places(recipe={"epochs": 2}, warm_start=[study])] == [study]
    # A path is refused over HTTP, whether it exists or not, and so is a run that does not exist.
    with pytest.raises(JobError, match=r"^warm_start: "):
        places(JobLimits(roots=(tmp_path,)), warm_start=[study])
    with pytest.raises(JobError, match=r"^warm_start: there is no job 'shorter'"):
        places(warm_start=["shorter"])
    space = type(space)(stem_out_channels=8, num_modules_per_stack=1, num_labels=10)
    with pytest.raises(JobError, match="stem_out_channels = 4 there and 8 here"):
        places()


def test_a_path_is_no_run_over_http(tmp_path):
    job = jobs.parse_job(short(warm_start=str(tmp_path / "study.journal")), where="it")
    with pytest.raises(JobError, match=r"^warm_start: .* is no name"):
        check_definition(job, JobLimits(roots=(tmp_path,)))


def test_shared_weights_have_no_earlier_trials():
    job = jobs.parse_job(short(strategy={"name": "DARTS"}, budget={}, warm_start="it"), where="it")
    with pytest.raises(JobError, match=r"^warm_start: DARTS scores archs with the weights that it trains"):
        check_definition(job)


@pytest.mark.slow
def test_a_run_whose_images_have_changed_is_refused_until_its_study_is_named(searched, tmp_path):
    make(tmp_path / "mine", {"cat": 20, "dog": 20})
    data = {"name": "folder", "folder": str(tmp_path / "mine"), "settings": {"size": 16, "augment": False}}
    first = searched(short(**QUICK, data=data))
    begun = searched(short(**QUICK, data=data, warm_start=first.id))
    make(tmp_path / "mine", {"dog/more": 1}, first=500)
    with pytest.raises(JobError, match=r"^warm_start: the images, or the parts that they are in, have changed since .*"):
        resolve_job(jobs.parse_job(short(**QUICK, data=data, warm_start=first.id), where="it"), where=tmp_path)
    study = str(first.path / "search" / "study.journal")
    resolve_job(jobs.parse_job(short(**QUICK, data=data, warm_start=[study]), where="it"), where=tmp_path)
    # What has begun has the trials, and goes on.
    reading = reading_of(begun, lambda done, total: None)
    resolve_job(jobs.parse_job(begun.definition(), where="it"), where=tmp_path, reading=reading)
