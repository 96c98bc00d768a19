"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest
import torch


def pytest_configure() -> None:
    # A shell that runs the tests in the background has SIGINT ignored, which the programs that they start would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Two cores are shared by the tests and the servers that they start.
    torch.set_num_threads(1)
    # No test fails for its time: hypothesis' own limit of 200 ms an example does not hold on a busy machine.
    hypothesis.settings.register_profile("no deadline", deadline=None)
    hypothesis.settings.load_profile("no deadline")


def pytest_runtest_call() -> None:
    # A test draws the same numbers whichever tests this process ran before it.
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of oracles and data that lies beside a developer's checkout; HUBSERVE_TEST_DATA names it."""
    folder = os.environ.get("HUBSERVE_TEST_DATA")
    if not folder:
        pytest.skip("HUBSERVE_TEST_DATA is not set: it names the folder with parity/, data/ and benchmarks/")
    return Path(folder).resolve()
