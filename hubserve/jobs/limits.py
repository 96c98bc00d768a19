"""JobLimits: what a job that was submitted over HTTP may reach and use. A user's own jobs, from the command line, have none."""

import os
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hubserve.errors import JobError
from hubserve.own_code import REFUSED_OVER_HTTP


class JobLimits(BaseModel):
    """Limits of a job, which hold until it ends, also when it goes on later. None means no limit.

    Attributes:
        roots: Folders in or below which data sets and latency tables must lie, links followed.
        own_code: Whether a job with `roots` may name spaces, strategies, data sets and evaluators that hubserve itself does not
            have, which are imported then. A job without `roots` may.
        own_ray: Whether a Ray that the job starts itself is the only one that it may use.
        workers: Largest number of processes that evaluate trials or read images, and of threads of a measured network.
        trials: Largest number of trials.
        epochs: Largest number of epochs of a training.
        image_size: Largest height and width, in pixels, of the images that networks take.
        batch_size: Largest number of images in a batch.
        modules: Largest number of modules of all networks in the job's process together.
        parameters: Largest number of their parameters.
        seconds: Wall-clock time after which the job is killed; counted over all processes that worked on it.
        memory_mb: Memory of all processes of the job together, in megabytes, above which it is killed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    roots: tuple[Path, ...] | None = None
    own_code: bool = False
    own_ray: bool = False
    workers: int | None = None
    trials: int | None = None
    epochs: int | None = None
    image_size: int | None = None
    batch_size: int | None = None
    modules: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    memory_mb: float | None = None

    @property
    def refused_code(self) -> str | None:
        """Why code that hubserve itself does not have is not imported, for messages; None if it is imported."""
        return None if self.roots is None or self.own_code else REFUSED_OVER_HTTP

    def reachable(self, key: str, path: Path) -> Path:
        """`path` with all links followed, where the job may reach it.

        Args:
            key: Key of the job that names the path, for the error.
            path: An absolute path.

        Raises:
            JobError: It does not lie in a root. The message is the same whether it exists or not.
        """
        if self.roots is None:
            return path
        try:
            found = Path(os.path.realpath(path))
            allowed = any(found.is_relative_to(os.path.realpath(root)) for root in self.roots)
        except (OSError, ValueError):
            allowed = False
        if not allowed:
            raise JobError(
                f"{key}: it is not in a folder that this server allows for data; name a folder relative to the first of those "
                "that the operator lists in HUBSERVE_DATA_ROOTS"
            )
        return found

    def reachable_file(self, key: str, path: Path, *, max_bytes: int) -> Path:
        """Returns what `reachable` does, if that is a regular file of at most `max_bytes`; otherwise raises JobError."""
        found = self.reachable(key, path)
        if self.roots is not None:
            try:
                status = found.stat()
            except OSError as error:
                raise JobError(f"{key}: there is no such file below the data folder") from error
            if not stat.S_ISREG(status.st_mode):
                raise JobError(f"{key}: it is no regular file")
            if status.st_size > max_bytes:
                raise JobError(f"{key}: it is larger than {max_bytes / 1e6:g} MB")
        return found

    def reachable_folder(self, key: str, path: Path) -> Path:
        """Returns what `reachable` does, if that is a folder whose content is allowed; otherwise raises JobError.

        No link in it may lead out of the roots, and nothing in it may be a device, a pipe or a socket.
        """
        found = self.reachable(key, path)
        if self.roots is not None:
            if not found.is_dir():
                raise JobError(f"{key}: there is no such folder below the data folder")
            self._check_entries(key, found)
        return found

    def _check_entries(self, key: str, folder: Path) -> None:
        waiting, seen = [str(folder)], {str(folder)}
        try:
            while waiting:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        path = entry.path
                        if entry.is_symlink():
                            path = str(self.reachable(f"{key}: {entry.name[:60]!r} in it is a link", Path(path)))
                        if _is_special(entry):
                            raise JobError(f"{key}: {entry.name[:60]!r} in it is neither a file nor a folder")
                        if entry.is_dir() and path not in seen:
                            seen.add(path)
                            waiting.append(path)
        except OSError as error:
            raise JobError(f"{key}: a folder in it cannot be read: {error.strerror}") from error


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a device, a pipe or a socket, links followed; a link to nothing is none."""
    try:
        return not (entry.is_file() or entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path)))
    except OSError:
        return True


UNLIMITED = JobLimits()
"""No limits: those of the jobs that a user starts from the command line."""
