"""`JobLimits`: which folders a job submitted over HTTP may read, and how much time, memory and workers it may use.

Jobs that a user starts from the command line have no limits (`UNLIMITED`).
"""

import os
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from hubserve.errors import JobError
from hubserve.find_named import REFUSED_OVER_HTTP


class JobLimits(BaseModel):
    """Limits of a job. They hold until the job is done, also if it is stopped and resumed. None means no limit.

    Attributes:
        roots: Folders in which data sets and latency tables must lie, at any depth, after symbolic links are resolved.
        own_code: If True, the job may name spaces, strategies, data sets and evaluators outside of hubserve, whose modules
            are then imported. A job without `roots` may always do so.
        own_ray: If True, the job may only use a Ray cluster that it starts itself.
        workers: Largest number of processes that evaluate trials or read images, and of threads by which latency is measured.
        trials: Largest number of trials.
        epochs: Largest number of epochs of a training.
        image_size: Largest height and width of the networks' input, in pixels.
        batch_size: Largest number of images in a batch.
        modules: Largest number of `nn.Module`s that all networks in the job's process have together.
        parameters: Largest number of parameters that all networks in the job's process have together.
        seconds: Wall-clock time in seconds after which the job is killed; the times of all processes that worked on it add up.
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
        """Why the job may not name code outside of hubserve, as the end of an error message; None if it may."""
        return None if self.roots is None or self.own_code else REFUSED_OVER_HTTP

    def reachable(self, key: str, path: Path) -> Path:
        """Returns `path` with symbolic links resolved, if the job may access it. Without `roots`, returns `path` as it is.

        Args:
            key: Key of the job that names the path, for the error message.
            path: An absolute path.

        Raises:
            JobError: The path does not lie in one of `roots`. The message is the same whether the path exists or not.
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
        """Returns what `reachable` does and checks that it is a regular file. Without `roots`, the file is not checked.

        Args:
            key: Key of the job that names the path, for the error message.
            path: An absolute path.
            max_bytes: Largest size of the file in bytes.

        Raises:
            JobError: The path does not lie in one of `roots`, is not a regular file, or is larger than `max_bytes`.
        """
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
        """Returns what `reachable` does and checks the content of that folder. Without `roots`, the folder is not checked.

        Args:
            key: Key of the job that names the path, for the error message.
            path: An absolute path.

        Raises:
            JobError: The path does not lie in one of `roots` or is not a folder; or, at any depth in it, a symbolic link points
                out of `roots`, there is a device, a pipe or a socket, or a folder cannot be read.
        """
        found = self.reachable(key, path)
        if self.roots is not None:
            if not found.is_dir():
                raise JobError(f"{key}: there is no such folder below the data folder")
            self._check_entries(key, found)
        return found

    def _check_entries(self, key: str, folder: Path) -> None:
        """Checks the content of a folder, at any depth. Raises JobError as described in `reachable_folder`."""
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
    """Returns True if an entry, or the target of a link, is a device, a pipe or a socket, or cannot be examined."""
    try:
        return not (entry.is_file() or entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path)))
    except OSError:
        return True


UNLIMITED = JobLimits()
"""The limits of jobs that a user starts from the command line: none."""
