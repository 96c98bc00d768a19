"""`HubRepository`: a model repository at Hugging Face, which is read, and to which files are pushed in one commit."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hubserve.errors import RemoteMissingError
from hubserve.remote_errors import reporting
from hubserve.remote_files import RemoteFolder, hub_endpoint, open_folder, parse_address


@dataclass(frozen=True)
class HubRepository:
    """A repository of a model at Hugging Face.

    Attributes:
        folder: The repository at its newest commit; its `files` are None if it does not exist yet.
        name: "OWNER/NAME".
        branch: Branch to which files are pushed; None means the main branch.
    """

    folder: RemoteFolder
    name: str
    branch: str | None

    @property
    def commit(self) -> str | None:
        """The newest commit; None if the repository does not exist yet."""
        return None if self.folder.files is None else self.folder.revision

    def names(self) -> list[str]:
        """Returns the names of the files in the top folder of the repository; an empty list if it does not exist yet.

        Raises:
            RemoteError: The hub cannot be reached, or refuses access.
        """
        return [] if self.folder.files is None else self.folder.names()

    def read(self, name: str, most: int) -> bytes:
        """Returns the content of the file `name` of a repository that exists.

        Raises:
            RemoteError: The file has more than `most` bytes, or cannot be read.
        """
        return self.folder.read(name, most)

    def push(self, files: Mapping[str, Path], stale: Sequence[str], *, private: bool) -> str:
        """Adds and removes files in one commit, and returns the id of the newest commit; creates the repository if needed.

        Files whose content is in the repository are not sent again; if all are there, no commit is made.

        Args:
            files: Files on this machine, by their names in the repository.
            stale: Names of the files to remove.
            private: Whether the repository becomes private, if it is created; False takes the default of its owner.

        Raises:
            RemoteError: The hub cannot be reached or refuses access, or somebody else has pushed at the same time.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

        api = HfApi(endpoint=hub_endpoint())
        with reporting(self.folder.url), _bars_on_terminals():
            if self.folder.files is None:
                api.create_repo(self.name, private=private or None, exist_ok=True)
            operations: list[CommitOperationAdd | CommitOperationDelete] = [
                *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()),
                *(CommitOperationDelete(path_in_repo=name) for name in stale),
            ]
            commit = api.create_commit(
                self.name,
                operations,
                commit_message="Push a package of hubserve",
                revision=self.branch,
                parent_commit=self.commit,
            )
        return str(commit.oid)


@contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Switches the progress bars of huggingface_hub off inside the block if stderr is not a terminal."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def open_repository(url: str) -> HubRepository:
    """Returns the repository at an address hf://OWNER/NAME or hf://OWNER/NAME@BRANCH, which need not exist.

    Raises:
        RemoteError: The address is wrong, the hub cannot be reached, or HUBSERVE_OFFLINE forbids it; or the repository has no
            such branch (RemoteMissingError).
    """
    parsed = parse_address(url)
    try:
        return HubRepository(open_folder(url), parsed.path, parsed.revision)
    except RemoteMissingError:
        if parsed.revision is not None:
            raise
        return HubRepository(parsed, parsed.path, None)
