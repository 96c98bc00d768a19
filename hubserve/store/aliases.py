"""Aliases: names such as `production` that mean a version in the store, or two with a share of the traffic each.

They lie beside the store in one file, `BENTOML_HOME/hubserve.aliases.json`, which is replaced in one step; a running service
follows it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from hubserve import store
from hubserve.atomic import write_atomic
from hubserve.errors import AliasError, ModelNotFoundError, suggest
from hubserve.storage_faults import storage_error
from hubserve.store.stored_models import NAME, StoredModel

FILE = "hubserve.aliases.json"
PRODUCTION = "production"
"""The alias whose model answers a request if neither the request nor the service's settings name a model."""


class Alias(BaseModel):
    """The model that an alias stands for.

    Attributes:
        model: Tag of a model, or a name for its newest version.
        canary: Tag or name of the model that gets a part of the traffic; None without one.
        weight: Percentage of the traffic that the canary gets, 1 to 99; 0 without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    canary: str | None = None
    weight: Annotated[int, Field(ge=0, le=99)] = 0


_Aliases = TypeAdapter(dict[str, Alias])


def list_aliases() -> dict[str, Alias]:
    """Returns all aliases by name; empty where there are none.

    Raises:
        AliasError: Their file is corrupt.
        StorageError: This user may not read their file.
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
    """Returns the alias called `name` in `known`; for any other name, an Alias whose model is `name` itself."""
    return known.get(name) or Alias(model=name)


def resolve(name: str) -> StoredModel:
    """The version that an alias, name or tag means now, as in the service; of an alias with a canary the stable one.

    Raises:
        ModelNotFoundError: No version in the store has this alias, name or tag.
        AliasError: The file of aliases is corrupt.
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
    """Returns a value that changes whenever the file of aliases is replaced; (0, 0) where there is no file."""
    try:
        status = _path().stat()
    except OSError:
        return (0, 0)
    return status.st_mtime_ns, status.st_ino


def set_alias(name: str, model: str, *, canary: str | None = None, weight: int = 10) -> Alias:
    """Makes a name stand for `model`, and for `weight` percent of the traffic `canary`; replaces what it stood for.

    Args:
        name: Name of the alias: lower-case letters and digits, with '-', '_' and '.' between them.
        model: Tag of a model, or a name for its newest version.
        canary: Tag or name of the model that gets a part of the traffic; None without one.
        weight: Percentage of the traffic that the canary gets, 1 to 99; not used without a canary.

    Raises:
        AliasError: The name is not allowed, or a model has it; or the weight is out of range.
        ModelNotFoundError: the store has no such model.
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
    """Deletes the alias `name`. Raises ModelNotFoundError if there is no such alias."""
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
    """A lock for changes of the file; readers need none, since it is replaced in one step."""
    store.bentoml_home().mkdir(parents=True, exist_ok=True)
    return FileLock(str(_path()) + ".lock", timeout=10)


def _path() -> Path:
    return store.bentoml_home() / FILE
