"""Limits of containers, read from folders as Linux lays them out."""

from __future__ import annotations

import math
import os

import pytest

from hubserve import cgroup
from hubserve.usable_resources import available_memory_bytes, cores, memory_bytes

GIB = 2**30


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Writes files of groups; the names are paths below the folder where containers see their own group."""
    monkeypatch.setattr(cgroup, "USUAL_MOUNT", tmp_path / "fs")
    monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setattr(cgroup, "GROUPS", tmp_path / "cgroup")

    def write(groups: str = "", mounts: tuple[tuple[str, str, str, str], ...] = (), **content: str) -> None:
        (tmp_path / "cgroup").write_text(groups)
        lines = [
            f"31 23 0:28 {root} {tmp_path}/fs{where} rw - {kind} none rw,{options}\n" for root, where, kind, options in mounts
        ]
        (tmp_path / "mountinfo").write_text("".join(lines))
        for name, text in content.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    return write


def test_without_limits(files):
    files(**{"cpu.max": "max 100000", "memory.max": "max"})
    assert (cgroup.cpu_quota(), cgroup.memory_limit(), cgroup.memory_left()) == (None, None, None)
    assert cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "found"), [("100000 100000", 1), ("150000 100000", 2), ("10000 100000", 1)])
def test_quota_of_the_own_group(files, quota, found):
    files(**{"cpu.max": quota})
    assert cores() == min(found, len(os.sched_getaffinity(0)))


def test_the_least_quota_of_the_groups_above(files):
    files(
        "0::/pod/inner/leaf\n",
        (("/", "", "cgroup2", ""),),
        **{"pod/cpu.max": "50000 100000", "pod/inner/cpu.max": "400000 100000", "pod/inner/leaf/cpu.max": "max 100000"},
    )
    assert cgroup.cpu_quota() == 0.5


def test_a_mount_that_shows_a_part_of_the_groups(files):
    files("0::/pod/inner\n", (("/pod", "", "cgroup2", ""),), **{"inner/cpu.max": "70000 100000"})
    assert cgroup.cpu_quota() == 0.7


def test_a_group_outside_of_the_mount(files):
    files("0::/../../other\n", (("/", "", "cgroup2", ""),), **{"cpu.max": "70000 100000"})
    assert cgroup.cpu_quota() == 0.7


def test_version_1(files):
    files(
        "5:memory:/a/b\n4:cpu,cpuacct:/a/b\n",
        (("/", "/cpu,cpuacct", "cgroup", "cpu,cpuacct"), ("/", "/memory", "cgroup", "memory")),
        **{
            "cpu,cpuacct/a/cpu.cfs_quota_us": "80000",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/a/b/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/a/memory.limit_in_bytes": str(GIB),
            "memory/a/memory.usage_in_bytes": str(GIB // 2),
            "memory/a/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}",
        },
    )
    assert (cgroup.cpu_quota(), cgroup.memory_limit(), cgroup.memory_left()) == (0.8, GIB, GIB // 2 + GIB // 4)
    assert (memory_bytes(), available_memory_bytes()) == (GIB, GIB // 2 + GIB // 4)


def test_memory_that_is_used_up(files):
    files(**{"memory.max": str(GIB), "memory.current": str(2 * GIB)})
    assert cgroup.memory_left() == 0


@pytest.mark.parametrize("text", ["", "x", "0 0", "-1 100000", "1 2 3", "\0"])
def test_files_that_make_no_sense(files, text):
    files("::\nx\n0::\n", (("/", "", "cgroup2", ""),), **{"cpu.max": text, "memory.max": text})
    assert (cgroup.cpu_quota(), cgroup.memory_limit()) == (None, None)
    assert math.isfinite(available_memory_bytes())
