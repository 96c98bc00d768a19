"""Reads the limits of CPU time and memory that a container, or another Linux control group (cgroup), sets for this process."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")
"""File that lists the file systems that this process sees mounted."""

GROUPS = Path("/proc/self/cgroup")
"""File that lists the control groups that this process belongs to."""

USUAL_MOUNT = Path("/sys/fs/cgroup")
"""Folder in which a container usually sees its own control group."""


def cpu_quota() -> float | None:
    """Returns the smallest CPU quota of this process's control group and those above it, in cores; None without a quota."""
    return min((quota for folder in _folders("cpu") if (quota := _quota(folder)) is not None), default=None)


def memory_limit() -> int | None:
    """Returns the smallest memory limit of this process's control group and those above it, in bytes; None without a limit."""
    return min((limit for folder in _folders("memory") if (limit := _limit(folder)) is not None), default=None)


def memory_left() -> int | None:
    """Returns how many bytes can still be used before this process's control group, or one above it, reaches its limit.

    The kernel counts cached files as used memory of a group. Those that were not used lately ("inactive_file") count as free
    here, because the kernel drops them before it refuses memory.

    Returns:
        Bytes, at least 0; None without a limit.
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
        return None  # No quota: version 2 writes "max", version 1 writes -1.
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
    """Yields the folders of this process's control group and of each group above it, in all hierarchies with `controller`."""
    yield USUAL_MOUNT
    groups = [line.split(":", 2) for line in _read(GROUPS).splitlines()]
    for root, mount, kind, options in _mounts():
        if kind == "cgroup" and controller not in options:
            continue
        for _, controllers, group in (parts for parts in groups if len(parts) == 3):
            if controllers == "" if kind == "cgroup2" else controller in controllers.split(","):
                yield from _upwards(mount, root, PurePosixPath(group))


def _upwards(mount: Path, root: PurePosixPath, group: PurePosixPath) -> Iterator[Path]:
    """Yields the folder of `group` and all folders above it, up to the mount point `mount`, which shows the group `root`."""
    inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    folder = mount / inside
    yield folder
    for _ in inside.parts:
        folder = folder.parent
        yield folder


def _mounts() -> Iterator[tuple[PurePosixPath, Path, str, list[str]]]:
    """Yields (root group, mount point, type, options) of each mounted hierarchy of groups; type is "cgroup" or "cgroup2"."""
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
