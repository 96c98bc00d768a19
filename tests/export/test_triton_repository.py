"""A Triton model repository, held to Triton's own schema."""

from __future__ import annotations

import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from hubserve.errors import ExportError
from hubserve.export.triton_repository import write_triton
from tests.stores import small_package, tiny_package


def config_of(entry):
    return text_format.Parse((entry / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_is_what_triton_reads(tmp_path):
    package = small_package()
    entry = write_triton(package, tmp_path / "models", instances=3)
    assert sorted(str(p.relative_to(entry)) for p in entry.rglob("*")) == ["1", "1/model.onnx", "config.pbtxt", "labels.txt"]
    config = config_of(entry)
    assert config.name == entry.name == "small"
    assert config.backend == "onnxruntime"
    assert config.max_batch_size == 32
    assert config.dynamic_batching.max_queue_delay_microseconds == 2000
    assert max(config.dynamic_batching.preferred_batch_size) == config.max_batch_size
    (group,) = config.instance_group
    assert (group.count, group.kind) == (3, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    assert config.parameters["intra_op_thread_count"].string_value == "1"


def test_names_and_shapes_are_those_of_the_file(tmp_path):
    entry = write_triton(small_package(), tmp_path, name="other")
    config = config_of(entry)
    session = onnxruntime.InferenceSession(entry / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    # Of the outputs of a file, Triton gives those that the configuration names.
    for described, (found, *_) in ((config.input[0], session.get_inputs()), (config.output[0], session.get_outputs())):
        assert described.name == found.name
        assert list(described.dims) == found.shape[1:]
        assert described.data_type == model_config_pb2.TYPE_FP32
        assert found.type == "tensor(float)"
        assert isinstance(found.shape[0], str), "the batch is free"
    assert (entry / config.output[0].label_filename).read_text() == (small_package().path / "labels.txt").read_text()


def test_what_cannot_be(tmp_path):
    with pytest.raises(ExportError, match="has no format 'onnx'"):
        write_triton(tiny_package(), tmp_path)
    with pytest.raises(ExportError, match="cannot name a model of Triton"):
        write_triton(small_package(), tmp_path, name="../up")
    for instances in (-1, 0):
        with pytest.raises(ExportError, match=f"instances = {instances}"):
            write_triton(small_package(), tmp_path, instances=instances)
    assert list(tmp_path.iterdir()) == []
    write_triton(small_package(), tmp_path)
    with pytest.raises(ExportError, match="exists; choose another folder"):
        write_triton(small_package(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
