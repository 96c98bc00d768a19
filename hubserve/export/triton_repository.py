"""A package as an entry of a Triton model repository: NVIDIA's inference server, and KServe, serve it from there.

An entry is a folder, which `tritonserver --model-repository=FOLDER` serves:

    NAME/config.pbtxt    name, tensors, batching, instances
    NAME/labels.txt      Triton's classification extension answers with these
    NAME/1/model.onnx    run by its ONNX Runtime backend
"""

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from hubserve.atomic import staged_folder
from hubserve.errors import ExportError
from hubserve.host import cores
from hubserve.package.formats import FORMATS
from hubserve.package.package import LABELS, Package

MAX_BATCH = 32
MAX_DELAY_MICROSECONDS = 2000
"""How long a request may wait for others to share its batch: a fraction of what a mobile network takes on one core."""

CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [
  {{ name: "{input}", data_type: TYPE_FP32, format: FORMAT_NCHW, dims: [ {input_dims} ] }}
]
output [
  {{ name: "{output}", data_type: TYPE_FP32, dims: [ {output_dims} ], label_filename: "{labels}" }}
]
dynamic_batching {{
  preferred_batch_size: [ {preferred} ]
  max_queue_delay_microseconds: {delay}
}}
instance_group [
  {{ kind: {kind}, count: {count} }}
]
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }}
parameters {{ key: "inter_op_thread_count" value: {{ string_value: "1" }} }}
"""


def write_triton(package: Package, repository: Path, *, name: str | None = None, instances: int | None = None) -> Path:
    """Adds a package to a model repository, as version 1, and returns the folder of its entry.

    Args:
        package: Package that has the format "onnx".
        repository: Folder of the repository; it is made where it does not exist.
        name: Name of the entry; that of the model where None.
        instances: Number of instances side by side, with one thread each; None takes one for each usable
            core.

    Raises:
        ExportError: The package has no ONNX format, `name` is not one that Triton takes, the entry exists, or `instances` is
            below 1.
    """
    name = name or package.manifest.name
    if (instances or 1) < 1:
        raise ExportError(f"instances = {instances} must be at least 1")
    entry = check_entry(repository, name, package.manifest.exports)
    with staged_folder(repository, name) as stage:
        (stage / "1").mkdir()
        shutil.copyfile(package.path / FORMATS["onnx"].file, stage / "1" / "model.onnx")
        shutil.copyfile(package.path / LABELS, stage / LABELS)
        (stage / "config.pbtxt").write_text(_config(package, name, instances or cores()), "utf-8")
        os.rename(stage, entry)
    return entry


def check_entry(repository: Path, name: str, formats: Collection[str]) -> Path:
    """The folder of a new entry, checked; call it before an export that takes minutes.

    Args:
        repository: Folder of the repository.
        name: Name of the entry.
        formats: Formats of the package.

    Raises:
        ExportError: There is no ONNX format, `name` is not one that Triton takes, or the entry exists.
    """
    if "onnx" not in formats:
        raise ExportError(f"{name} has no format 'onnx', which Triton runs; it has {', '.join(formats)}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ExportError(f"{name!r} cannot name a model of Triton: letters, digits, and '.', '_', '-' between them")
    entry = repository / name
    if entry.exists():
        raise ExportError(f"{entry} exists; choose another folder, or delete it first")
    return entry


def _config(package: Package, name: str, instances: int) -> str:
    """The text of config.pbtxt; its shapes have no batch dimension, which Triton adds."""
    manifest = package.manifest
    return CONFIG.format(
        name=name,
        max_batch=MAX_BATCH,
        input=manifest.input.name,
        input_dims=", ".join(map(str, manifest.input.shape[1:])),
        output=manifest.output.name,
        output_dims=", ".join(map(str, manifest.output.shape[1:])),
        labels=LABELS,
        preferred=", ".join(map(str, (4, 8, 16, MAX_BATCH))),
        delay=MAX_DELAY_MICROSECONDS,
        kind="KIND_CPU",
        count=instances,
    )
