"""The official files of NAS-Bench-101 and NAS-Bench-201, small ones of the same format."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hubserve.benchmarks.arch_keys import arch_from_matrix
from hubserve.benchmarks.tfrecord import fields
from hubserve.errors import EvaluatorError
from hubserve.evaluator import TabularEvaluator, Trial, read_nasbench101, read_nasbench201
from hubserve.hub import NasBench101, NasBench201
from hubserve.hub.nasbench201 import from_arch_string

OPERATIONS = ["input", "conv3x3-bn-relu", "maxpool3x3", "output"]
MATRIX = [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]

ARCHS = [
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|",
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
]


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def double(number, value):
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def message(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def model_metrics(evaluations, params=1_234_567):
    """ModelMetrics with (epoch, seconds, train, val, test) each."""
    out = b""
    for epoch, seconds, train, val, test in evaluations:
        data = double(1, epoch) + double(2, seconds) + double(3, train) + double(4, val) + double(5, test)
        out += message(1, data + message(6, b"gs://somewhere/model.ckpt-1"))
    return out + bytes([2 << 3]) + varint(params) + double(3, 99.0)


def nasbench101_record(digest, epochs, val):
    evaluations = [(0.0, 0.0, 0.1, 0.1, 0.1), (54.0, 50.0, 0.5, val / 2, 0.4), (108.0, 100.0, 0.99, val, 0.9)]
    adjacency = "".join(str(edge) for row in MATRIX for edge in row)
    metrics = base64.b64encode(model_metrics(evaluations)).decode()
    return json.dumps([digest, epochs, adjacency, ",".join(OPERATIONS), metrics]).encode()


def write_tfrecord(path, records):
    # Checksums are left at zero: they are not verified.
    path.write_bytes(b"".join(struct.pack("<Q", len(r)) + b"\0" * 4 + r + b"\0" * 4 for r in records))
    return path


@pytest.fixture
def cell():
    return arch_from_matrix(MATRIX, OPERATIONS)


class TestNasBench101:
    def test_runs_and_columns(self, tmp_path, cell):
        digest = NasBench101().cell_hash(cell)
        records = [nasbench101_record(digest, epochs, val) for epochs, val in ((108, 0.9), (108, 0.94), (12, 0.7))]
        table = read_nasbench101(write_tfrecord(tmp_path / "nasbench.tfrecord", records))
        row = table.rows[digest]
        assert row["val_108"] == pytest.approx((90.0, 94.0))
        assert row["val_108_half"] == pytest.approx((45.0, 47.0))
        assert row["val_12"] == pytest.approx((70.0,))
        assert row["test_108"] == pytest.approx((90.0, 90.0))
        assert row["seconds_108"] == (100.0, 100.0)
        assert row["seconds_108_half"] == (50.0, 50.0)
        assert row["params"] == 1_234_567
        matrix = [[int(row["adjacency"][4 * i + j]) for j in range(4)] for i in range(4)]
        assert arch_from_matrix(matrix, row["operations"].split(",")) == cell

    def test_as_an_evaluator(self, tmp_path, cell):
        records = [nasbench101_record(NasBench101().cell_hash(cell), 108, val) for val in (0.9, 0.94)]
        table = read_nasbench101(write_tfrecord(tmp_path / "nasbench.tfrecord", records))
        evaluator = TabularEvaluator(table, "val_108", report=["test_108", "params"])
        scores = evaluator.evaluate(NasBench101(), cell, Trial())
        assert scores == pytest.approx({"val_108": 92.0, "test_108": 90.0, "params": 1_234_567})

    @pytest.mark.parametrize("keep", [5, 20, -3])
    def test_cut_off(self, tmp_path, keep):
        path = write_tfrecord(tmp_path / "nasbench.tfrecord", [nasbench101_record("x", 108, 0.9)])
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(EvaluatorError, match="is no TFRecord file, or is truncated"):
            read_nasbench101(path)

    @pytest.mark.parametrize(
        ("record", "complaint"),
        [
            (b"[1, 2]", "record 1 is not in the format of NAS-Bench-101"),
            (b"not json", "record 1 is not in the format of"),
            (json.dumps(["x", 108, "", "", base64.b64encode(b"\x0a\x05a").decode()]).encode(), "ends within a field"),
            (json.dumps(["x", 108, "", "", base64.b64encode(model_metrics([])).decode()]).encode(), "0 evaluations of 3"),
        ],
    )
    def test_another_format(self, tmp_path, record, complaint):
        path = write_tfrecord(tmp_path / "nasbench.tfrecord", [nasbench101_record("x", 108, 0.9), record])
        with pytest.raises(EvaluatorError, match=complaint):
            read_nasbench101(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(EvaluatorError, match=r"nothing cannot be read"):
            read_nasbench101(tmp_path / "nothing")


def test_protocol_buffer_fields():
    text = bytes([0x08]) + varint(300) + bytes([0x15]) + struct.pack("<f", 1.5) + message(3, b"abc")
    assert list(fields(text)) == [(1, 300), (2, 1.5), (3, b"abc")]
    with pytest.raises(EvaluatorError, match="unknown kind 3"):
        list(fields(bytes([0x0B])))
    with pytest.raises(EvaluatorError, match="ends within a field"):
        list(fields(text[:-1]))


def training(epochs, base, *, seeds=(777, 888)):
    """One arch's "less" or "full", as the file has it: plain dicts of state, numpy numbers here and there."""
    splits = {"cifar100": ("x-valid", "x-test", "ori-test"), "cifar10-valid": ("x-valid", "ori-test")}
    results = {}
    for dataset, names in splits.items():
        for seed in seeds:
            accs = {f"{name}@{e}": np.float64(base + e + seed / 1000) for name in names for e in range(epochs)}
            results[dataset, seed] = {
                "name": "infer.tiny",
                "net_state_dict": OrderedDict(weight=torch.zeros(2)),
                "eval_names": list(names),
                "eval_acc1es": accs,
                "epochs": epochs,
                "params": np.float64(1.5),
                "flop": 15.5,
                "latency": [0.01, 0.03] if dataset == "cifar100" else None,
            }
    seeds_of = {dataset: list(seeds) for dataset in splits}
    return {"arch_index": 0, "arch_str": "", "all_results": results, "dataset_seed": seeds_of, "clear_net_done": True}


def nasbench201_content():
    infos = {i: {"less": training(12, 10.0 * i), "full": training(200, 20.0 * i)} for i in range(len(ARCHS))}
    return {"meta_archs": ARCHS, "arch2infos": infos, "evaluated_indexes": {0, 1}}


class TestNasBench201:
    def test_runs_and_columns(self, tmp_path):
        torch.save(nasbench201_content(), tmp_path / "nb201.pth")
        table = read_nasbench201(tmp_path / "nb201.pth")
        assert list(table.rows) == ARCHS
        row = table.rows[ARCHS[1]]
        assert row["cifar100/x-valid@12"] == pytest.approx((10 + 11 + 0.777, 10 + 11 + 0.888))
        assert row["cifar10-valid/ori-test@200"] == pytest.approx((20 + 199 + 0.777, 20 + 199 + 0.888))
        assert row["cifar100/params"] == (1.5, 1.5)
        assert row["cifar100/latency"] == (0.02, 0.02)
        assert "cifar10-valid/latency" not in row

    def test_as_an_evaluator_and_as_json(self, tmp_path):
        torch.save(nasbench201_content(), tmp_path / "nb201.pth")
        evaluator = TabularEvaluator(
            read_nasbench201(tmp_path / "nb201.pth"),
            {"cifar100/x-valid@200": "maximize", "cifar100/latency": "minimize"},
            report=["cifar100/x-test@200"],
        )
        scores = evaluator.evaluate(NasBench201(), from_arch_string(ARCHS[0]), Trial())
        assert scores["cifar100/x-valid@200"] == pytest.approx(199 + 0.8325)
        assert scores["cifar100/latency"] == 0.02

    def test_other_classes_need_trust(self, tmp_path):
        torch.save({**nasbench201_content(), "extra": EvaluatorError("an object of some class")}, tmp_path / "nb201.pth")
        with pytest.raises(EvaluatorError, match=r"holds more than plain values.*trusted=True, which runs code"):
            read_nasbench201(tmp_path / "nb201.pth")
        assert len(read_nasbench201(tmp_path / "nb201.pth", trusted=True)) == 2

    @pytest.mark.parametrize("content", [[], {"meta_archs": ARCHS}, {"meta_archs": ARCHS, "arch2infos": {0: {"less": 3}}}])
    def test_another_format(self, tmp_path, content):
        torch.save(content, tmp_path / "nb201.pth")
        with pytest.raises(EvaluatorError, match="is not in the format of NAS-Bench-201"):
            read_nasbench201(tmp_path / "nb201.pth")

    def test_no_such_file(self, tmp_path):
        (tmp_path / "text").write_text("hello")
        for name in ("nothing", "text"):
            with pytest.raises(EvaluatorError, match=name):
                read_nasbench201(tmp_path / name)


PLAIN = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
METRICS = st.one_of(st.binary(max_size=30), st.just(model_metrics([(0.0,) * 5] * 3)), st.just(model_metrics([], 10**400)))
RECORDS = st.one_of(
    st.binary(max_size=40),
    PLAIN.map(json.dumps).map(str.encode),
    st.tuples(PLAIN, PLAIN, PLAIN, PLAIN, METRICS).map(
        lambda parts: json.dumps([*parts[:4], base64.b64encode(parts[4]).decode()]).encode()
    ),
)


class TestAnything:
    """Any file gives a table, or an EvaluatorError."""

    @pytest.fixture(scope="class")
    def path(self, tmp_path_factory):
        return tmp_path_factory.mktemp("files") / "file"

    @given(data=st.binary(max_size=60))
    def test_protocol_buffers(self, data):
        with contextlib.suppress(EvaluatorError):
            assert all(number >= 0 for number, _ in fields(data))

    @given(records=st.lists(RECORDS, max_size=3), end=st.binary(max_size=20))
    def test_nasbench101(self, path, records, end):
        framed = (struct.pack("<Q", len(record)) + b"sum1" + record + b"sum2" for record in records)
        path.write_bytes(b"".join(framed) + end)
        with contextlib.suppress(EvaluatorError):
            assert len(read_nasbench101(path))

    @given(
        data=st.one_of(
            st.binary(max_size=60),
            PLAIN.map(pickle.dumps),
            st.fixed_dictionaries({"meta_archs": PLAIN, "arch2infos": PLAIN}).map(pickle.dumps),
        )
    )
    def test_nasbench201(self, path, data):
        path.write_bytes(data)
        with contextlib.suppress(EvaluatorError):
            assert len(read_nasbench201(path))
