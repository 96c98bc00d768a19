"""The serving image, built from its Containerfile on a Debian base and run with a read-only root, without a daemon.

HUBSERVE_IMAGE_STORAGE names a folder in which the storage of buildah is kept, for another run that builds nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from hubserve import store
from hubserve.package.package import read_package
from hubserve.process_tree import descendants
from tests.images import photo
from tests.service.conftest import ROOT, free_port
from tests.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.timeout(2400), pytest.mark.xdist_group("server")]

SERVING = ROOT / "scripts" / "deploy" / "serving"
TOOLS = ("buildah", "mmdebstrap", "unshare", "chroot")
MOST_MB = 700
IMAGE = "localhost/hubserve-serving"

MOUNTS = """
set -e
mount --bind "$ROOT" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount --bind /etc/hosts "$ROOT/etc/hosts"
mount -t tmpfs -o size=64m,mode=1777 tmpfs "$ROOT/tmp"
mount --bind "$STORE" "$ROOT/store"
mount -o remount,bind,ro "$ROOT"
exec chroot --userspec="$OWNER" "$ROOT" /usr/bin/env -i "$@"
"""
"""Makes the root read-only, but for the store and a small /tmp, and becomes what it is given, as the user OWNER."""


@dataclass(frozen=True)
class ServingImage:
    """A built image.

    Attributes:
        root: Its root file system.
        config: Its configuration: user, variables, entrypoint and signal.
        megabytes: Size of the files in it.
    """

    root: Path
    config: dict
    megabytes: float


def run(*command: str, seconds: float = 1800) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=ROOT)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[ServingImage]:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.getuid() != 0:
        pytest.skip(f"an image is built and run by root with {', '.join(TOOLS)}; missing: {', '.join(missing) or 'root'}")
    kept = os.environ.get("HUBSERVE_IMAGE_STORAGE")
    work = Path(kept) if kept else tmp_path_factory.mktemp("image")
    buildah = ("buildah", "--root", str(work / "store"), "--runroot", str(work / "run"), "--storage-driver", "vfs")
    if IMAGE not in run(*buildah, "images"):
        build(work, buildah)
    container = run(*buildah, "from", "--pull-never", IMAGE)
    try:
        config = json.loads(run(*buildah, "inspect", "--type", "image", IMAGE))["OCIv1"]["config"]
        root = Path(run(*buildah, "mount", container))
        yield ServingImage(root, config, int(run("du", "-s", "--block-size=1", str(root)).split()[0]) / 1e6)
    finally:
        run(*buildah, "rm", container)


def build(work: Path, buildah: tuple[str, ...]) -> None:
    """Builds the image of the Containerfile: Debian with Python as its base, and wheels that were downloaded before."""
    base = work / "base.tar"
    run("mmdebstrap", "--variant=minbase", "--include=ca-certificates,python3,python3-venv", "bookworm", str(base))
    container = run(*buildah, "from", "scratch")
    run(*buildah, "add", "-q", container, str(base), "/")
    run(*buildah, "commit", "-q", container, "localhost/base")
    run(*buildah, "rm", container)
    wheels, constraints = work / "wheels", str(ROOT / "constraints.txt")
    wanted = ("-r", str(SERVING / "requirements.txt"), "-c", constraints)
    run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--only-binary=:all:",
        "--python-version=3.11",
        "-d",
        str(wheels),
        *wanted,
    )
    options = ("--isolation", "chroot", "--pull-never", "--format", "docker", "--volume", f"{wheels}:/wheels:ro")
    arguments = ("--build-arg", "BASE=localhost/base", "--build-arg", "PIP_OPTIONS=--no-index --find-links=/wheels")
    run(*buildah, "bud", *options, *arguments, "-f", str(SERVING / "Containerfile"), "-t", IMAGE, str(ROOT))


@dataclass(frozen=True)
class Running:
    """A container of the image.

    Attributes:
        url: Of its server.
        entrypoint: Its first process, which is number 1 in its own name space.
        outer: Process that waits for it.
        log: What it printed.
    """

    url: str
    entrypoint: int
    outer: subprocess.Popen[bytes]
    log: Path


@pytest.fixture
def running(image, lite0, tmp_path) -> Iterator[Running]:
    """Pulls the model from a folder in its volume, as it would from a bucket."""
    volume, port = tmp_path / "volume", free_port()
    volume.mkdir()
    store.push(read_package(lite0).path, f"file://{volume}/remote")
    owner = image.config["User"]
    shutil.chown(volume, *map(int, owner.split(":")))
    variables = [*image.config["Env"], "HUBSERVE_PULL=file:///store/remote"]
    command = [*image.config["Entrypoint"], "--port", str(port)]
    env = {"PATH": os.environ["PATH"], "ROOT": str(image.root), "STORE": str(volume), "OWNER": owner}
    log = tmp_path / "log"
    with log.open("wb") as file:
        outer = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", MOUNTS, "sh", *variables, *command],
            env=env,
            stdout=file,
            stderr=file,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: ready(url) or outer.poll() is not None, seconds=240)
        assert outer.poll() is None, log.read_text()
        yield Running(url, min(descendants(outer.pid)), outer, log)
    finally:
        # The change of user in the image clears what `--kill-child` asked for: the server would outlive the test.
        for process in descendants(outer.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        outer.kill()
        outer.wait()


def ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def test_the_image_is_small_and_has_no_torch(image):
    installed = {path.name for path in image.root.glob("opt/venv/lib/python3*/site-packages/*")}
    assert {"onnxruntime", "bentoml"} <= installed
    assert not installed & {"torch", "torchvision", "onnx", "scipy", "optuna", "pip"}
    print(f"{image.megabytes:.0f} MB")
    assert image.megabytes < MOST_MB


def test_it_pulls_and_serves_as_its_own_user_on_a_read_only_root(running, image):
    answer = httpx2.post(f"{running.url}/classify", content=photo("coffee"), timeout=60).raise_for_status().json()
    assert answer["predictions"][0]["label"] == "espresso"
    assert answer["model"].startswith("efficientnet-lite0:")
    processes = [running.entrypoint, *descendants(running.entrypoint)]
    status = [Path(f"/proc/{process}/status").read_text() for process in processes]
    owner = image.config["User"].split(":")[0]
    assert all(line.split()[1:] == [owner] * 4 for text in status for line in text.splitlines() if line.startswith("Uid:"))
    mounts = [line.split() for line in Path(f"/proc/{running.entrypoint}/mounts").read_text().splitlines()]
    (flags,) = [options for _, target, _, options, *_ in mounts if target == "/"]
    assert "ro" in flags.split(",")
    assert not any("torch" in Path(f"/proc/{process}/maps").read_text() for process in processes)
    assert "Traceback" not in running.log.read_text()


def test_sigterm_ends_it(running):
    os.kill(running.entrypoint, signal.SIGTERM)
    began = time.monotonic()
    assert running.outer.wait(60) in (0, 128 + signal.SIGTERM), running.log.read_text()
    assert not ready(running.url)
    print(f"{time.monotonic() - began:.1f} s")
    assert "Traceback" not in running.log.read_text()
