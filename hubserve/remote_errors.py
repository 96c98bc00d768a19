"""`reporting` turns the errors of fsspec, s3fs and huggingface_hub into one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager

from hubserve.errors import HubserveError, RemoteError, RemoteMissingError
from hubserve.storage_faults import denial, storage_error


@contextmanager
def reporting(url: str, *, reading: bool = False) -> Iterator[None]:
    """Context manager that turns the errors of fsspec, s3fs and huggingface_hub in its block into one sentence each.

    Args:
        url: Address of the folder.
        reading: Whether the block reads, so that a folder of this machine that is not open to this user is no StorageError.

    Raises:
        RemoteMissingError: What was to be read does not exist.
        RemoteError: The place cannot be reached, or refuses access.
        StorageError: A disk of this machine that is written to is full, read-only or forbidden.
    """
    try:
        yield
    except HubserveError:
        raise
    except Exception as error:
        raise _translated(error, url, reading) from error


def _translated(error: Exception, url: str, reading: bool) -> HubserveError:
    scheme = url.partition("://")[0]
    names = {kind.__name__ for cause in _chain(error) for kind in type(cause).__mro__}
    if scheme == "file" and (why := denial(error)):
        return RemoteError(f"{url} cannot be read: {why}") if reading else storage_error(error) or RemoteError(why)
    if scheme == "file" and not reading and (fault := storage_error(error)) is not None:
        return fault
    if scheme == "hf" and (found := _translated_hub(error, url, names)) is not None:
        return found
    if scheme == "s3" and (found := _translated_s3(error, url, names)) is not None:
        return found
    if names & {"TransportError", "ConnectionError", "EndpointConnectionError", "ConnectTimeoutError", "TimeoutException"}:
        return RemoteError(f"{url} cannot be reached: {describe(error)}")
    if isinstance(error, FileNotFoundError):
        return RemoteMissingError(f"{url}: there is no such file or folder: {describe(error)}")
    return RemoteError(f"{url} cannot be used: {describe(error)}")


def _translated_hub(error: Exception, url: str, names: set[str]) -> HubserveError | None:
    from huggingface_hub.errors import HfHubHTTPError

    status = next((e.response.status_code for e in _chain(error) if isinstance(e, HfHubHTTPError)), None)
    # The hub answers 401 also for names that do not exist, where nobody is logged in.
    if "GatedRepoError" in names or status == 403:
        return RemoteError(f"{url}: this account has no permission there; ask its owner, or log in as another one (HF_TOKEN)")
    if "RevisionNotFoundError" in names:
        return RemoteMissingError(f"{url}: the repository has no such revision")
    if "EntryNotFoundError" in names:
        return RemoteMissingError(f"{url}: there is no such file or folder: {describe(error)}")
    if "RepositoryNotFoundError" in names or status == 401:
        return RemoteMissingError(
            f"{url}: there is no such repository, or it is not open to this account; log in with `hf auth login` or HF_TOKEN"
        )
    if status == 412:
        return RemoteError(f"{url} was changed by somebody else during the push, so nothing was pushed; push it again")
    if status is not None:
        return RemoteError(f"{url}: the hub answered with HTTP {status}: {describe(error)}")
    return None


def _translated_s3(error: Exception, url: str, names: set[str]) -> HubserveError | None:
    if is_missing_bucket(error):
        return RemoteMissingError(f"{url}: there is no such bucket; create it first")
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
        return RemoteError(f"{url}: no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    if isinstance(error, PermissionError):
        return RemoteError(
            f"{url}: S3 refuses access: {describe(error)}; the credentials are in AWS_ACCESS_KEY_ID or AWS_PROFILE"
        )
    return None


def is_missing_bucket(error: BaseException) -> bool:
    """Returns whether an error, or a cause of it, says that a bucket of S3 does not exist."""
    codes = (getattr(cause, "response", None) for cause in _chain(error))
    return any(isinstance(found, dict) and found.get("Error", {}).get("Code") == "NoSuchBucket" for found in codes)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def describe(error: BaseException) -> str:
    """Returns the name of the error's class and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
