"""Aliases: names, such as `production`, that stand for a model in the store, and optionally for a second one, the canary.

A service sends a percentage of the traffic of an alias to its canary. The aliases are in the file
BENTOML_HOME/hubserve.aliases.json, which is replaced atomically; a running service notices the change.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hubserve import store
from hubserve.atomic import write_atomic
from hubserve.errors import AliasError, ModelNotFoundError
from hubserve.similar_names import suggest
from hubserve.storage_faults import storage_error
from hubserve.store.stored_models import NAME, StoredModel

FILE = "hubserve.aliases.json"
PRODUCTION = "production"
"""The alias whose model answers a request if neither the request nor the service's settings name a model."""


class Alias(BaseModel):
    """The model that an alias stands for.

    Attributes:
        model: Tag of a version ("name:version"), or the name of a model for its newest version.
        canary: Tag or name of a second model, which gets a part of the traffic; None if there is none.
        weight: Percentage of the traffic that the canary gets, 1 to 99; 0 if there is no canary.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    canary: str | None = None
    weight: Annotated[int, Field(ge=0, le=99)] = 0


_Aliases = TypeAdapter(dict[str, Alias])


def list_aliases() -> dict[str, Alias]:
    """Returns all aliases by name; an empty dictionary if there are none.

    Raises:
        AliasError: The file of aliases is corrupt or cannot be read.
        StorageError: This user may not read the file of aliases.
        StoreError: This user has no BentoML folder, and none can be made.
    """
    try:
        return _Aliases.validate_json(_path().read_bytes())
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        raise storage_error(error, _path()) or error from error
    except (OSError, ValidationError) as error:
        raise AliasError(f"{_path()} cannot be read ({error}); correct it, or remove it to start without aliases") from error


def meaning(name: str, known: Mapping[str, Alias]) -> Alias:
    """Returns the alias `name` in `known`; if there is none, returns an `Alias` whose `model` is `name` itself."""
    return known.get(name) or Alias(model=name)


def resolve(name: str) -> StoredModel:
    """Returns the version that an alias, a name or a tag stands for now.

    For an alias it is the version of `Alias.model`, never that of the canary.

    Raises:
        ModelNotFoundError: There is no such alias, name or tag, or the model of the alias is not in the store.
        AliasError: The file of aliases is corrupt or cannot be read.
        StorageError: This user may not read the file of aliases, or not list the store.
        StoreError: The store is not a folder, or cannot be made.
    """
    known = list_aliases()
    try:
        return store.resolve(meaning(name, known).model)
    except ModelNotFoundError as error:
        if name in known:
            raise ModelNotFoundError(f"the alias {name} means {known[name].model}, and {error}") from error
        if known:
            raise ModelNotFoundError(f"{error} Of the aliases: {suggest(name, known)}") from error
        raise


def stamp() -> tuple[int, int]:
    """Returns a value that changes whenever the file of aliases is replaced; (0, 0) if there is no file that can be seen.

    Raises:
        StoreError: This user has no BentoML folder, and none can be made.
    """
    try:
        status = _path().stat()
    except OSError:
        return (0, 0)
    return status.st_mtime_ns, status.st_ino


def set_alias(name: str, model: str, *, canary: str | None = None, weight: int = 10) -> Alias:
    """Creates an alias, or replaces the one of that name, and returns it.

    Args:
        name: Name of the alias: at most 63 lower-case letters and digits, with '-', '_' and '.' between them; not "latest".
        model: Tag of a version, or the name of a model for its newest version.
        canary: Tag or name of a second model, which gets a part of the traffic; None for no canary.
        weight: Percentage of the traffic that the canary gets, 1 to 99; ignored if `canary` is None.

    Raises:
        AliasError: The name is not allowed or is the name of a model, the weight is out of range, or the file of aliases is
            corrupt or cannot be written.
        ModelNotFoundError: The store does not have `model` or `canary`.
        StoreError: The store is not a folder, or cannot be made.
        OSError: The store cannot be listed, the folder of the aliases cannot be made, this user may not read the file of
            aliases, or another process has held the lock of the file for 10 s.
    """
    if not NAME.fullmatch(name) or name == "latest":
        raise AliasError(f"alias {name!r} is not allowed: lower-case letters and digits, with '-', '_' and '.' between them")
    if any(stored.name == name for stored in store.list_models()):
        raise AliasError(f"alias {name!r} is not allowed: a model in the store is called so; choose another name")
    if canary is not None and not 1 <= weight <= 99:
        raise AliasError(f"weight = {weight}: the canary gets 1 to 99 percent of the traffic; without a canary give none")
    for tag in (model, canary):
        if tag is not None:
            store.resolve(tag)
    alias = Alias(model=model, canary=canary, weight=0 if canary is None else weight)
    with _lock():
        _write({**list_aliases(), name: alias})
    return alias


def delete_alias(name: str) -> None:
    """Deletes the alias `name`; the models that it stands for stay in the store.

    Raises:
        ModelNotFoundError: There is no such alias.
        AliasError: The file of aliases is corrupt or cannot be written.
        StoreError: This user has no BentoML folder, and none can be made.
        OSError: The folder of the aliases cannot be made, this user may not read the file of aliases, or another process has
            held the lock of the file for 10 s.
    """
    with _lock():
        aliases = list_aliases()
        if name not in aliases:
            raise ModelNotFoundError(f"no alias is called {name!r}. {suggest(name, aliases)}")
        _write({other: alias for other, alias in aliases.items() if other != name})


def _write(aliases: dict[str, Alias]) -> None:
    path = _path()
    try:
        write_atomic(path, _Aliases.dump_json(aliases, indent=2).decode() + "\n")
    except OSError as error:
        raise AliasError(f"{path} cannot be written: {error}") from error


def _lock() -> FileLock:
    """Returns the lock, not yet acquired, to hold while the file of aliases is changed; makes its folder.

    Readers do not need it, since the file is replaced atomically. Acquiring it raises `filelock.Timeout` after 10 s.
    """
    store.bentoml_home().mkdir(parents=True, exist_ok=True)
    return FileLock(str(_path()) + ".lock", timeout=10)


def _path() -> Path:
    return store.bentoml_home() / FILE
