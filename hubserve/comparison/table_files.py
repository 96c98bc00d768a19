"""`table_file`, which returns the file of a table: one of this machine, or a download that is checked by its SHA-256."""

from pathlib import Path

from hubserve.errors import ChecksumError, EvaluatorError, WeightsUnavailableError
from hubserve.home import home
from hubserve.hub.download import Download, check_sha256
from hubserve.remote_files import offline


def table_file(place: str, sha256: str | None = None) -> Path:
    """Returns the path of the file of a table.

    Args:
        place: Path of a file, or URL of one (http or https), which is kept in HUBSERVE_HOME/benchmarks.
        sha256: Expected SHA-256 of the file in hexadecimal, or its first digits, at least 8; a URL needs it. None does not
            check the file. A file that was downloaded earlier is not checked again.

    Raises:
        EvaluatorError: There is no such file, it has another SHA-256, `sha256` is too short or not hexadecimal, a URL is given
            without it, or the file cannot be downloaded (also because HUBSERVE_OFFLINE is set).
        StorageError: The downloaded file cannot be written.
    """
    if sha256 is not None and (len(sha256) < 8 or set(sha256.lower()) - set("0123456789abcdef")):
        raise EvaluatorError(f"{sha256!r} is no SHA-256: give at least its first 8 hexadecimal digits")
    if not place.startswith(("http://", "https://")):
        path = Path(place)
        if not path.is_file():
            raise EvaluatorError(f"there is no file {path}")
        if sha256 is not None:
            _check(path, sha256.lower())
        return path
    if sha256 is None:
        raise EvaluatorError(f"{place} is downloaded only together with the SHA-256 that its file must have; give it, too")
    path = home() / "benchmarks" / f"{sha256.lower()[:8]}-{place.partition('?')[0].rsplit('/', 1)[-1] or 'table'}"
    if not path.exists() and offline():
        raise EvaluatorError(
            f"{place} is not on this machine, and HUBSERVE_OFFLINE is set; give the path of a copy of the file"
        )
    try:
        return Download(place, path, sha256.lower()).fetch()
    except (WeightsUnavailableError, ChecksumError) as error:
        raise EvaluatorError(f"{place}: {error}; or give the path of a copy of the file") from error


def _check(path: Path, sha256: str) -> None:
    try:
        check_sha256(path, sha256)
    except ChecksumError as error:
        raise EvaluatorError(f"{path}: {error}") from error
