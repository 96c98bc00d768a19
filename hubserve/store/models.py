"""The model store: BentoML's, holding our packages.

A version appears in the store by one rename, so a reader, or a `kill -9` in the middle of publishing, never sees half of one.
BentoML's own `save` copies file by file into the final place; here it writes to a second store on the same disk first.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import Model, ModelStore
from bentoml.exceptions import BentoMLException

from hubserve.errors import AlreadyPublishedError, ModelNotFoundError, StoreError, suggest
from hubserve.package.manifest import Manifest
from hubserve.package.package import MANIFEST, Package, read_package

MODULE = "hubserve"
"""Marks our models among others in BentoML's store."""

MODEL_YAML, LATEST = "model.yaml", "latest"
"""BentoML's description of a version, in its folder, and its note of which version is the newest, beside them."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class StoredModel:
    """One version of a model in the store.

    Attributes:
        tag: "name:version".
        path: folder of its package.
        created: when it was published.
    """

    tag: str
    path: Path
    created: datetime

    @property
    def name(self) -> str:
        """The tag without its version."""
        return self.tag.partition(":")[0]

    @cached_property
    def package(self) -> Package:
        """Read anew from disk; raises PackageError."""
        return read_package(self.path)


def publish(path: Path, *, name: str | None = None, version: str | None = None) -> StoredModel:
    """Puts a package into the store, after checking every file's hash and that parity was proven.

    Args:
        path: of the package.
        name: of the model; the package's own unless given.
        version: the package's content decides unless given, so that publishing it again changes nothing.

    Raises:
        PackageError: not a package, changed, or unproven.
        StoreError: a name or version that the store does not allow.
        AlreadyPublishedError: that version exists and is another package.
    """
    package = read_package(path)
    package.verify()
    name = _checked("name", name or package.manifest.name.lower())
    version = _checked("version", version or _content_version(path))
    there = _store_path() / name / version
    if there.exists():
        return _already(there, package, f"{name}:{version}")
    with _staged(f"{name}:{version}", package) as staged:
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(staged, there)
        except OSError:
            if not there.exists():
                raise
            # Someone else published it just now.
            return _already(there, package, f"{name}:{version}")
    _point_latest(there)
    return resolve(f"{name}:{version}")


def list_models() -> list[StoredModel]:
    """All versions of all our models, newest first."""
    return _listed("*")


def stamp() -> tuple[tuple[str, int], ...]:
    """Another value after each publish and delete, for the price of a look at the names alone."""
    try:
        with os.scandir(_store_path()) as entries:
            return tuple(sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries))
    except OSError:
        return ()


def folder() -> Path:
    """BENTOML_HOME: it holds the models in a folder of their own, and beside that what is said about them."""
    return _store_path().parent


def resolve(tag: str) -> StoredModel:
    """The model of that name or tag; a name, or "name:latest", means its newest version.

    Raises:
        ModelNotFoundError: none; the message has the nearest names.
    """
    name, colon, version = tag.partition(":")
    if _NAME.fullmatch(name) and (not colon or _NAME.fullmatch(version)):
        stored = _newest(name) if version in ("", "latest") else _read(_store_path() / name / version)
        if stored is not None:
            return stored
    raise ModelNotFoundError(_not_found(tag, name, version))


def delete(tag: str) -> None:
    """Takes a version out of the store, by one rename. Raises ModelNotFoundError."""
    stored = resolve(tag)
    with _scratch("delete") as grave:
        try:
            os.rename(stored.path, grave / stored.path.name)
        except FileNotFoundError as error:
            raise ModelNotFoundError(f"{stored.tag} was deleted by someone else just now") from error
    _settle(stored.path.parent)


def export_model(tag: str, path: Path) -> Path:
    """Writes a version as one file that BentoML's, and our, import reads; returns the file.

    Raises:
        ModelNotFoundError: no such version.
        StoreError: the file cannot be written.
    """
    stored = resolve(tag)
    try:
        return Path(bentoml.models.export_model(stored.tag, str(path.resolve())))
    except (BentoMLException, OSError) as error:
        raise StoreError(f"cannot write {stored.tag} to {path}: {error}") from error


def import_model(path: Path) -> StoredModel:
    """Puts an exported version into this store, checked as in `publish`.

    Raises:
        StoreError: not an exported model, or the version exists.
        PackageError: it was changed since it was exported.
    """
    with _scratch("import") as scratch:
        model = _unpacked(path, scratch)
        return publish(Path(model.path), name=model.tag.name, version=model.tag.version)


def unpack_bento() -> list[str]:
    """Copies the models that the bento carries, whose code this is, into the store; returns the tags that were missing there.

    BentoML serves a bento that has its models beside its code, as in a container, with a store in that folder, and leaves the
    one in BENTOML_HOME as it is. Ours is that one: it is published to, and outlives an image. A copy keeps the time when it was
    published, so what was published later stays the newest.

    Raises:
        StoreError: the store cannot be written.
    """
    carried = Path(BentoMLContainer.model_store.get()._path)
    if carried.resolve() == _store_path().resolve():
        return []
    found = [_read(path.parent) for path in sorted(carried.glob(f"*/*/{MODEL_YAML}"))]
    return [model.tag for model in found if model is not None and _copied(model)]


def _copied(model: StoredModel) -> bool:
    """Puts a version of another store into ours as it is. False where we have it."""
    there = _store_path() / model.name / model.path.name
    if there.exists():
        return False
    try:
        with _scratch("unpack") as scratch:
            shutil.copytree(model.path, scratch / there.name)
            there.parent.mkdir(parents=True, exist_ok=True)
            os.rename(scratch / there.name, there)
    except OSError as error:
        if there.exists():  # Another worker was as quick.
            return False
        raise StoreError(
            f"{model.tag} of the bento cannot be copied to {_store_path()}: {error}; BENTOML_HOME must be a folder that can be "
            "written, on one disk"
        ) from error
    _settle(there.parent)
    return True


def _unpacked(path: Path, scratch: Path) -> Model:
    try:
        return bentoml.models.import_model(str(path.resolve()), _model_store=ModelStore(scratch))
    except Exception as error:  # Each kind of archive has errors of its own for what is damaged.
        raise StoreError(f"{path} is not a model that was exported from a store: {error}") from error


@contextmanager
def _staged(tag: str, package: Package) -> Iterator[Path]:
    """The version as BentoML lays it out, in a store of its own, which is gone afterwards."""
    with _scratch("publish") as scratch:
        manifest = package.manifest
        with bentoml.models.create(
            tag, module=MODULE, labels=_labels(manifest), metadata=_metadata(manifest), _model_store=ModelStore(scratch)
        ) as model:
            for name in (MANIFEST, *manifest.files):
                shutil.copy2(package.path / name, Path(model.path) / name)
        name, _, version = tag.partition(":")
        yield scratch / name / version


def _labels(manifest: Manifest) -> dict[str, str]:
    return {"space": manifest.space, "origin": manifest.provenance.origin, "weights": manifest.provenance.weights}


def _metadata(manifest: Manifest) -> dict[str, Any]:
    metric = manifest.provenance.metric
    return {
        "input_size": manifest.preprocess.input_size,
        "classes": manifest.classes,
        "formats": list(manifest.exports),
        "metric": metric.model_dump(exclude_none=True) if metric else {},
        "search": manifest.provenance.search,
    }


def _already(there: Path, package: Package, tag: str) -> StoredModel:
    stored = _read(there)
    if stored is None or _content_version(there) != _content_version(package.path):
        raise AlreadyPublishedError(f"{tag} exists and is another package; give another --version, or delete it first")
    # Whoever published it may have been killed before it was noted as the newest.
    _settle(there.parent)
    return stored


def _listed(name: str) -> list[StoredModel]:
    """Our whole versions under `name`, which may be a pattern, newest first; what is half or not ours is passed over."""
    root = _store_path()
    if root.exists() and not root.is_dir():
        raise StoreError(f"the model store {root} is not a folder; BENTOML_HOME names the folder above it")
    found = (_read(path.parent) for path in root.glob(f"{name}/*/{MODEL_YAML}"))
    return sorted((model for model in found if model is not None), key=lambda model: model.created, reverse=True)


def _newest(name: str) -> StoredModel | None:
    """The version that is noted as the newest; without a note that holds, the one published last."""
    folder = _store_path() / name
    noted = _noted(folder)
    stored = _read(folder / noted) if _NAME.fullmatch(noted) else None
    return stored or next(iter(_listed(name)), None)


def _read(folder: Path) -> StoredModel | None:
    """The version in a folder of the store; None where it is not whole, not ours, or not there."""
    try:
        model = Model.from_path(folder)
    except Exception:  # Whatever is wrong with it, it is none of ours.
        return None
    ours = model.info.module == MODULE and (folder / MANIFEST).is_file()
    return StoredModel(str(model.tag), folder, model.info.creation_time) if ours else None


def _content_version(path: Path) -> str:
    """Digits of a hash of the manifest, which holds the hash of every file."""
    return hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()[:12]


def _point_latest(there: Path) -> None:
    """BentoML keeps the newest version's name in a file beside the versions."""
    handle, temporary = tempfile.mkstemp(dir=_unlisted())
    with os.fdopen(handle, "w") as file:
        file.write(there.name)
    os.replace(temporary, there.parent / LATEST)


def _settle(folder: Path) -> None:
    """Notes the version of `folder` that was published last as the newest; without one, the folder goes."""
    models = _listed(folder.name)
    if models:
        if _noted(folder) != models[0].path.name:
            _point_latest(models[0].path)
    elif not any(entry.is_dir() for entry in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _noted(folder: Path) -> str:
    """The version that is noted as the newest; "" without a note."""
    try:
        return (folder / LATEST).read_text().strip()
    except OSError:
        return ""


def _checked(what: str, text: str) -> str:
    if not _NAME.fullmatch(text) or text == "latest":
        raise StoreError(
            f"{what} {text!r} is not allowed: lower-case letters and digits, with '-', '_' and '.' between them, "
            "at most 63 in all, and not 'latest'"
        )
    return text


def _not_found(tag: str, name: str, version: str) -> str:
    versions = [model.tag for model in list_models() if model.name == name]
    if version and versions:
        return f"the store has no {tag!r}. {suggest(tag, versions)}"
    names = {model.name for model in list_models()}
    if not names:
        return f"the store has no {tag!r}: it is empty. `hubserve publish efficientnet-lite0` fills it"
    return f"the store has no {tag!r}. {suggest(name, names)}"


def _store_path() -> Path:
    return Path(BentoMLContainer.model_store_dir.get())


def _unlisted() -> Path:
    """A folder on the store's disk that nobody lists."""
    folder = Path(BentoMLContainer.tmp_bento_store_dir.get())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _scratch(purpose: str) -> Iterator[Path]:
    """A folder there that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"{purpose}.", dir=_unlisted()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
