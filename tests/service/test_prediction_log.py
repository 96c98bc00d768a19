"""The log of predictions: off unless asked for, without images unless asked for, bounded, and never in the way of an answer."""

from __future__ import annotations

import base64
import json
import threading
from types import SimpleNamespace

import httpx2
import numpy as np
import pytest
from prometheus_client import REGISTRY

from hubserve import store
from hubserve.errors import OutputError
from hubserve.package.predictions import Prediction
from hubserve.service import prediction_log
from hubserve.service.engine import Answer
from hubserve.service.prediction_log import PredictionLog
from hubserve.service.settings import ServiceSettings
from tests.images import noise
from tests.stores import files_of, service_over, small_package
from tests.waiting import until


def opened(folder, **more) -> PredictionLog:
    return PredictionLog(folder, ServiceSettings(**more))


def answer() -> Answer:
    return Answer((Prediction(label="rose", index=4, probability=0.5),), 1.0, 1.0, 1, np.zeros(5, np.float32))


def unlogged() -> float:
    return REGISTRY.get_sample_value("hubserve_unlogged_predictions_total") or 0.0


def asked(tmp_path, monkeypatch, **more: str):
    """The lines that a service writes for two images, a body that is none, and one over the Open Inference Protocol."""
    for name, value in {"PREDICTION_LOG": str(tmp_path / "log"), **more}.items():
        monkeypatch.setenv(f"HUBSERVE_{name}", value)
    with service_over(tmp_path / "store") as url:
        store.publish(small_package().path, version="v1")
        texts = [base64.b64encode(data).decode() for data in (noise(), b"no image", noise(48))]
        headers = {"X-Request-Id": "order-7"}
        results = httpx2.post(f"{url}/classify", json={"images": texts}, headers=headers, timeout=30).json()["results"]
        tensor = {"name": "pictures", "shape": [1], "datatype": "BYTES", "data": texts[:1]}
        httpx2.post(f"{url}/v2/models/small/infer", json={"inputs": [tensor]}, timeout=30).raise_for_status()
    path = tmp_path / "log" / "predictions-0.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    return [json.loads(line) for line in path.read_text().splitlines()], [results[0], results[2]]


def test_what_a_line_has(tmp_path, monkeypatch):
    lines, results = asked(tmp_path, monkeypatch)
    assert len(lines) == 3
    for line, result in zip(lines, results, strict=False):
        best = result["predictions"][0]
        assert (line["request_id"], line["model"]) == ("order-7", "small:v1")
        assert {key: line[key] for key in best} == pytest.approx(best)
        assert set(line) == {"time", "request_id", "model", *best}


def test_images_only_if_asked_for(tmp_path, monkeypatch):
    lines, _ = asked(tmp_path, monkeypatch, PREDICTION_LOG_IMAGES="1")
    assert [base64.b64decode(line["image"]) for line in lines] == [noise(), noise(48), noise()]


def test_files_rotate(tmp_path):
    log = opened(tmp_path, prediction_log_mb=0.001, prediction_log_files=3)
    for _ in range(30):
        log.note("id", "rose:1", [b""], [answer()])
    log.close()
    sizes = {name: len(data) for name, data in files_of(tmp_path).items() if name.endswith((".jsonl", ".1", ".2", ".3"))}
    assert set(sizes) == {"predictions-0.jsonl", "predictions-0.jsonl.1", "predictions-0.jsonl.2"}
    assert max(sizes.values()) <= 1_000


def test_processes_have_files_of_their_own_and_go_on_with_them(tmp_path):
    first, second = (opened(tmp_path) for _ in range(2))
    first.close()
    third = opened(tmp_path)
    for log in (second, third):
        log.note("id", "rose:1", [b""], [answer()])
        log.close()
    names = [name for name in files_of(tmp_path) if name.endswith("jsonl")]
    assert names == ["predictions-0.jsonl", "predictions-1.jsonl"]


def test_a_disk_that_takes_nothing(tmp_path, caplog):
    (tmp_path / "predictions-0.jsonl").symlink_to("/dev/full")
    log, before = opened(tmp_path), unlogged()
    for _ in range(5):
        log.note("id", "rose:1", [b""], [answer()])
    log.close()
    assert unlogged() - before == 5
    assert caplog.text.count("No space left on device") == 1


def test_a_line_that_was_cut_ends_before_the_next_one(tmp_path):
    """By a killed process, and by a disk that has room for a part of a line."""
    path = tmp_path / "predictions-0.jsonl"
    path.write_text('{"time": "2026')
    log, before = opened(tmp_path), unlogged()
    log.note("first", "rose:1", [b""], [answer()])
    log.note("second", "rose:1", [b""], [answer()])
    until(lambda: len(path.read_text().splitlines()) == 3)
    stream, real = log._file.stream, log._file.stream.write
    log._file.stream = SimpleNamespace(seek=stream.seek, tell=stream.tell, write=lambda data: real(data[:10]))
    log.note("third", "rose:1", [b""], [answer()])
    until(lambda: unlogged() - before == 1)
    log._file.stream = stream
    log.note("fourth", "rose:1", [b""], [answer()])
    log.close()
    cut, *whole = path.read_text().splitlines()
    assert cut == '{"time": "2026'
    assert whole.pop(2) == '{"time": "'
    assert [json.loads(line)["request_id"] for line in whole] == ["first", "second", "fourth"]


@pytest.mark.parametrize(("bound", "value"), [("MOST_WAITING", 2), ("MOST_WAITING_BYTES", 250)])
def test_a_disk_that_is_too_slow(tmp_path, monkeypatch, bound, value):
    """What waits is bounded, in requests and in bytes of images, and becomes free again."""
    monkeypatch.setattr(prediction_log, bound, value)
    log = opened(tmp_path, prediction_log_images=True)
    go_on, before, append = threading.Event(), unlogged(), log._file.append

    def slow(line: str) -> None:
        assert go_on.wait(30)
        append(line)

    monkeypatch.setattr(log._file, "append", slow)
    for _ in range(20):
        log.note("id", "rose:1", [b"x" * 100], [answer()])
    lost = unlogged() - before
    assert 17 <= lost <= 18
    go_on.set()
    until(lambda: log._waiting_bytes == 0)
    log.note("id", "rose:1", [b"x" * 100], [answer()])
    log.close()
    assert unlogged() - before == lost
    assert len((tmp_path / "predictions-0.jsonl").read_text().splitlines()) == 20 - lost + 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"HUBSERVE_PREDICTION_LOG=.*name a folder that this user can write"):
        opened(tmp_path / "file" / "log")
