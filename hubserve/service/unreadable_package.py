"""`refused_if_unreadable`: what routes that read the package of a version answer if it cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager

from hubserve.errors import ModelRefusedError, PackageError
from hubserve.store import StoredModel


@contextmanager
def refused_if_unreadable(model: StoredModel) -> Iterator[None]:
    """Raises ModelRefusedError, which is answered with 409, in place of a PackageError of the block that reads the package."""
    try:
        yield
    except PackageError as error:
        raise ModelRefusedError(f"{model.tag} cannot be read: {error}") from error
