"""A model store whose folder of models lies on another file system than the rest of BENTOML_HOME, such as a volume."""

import errno
import shutil
import tempfile
from pathlib import Path

import pytest

from hubserve import store
from hubserve.errors import StorageError
from tests.stores import small_package, store_at

MEMORY = Path("/dev/shm")


@pytest.fixture
def models(tmp_path):
    """The folder of models of an empty store, on another file system than the store's staging folder."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    home = tmp_path / "bentoml"
    home.mkdir()
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        (home / "models").symlink_to(folder)
        with store_at(home):
            yield Path(folder)


def test_versions_come_and_go(models, tmp_path):
    first = store.publish(small_package().path, name="own", version="1")
    second = store.publish(small_package().path, name="own", version="2")
    assert first.path.resolve().stat().st_dev == models.stat().st_dev
    assert [model.tag for model in store.list_models()] == ["own:2", "own:1"]
    second.package.verify()
    archive = tmp_path / "own.bentomodel"
    store.export_model("own:1", archive)
    store.delete("own:1")
    assert [model.tag for model in store.list_models()] == ["own:2"]
    store.delete("own:2")
    assert store.list_models() == []
    assert store.import_model(archive).tag == "own:1"
    assert [path.name for path in models.iterdir()] == ["own"]


def test_a_copy_that_fails_leaves_nothing(models, monkeypatch):
    whole = shutil.copytree

    def full(source, target, **options):
        if models not in Path(target).resolve().parents:
            return whole(source, target, **options)
        Path(target).mkdir(parents=True)
        (Path(target) / "manifest.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(StorageError, match="o space"):
        store.publish(small_package().path, name="own", version="1")
    assert store.list_models() == []
    assert not [path for path in models.rglob("*") if path.is_file()]
