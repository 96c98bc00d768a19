"""A fine-tuning is not resumed on another number of devices."""

from __future__ import annotations

import pytest

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.jobs import Run, dump_job, parse_mapping
from hubserve.jobs.devices_of_run import check_same_devices
from tests.jobs.definitions import TINY


def keys(**recipe: object) -> dict[str, object]:
    return {"name": "mine", "start": {"model": "small"}, "data": {"name": "folder", "folder": "x"}, "recipe": recipe}


@pytest.fixture
def run(home) -> Run:
    return jobs.create(dump_job(keys(devices=2)))


@pytest.mark.parametrize("recipe", [{}, {"epochs": 3}, {"devices": 2}])
def test_the_same_number_or_none(run, recipe):
    check_same_devices(run, parse_mapping(keys(**recipe), where="it"))


def test_another_number(run):
    with pytest.raises(JobError, match=r"recipe\.devices = 3, and mine-\S+ began with 2: .* Leave it out to go on"):
        check_same_devices(run, parse_mapping(keys(devices=3), where="it"))


def test_a_search_has_none(home):
    given = parse_mapping(TINY, where="it")
    check_same_devices(jobs.create(dump_job(TINY)), given)
