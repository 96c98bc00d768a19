"""One profile with all details, measured once for the tests of this folder."""

from __future__ import annotations

import pytest

from hubserve.latency.profile_package import Details, profile_package
from hubserve.timing import TimingProtocol
from tests.stores import small_package


@pytest.fixture(scope="session")
def report():
    details = Details(sweep_seconds=0.02, batches=(1, 4), memory=False, openvino=True)
    return profile_package(small_package(), protocol=TimingProtocol(percent=90, max_seconds=4), details=details)
