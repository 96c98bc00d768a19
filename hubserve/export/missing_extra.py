"""Reports an optional library that is missing for the export of a format."""

from collections.abc import Iterator
from contextlib import contextmanager

from hubserve.errors import ExportError


@contextmanager
def needs_extra(library: str, extra: str) -> Iterator[None]:
    """Context manager that turns an ImportError in its block into an ExportError that says what to install.

    Args:
        library: Name of the library, for the message.
        extra: Extra of hubserve that installs it.

    Raises:
        ExportError: An import in the block failed.
    """
    try:
        yield
    except ImportError as error:
        raise ExportError(f"{library} is not installed ({error}): pip install 'hubserve[{extra}]'") from error
