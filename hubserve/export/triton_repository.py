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
from hubserve.package.manifest import TensorEntry
from hubserve.package.package import LABELS, Package

MAX_BATCH = 32
MAX_DELAY_MICROSECONDS = 2000
"""Longest time that a request waits for others to join its batch; a mobile network takes several times as long on one core."""

TYPES = {"float32": "TYPE_FP32", "int64": "TYPE_INT64", "int32": "TYPE_INT32", "bool": "TYPE_BOOL"}
"""Name of a type in Triton's configuration, by that of the manifest."""

CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [
{inputs}
]
output [
{outputs}
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
    if instances is not None and instances < 1:
        raise ExportError(f"instances = {instances} must be at least 1")
    entry = check_entry(repository, name, package.manifest.exports)
    with staged_folder(repository, name) as stage:
        (stage / "1").mkdir()
        shutil.copyfile(package.path / FORMATS["onnx"].file, stage / "1" / "model.onnx")
        if package.manifest.classes:
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
    layout = "format: FORMAT_NCHW, " if manifest.classifies_images else ""
    # An image classifier is described by its logits alone, as Triton answers with all outputs that are described.
    outputs = manifest.outputs[:1] if manifest.classifies_images else manifest.outputs
    labels = f', label_filename: "{LABELS}"' if manifest.classes else ""
    return CONFIG.format(
        name=name,
        max_batch=MAX_BATCH,
        inputs=",\n".join(f"  {{ {_tensor(entry)}, {layout}{_dims(entry)} }}" for entry in manifest.inputs),
        outputs=",\n".join(
            f"  {{ {_tensor(entry)}, {_dims(entry)}{labels if place == 0 else ''} }}" for place, entry in enumerate(outputs)
        ),
        preferred=", ".join(map(str, (4, 8, 16, MAX_BATCH))),
        delay=MAX_DELAY_MICROSECONDS,
        kind="KIND_CPU",
        count=instances,
    )


def _tensor(entry: TensorEntry) -> str:
    """Returns the name and the type of a tensor, in the words of config.pbtxt."""
    return f'name: "{entry.name}", data_type: {TYPES[entry.dtype]}'


def _dims(entry: TensorEntry) -> str:
    """Returns the shape of a tensor without the batch, in the words of config.pbtxt; -1 is any length."""
    return f"dims: [ {', '.join('-1' if isinstance(length, str) else str(length) for length in entry.shape[1:])} ]"
