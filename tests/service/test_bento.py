"""A bento serves on a machine that has its code and models from nowhere else; a container, but for Docker itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from bentoml._internal.bento import Bento
from bentoml._internal.container import construct_containerfile
from bentoml._internal.container.generate import BENTO_UID_GID

from tests.images import photo
from tests.process_tree import listening
from tests.service.conftest import ROOT, environment, free_port, start, stop
from tests.stores import store_at

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(scope="module")
def tag(server) -> str:
    """Of a bento that was built on the machine of `server`, with its model."""
    command = [sys.executable, "-m", "bentoml", "build", str(ROOT), "--output", "tag"]
    built = subprocess.run(command, env=environment(server.home), capture_output=True, text=True, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    return built.stdout.strip().splitlines()[-1].removeprefix("__tag__:")


@dataclass(frozen=True)
class Image:
    """What `bentoml containerize` hands to Docker, unpacked.

    Attributes:
        root: stands for /.
        dockerfile: as BentoML wrote it.
    """

    root: Path
    dockerfile: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment that it gives to BentoML, with its paths under `root`."""
        found = re.findall(r"^ENV (BENTO\w*)=(\S+)$", self.dockerfile, re.MULTILINE)
        values = {"BENTO_PATH": self.path, **{name: value for name, value in found if name != "BENTO_PATH"}}
        return {name: f"{self.root}{value}" if value.startswith("/") else value for name, value in values.items()}

    @property
    def path(self) -> str:
        """Of the bento in it."""
        return re.findall(r"^ARG BENTO_PATH=(\S+)$", self.dockerfile, re.MULTILINE)[0]


@pytest.fixture(scope="module")
def image(server, tag, tmp_path_factory) -> Image:
    root = tmp_path_factory.mktemp("image")
    name, _, version = tag.partition(":")
    with (
        store_at(server.home),
        construct_containerfile(Bento.from_path(server.home / "bentos" / name / version)) as (context, dockerfile),
    ):
        unpacked = Image(root, (Path(context) / dockerfile).read_text())
        # COPY . ./ in its working directory.
        shutil.copytree(context, f"{root}{unpacked.path}")
    return unpacked


@contextmanager
def serving(command: list[str], home: Path, log: Path, cwd: Path, more: dict[str, str]) -> Iterator[str]:
    """The address of a server with no code but the bento's."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    more = {"PYTHONPATH": "", **more}
    process = start([*command, "--host", "127.0.0.1", "--port", str(port)], home, log, url, cwd=cwd, more=more)
    try:
        assert listening(process.pid) == {f"tcp 127.0.0.1:{port}"}
        yield url
    finally:
        stop(process)


def check_it_classifies(url: str, log: Path, models: Path) -> None:
    answer = httpx2.post(f"{url}/classify", content=photo("coffee"), timeout=30).raise_for_status().json()
    assert answer["predictions"][0]["label"] == "espresso"
    assert answer["model"].startswith("efficientnet-lite0:")
    assert [path.name for path in models.iterdir()] == ["efficientnet-lite0"]
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("answers for requests that name no model") == 1


@pytest.mark.slow
def test_a_built_bento_serves(server, tag, tmp_path):
    command = [sys.executable, "-m", "bentoml", "serve", tag]
    with serving(command, server.home, tmp_path / "log", tmp_path, {}) as url:
        check_it_classifies(url, tmp_path / "log", server.home / "models")


@pytest.mark.slow
def test_a_container_serves_what_the_bento_brought(image, tmp_path):
    """By its own entrypoint and variables, with a store that nobody has published to; and again, from the copy."""
    variables = image.variables
    home, bento = Path(variables["BENTOML_HOME"]), Path(variables["BENTO_PATH"])
    assert bento.parent == home, "the image's folders are other than they were: see docs/deploy.md"
    variables["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(bento / "env" / "docker" / "entrypoint.sh"), "serve"]
    for log, brought in ((tmp_path / "first", True), (tmp_path / "second", False)):
        with serving(command, home, log, bento, variables) as url:
            check_it_classifies(url, log, home / "models")
        assert ("came with the bento" in log.read_text()) == brought


@pytest.mark.slow
def test_the_image_has_a_folder_for_a_volume(image):
    """The script that makes it runs as root, before the user changes to that of BentoML."""
    run = image.dockerfile.index("./env/docker/script__")
    assert image.dockerfile.index("useradd") < run < image.dockerfile.rindex("USER bentoml")
    (script,) = Path(f"{image.root}{image.path}", "env", "docker").glob("script__*")
    uid = str(BENTO_UID_GID)
    assert script.read_text().splitlines()[-1].split() == [
        *("install", "-d", "-o", uid, "-g", uid),
        str(Path(image.path).parent / "store"),
    ]
