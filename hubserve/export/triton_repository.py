"""Adds packages to a Triton model repository, from which NVIDIA's Triton Inference Server and KServe serve models.

The entry of a model is a folder in the repository, which `tritonserver --model-repository=REPOSITORY` serves:

    NAME/config.pbtxt    configuration: name, tensors, batching, instances
    NAME/labels.txt      labels that Triton's classification extension returns
    NAME/1/model.onnx    model, which Triton's ONNX Runtime backend runs
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
"""Longest time that a request waits for others to join its batch; a mobile network takes several times as long on one core."""

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
    """Adds a package to a model repository, as version 1 of a model, and returns the folder of its entry.

    Args:
        package: Package that has the format "onnx".
        repository: Folder of the repository; it is created if it does not exist.
        name: Name of the entry; None takes the name of the model.
        instances: Number of instances that run in parallel, with one thread each; None takes one for each core that this
            process may use.

    Raises:
        ExportError: The package has no format "onnx", `name` is not a valid name in Triton, the entry exists, or `instances`
            is below 1.
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
    """Checks that an entry can be added to a repository, and returns its folder, which does not exist yet.

    `write_triton` checks this, too; calling it before an export of several minutes reports the error early.

    Args:
        repository: Folder of the repository.
        name: Name of the entry.
        formats: Formats of the package.

    Raises:
        ExportError: `formats` does not include "onnx", `name` is not a valid name in Triton, or the entry exists.
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
    """Returns the text of config.pbtxt, whose shapes have no batch dimension, because Triton adds it."""
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
