"""Limits that a container, or another group of processes (a cgroup of Linux), sets for CPU time and memory."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")
"""List of the mounted file systems of this process."""

GROUPS = Path("/proc/self/cgroup")
"""List of the groups that this process is in."""

USUAL_MOUNT = Path("/sys/fs/cgroup")
"""Where containers see their own group."""


def cpu_quota() -> float | None:
    """The least CPU quota of this process's group and the groups above it, in cores; None without one."""
    return min((quota for folder in _folders("cpu") if (quota := _quota(folder)) is not None), default=None)


def memory_limit() -> int | None:
    """The least memory limit of this process's group and the groups above it, in bytes; None without one."""
    return min((limit for folder in _folders("memory") if (limit := _limit(folder)) is not None), default=None)


def memory_left() -> int | None:
    """Bytes that this process's group can still take before a limit of it, or of a group above it; None without a limit.

    The cache of files counts as used memory of a group, but the part of it that was not used lately is given up first.
    """
    left = []
    for folder in _folders("memory"):
        limit = _limit(folder)
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            left.append(max(0, limit - used + _inactive_file(folder)))
    return min(left, default=None)


def _quota(folder: Path) -> float | None:
    version_2 = _read(folder / "cpu.max").split()
    if len(version_2) == 2:
        quota, period = version_2
    else:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    if not (quota.isdigit() and period.isdigit()) or int(quota) * int(period) == 0:
        return None  # "max", or -1.
    return int(quota) / int(period)


def _limit(folder: Path) -> int | None:
    found = [_number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")]
    # Version 1 writes a number near 2^63 where there is no limit.
    return min((number for number in found if number is not None and number < 1 << 60), default=None)


def _inactive_file(folder: Path) -> int:
    lines = dict(pair for line in _read(folder / "memory.stat").splitlines() if len(pair := line.split()) == 2)
    found = lines.get("total_inactive_file", lines.get("inactive_file", "0"))
    return int(found) if found.isdigit() else 0


def _folders(controller: str) -> Iterator[Path]:
    """The folder of this process's group and of each group above it, in all hierarchies that may hold `controller`."""
    yield USUAL_MOUNT
    groups = [line.split(":", 2) for line in _read(GROUPS).splitlines()]
    for root, mount, kind, options in _mounts():
        if kind == "cgroup" and controller not in options:
            continue
        for _, controllers, group in (parts for parts in groups if len(parts) == 3):
            if controllers == "" if kind == "cgroup2" else controller in controllers.split(","):
                yield from _upwards(mount, root, PurePosixPath(group))


def _upwards(mount: Path, root: PurePosixPath, group: PurePosixPath) -> Iterator[Path]:
    """From the folder of `group` up to `mount`, which shows the hierarchy from its group `root` on."""
    inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    folder = mount / inside
    yield folder
    for _ in inside.parts:
        folder = folder.parent
        yield folder


def _mounts() -> Iterator[tuple[PurePosixPath, Path, str, list[str]]]:
    """Root, mount point, type and options of each mounted hierarchy of groups."""
    for line in _read(MOUNTS).splitlines():
        before, _, after = line.partition(" - ")
        own, of_file_system = before.split(), after.split()
        if len(own) >= 5 and len(of_file_system) >= 3 and of_file_system[0] in ("cgroup", "cgroup2"):
            yield PurePosixPath(own[3]), Path(own[4]), of_file_system[0], of_file_system[2].split(",")


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
