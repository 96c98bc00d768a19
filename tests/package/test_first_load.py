"""First loads: a file that never ends, or takes all memory, is refused in time, and what was loaded once is known."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import timeit
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import onnxruntime
import pytest
from PIL import Image

from hubserve.errors import ExportError, LateAnswerError, LoadLimitError
from hubserve.package import first_load
from hubserve.package.package import read_package
from hubserve.package.run_limit import RunLimit
from hubserve.service.engine import Engine
from tests import endless_onnx
from tests.images import encoded
from tests.process_tree import tree
from tests.stores import small_package
from tests.waiting import until

WHITE, BLACK = (encoded(Image.new("RGB", (40, 40), colour)) for colour in ("white", "black"))


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(first_load, "_known", set())


def started(model, tmp_path, **limits):
    load = read_package(endless_onnx.package_with(model, tmp_path / "package")).first_load("onnx", **limits)
    assert load is not None
    return load


@pytest.mark.parametrize("make", [endless_onnx.loop, endless_onnx.folded], ids=["a loop", "constants"])
def test_what_never_ends_is_ended(make, tmp_path):
    load = started(make(), tmp_path, seconds=4)
    start = time.monotonic()
    with pytest.raises(LoadLimitError, match="was not loaded and run within 4 s"):
        load.check()
    assert time.monotonic() - start < 15
    assert load._process.returncode == -signal.SIGALRM


@pytest.mark.slow
def test_it_ends_even_where_nobody_looks(tmp_path):
    load = started(endless_onnx.loop(), tmp_path, seconds=4)
    until(lambda: load._process.poll() is not None, 20)


def test_what_takes_too_much_memory_is_refused_before_it_has_it(tmp_path):
    load = started(endless_onnx.large(4), tmp_path, memory_bytes=3e9)
    peak = 0
    while not load.ended:
        peak = max(peak, _resident_mb(load._process.pid))
        time.sleep(0.02)
    with pytest.raises(LoadLimitError, match="takes more than the 3,000 MB that loading it may take"):
        load.check()
    assert peak < 1000


@pytest.mark.parametrize("make", [endless_onnx.large, endless_onnx.large_map], ids=["a constant", "computed from the image"])
def test_one_inference_that_needs_more_than_the_machine_has_is_refused(make, tmp_path):
    """64 GiB for one image, with the limit that the service sets."""
    folder = endless_onnx.package_with(make(64), tmp_path / "package")
    assert (folder / "model.onnx").stat().st_size < 2000
    load = read_package(folder).first_load("onnx", memory_bytes=4e9)
    peak = 0
    while not load.ended:
        peak = max(peak, _resident_mb(load._process.pid))
        time.sleep(0.02)
    with pytest.raises(LoadLimitError, match=r"takes more than the [\d,]+ MB that loading it may take"):
        load.check()
    assert peak < 1000


def test_a_file_that_is_no_model_has_its_own_error(tmp_path):
    folder = endless_onnx.package_with(endless_onnx.large(1), tmp_path / "package")
    (folder / "model.onnx").write_bytes(b"hello")
    with pytest.raises(ExportError, match="ONNX Runtime cannot load"):
        read_package(folder).runner("onnx")


def test_what_was_loaded_is_known_and_what_was_written_here_too(tmp_path):
    folder = endless_onnx.package_with(endless_onnx.loop_for_white(), tmp_path / "package")
    package = read_package(folder)
    assert package.first_load("onnx") is not None
    package.runner("onnx")
    assert package.first_load("onnx") is None
    first_load._known.clear()  # Another process remembers it by the folder.
    assert package.first_load("onnx") is None
    assert read_package(folder, trusted=True).first_load("openvino") is not None  # It has a loop.
    assert package.first_load("torchscript") is None
    onnx.save(endless_onnx.large(1), folder / "model.onnx")
    assert package.first_load("onnx") is not None


def test_an_export_is_known(monkeypatch):
    monkeypatch.setattr("hubserve.package.trust.was_written_here", lambda sha256: True)
    assert small_package().first_load("onnx") is None


def test_a_call_that_hangs_is_ended_and_frees_its_thread(tmp_path):
    engine = Engine(read_package(endless_onnx.package_with(endless_onnx.loop_for_white(), tmp_path / "package")), seconds=1)
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        with pytest.raises(LateAnswerError, match=r"did not answer .* within 1 s, and was ended"):
            pool.submit(engine.classify, WHITE).result(20)
        assert time.monotonic() - start < 10
        assert pool.submit(engine.classify, BLACK).result(20).predictions


@pytest.mark.slow
def test_openvino_gives_a_call_up(tmp_path):
    pytest.importorskip("openvino")
    # In a process of its own: the call cannot be ended, and takes a core as long as its process.
    folder = endless_onnx.package_with(endless_onnx.loop_for_white(), tmp_path / "package")
    program = f"""
import os, numpy as np
from pathlib import Path
from hubserve.package.package import read_package
runner = read_package(Path({str(folder)!r}), trusted=True).runner("openvino", seconds=1)
print(runner(np.zeros((1, 3, 32, 32), np.float32)).shape)
for _ in range(2):
    try:
        runner(np.full((1, 3, 32, 32), 3, np.float32))
    except Exception as error:
        print(type(error).__name__, error, flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    first, second, third = done.stdout.splitlines()
    assert first == "(1, 7)"
    assert second.startswith("LateAnswerError OpenVINO did not answer (1, 3, 32, 32) within 1 s")
    assert third.startswith("LateAnswerError 1 calls of OpenVINO did not end")


@pytest.mark.slow
@pytest.mark.parametrize("make", [endless_onnx.loop, endless_onnx.loop_for_white], ids=["loading", "inference"])
@pytest.mark.parametrize("command", ["predict", pytest.param("eval", marks=pytest.mark.slow)])
def test_a_command_ends_by_ctrl_c(make, command, tmp_path):
    folder = endless_onnx.package_with(make(), tmp_path / "package")
    (tmp_path / "images" / "kind 0").mkdir(parents=True)
    (tmp_path / "images" / "kind 0" / "a.png").write_bytes(WHITE)
    images = str(tmp_path / "images" / ("kind 0/a.png" if command == "predict" else ""))
    if make is endless_onnx.loop_for_white:
        read_package(folder).runner("onnx")
    process = subprocess.Popen(
        [sys.executable, "-m", "hubserve", command, str(folder), images],
        stderr=subprocess.DEVNULL,
    )
    try:
        # In the loop: in the process that it started to load the model, or in itself, for a second beyond its start.
        until(lambda: len(tree(process.pid)) > 1 if make is endless_onnx.loop else _processor_seconds(process.pid) > 2.5, 60)
        time.sleep(2)
        assert process.poll() is None
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert time.monotonic() - start < 10
    finally:
        process.kill()
        process.wait()


def test_the_limit_of_a_call_costs_microseconds():
    def call() -> None:
        with RunLimit(onnxruntime.RunOptions(), 60):
            pass

    assert min(timeit.repeat(call, number=1000, repeat=5)) / 1000 < 30e-6


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_a_time_limit_that_is_none(monkeypatch, text):
    monkeypatch.setenv("HUBSERVE_LOAD_SECONDS", text)
    with pytest.raises(LoadLimitError, match=f"HUBSERVE_LOAD_SECONDS is '{text}'; set a number of seconds above 0"):
        first_load._seconds()
