"""Describes the server, a model and the store for the Open Inference Protocol, over HTTP and gRPC."""

from collections.abc import Sequence
from typing import Any

from hubserve import __version__
from hubserve.package.manifest import TensorEntry
from hubserve.service.inference_protocol import FEATURES, LOGITS, OUTPUTS, PROBABILITIES
from hubserve.service.inference_tensors import IMAGES, PICTURES
from hubserve.service.inference_texts import TEXTS
from hubserve.service.live_models import LiveModels
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.service_state import ServiceState
from hubserve.service.tensor_protocol import DATATYPES
from hubserve.store import StoredModel

PLATFORMS = {"torchscript": "pytorch_torchscript", "pt2": "pytorch_pt2"}
"""Name of the platform in the protocol, by the backend of a model; all others run the ONNX file, "onnx_onnxv1"."""

STATES = {"loaded": "READY", "loading": "LOADING", "idle": "UNAVAILABLE", "refused": "UNAVAILABLE"}
"""State in the index of the repository, by the state of a version in /models."""


def server_metadata(*extensions: str) -> dict[str, Any]:
    """Returns the name, the version and the protocol extensions of the server.

    Args:
        extensions: Extensions that only HTTP, or only gRPC, has.
    """
    return {"name": "hubserve", "version": __version__, "extensions": ["binary_tensor_data", "classification", *extensions]}


def model_metadata(shared: ServiceState, served: LoadedModel, name: str) -> dict[str, Any]:
    """Returns the versions, inputs and outputs of a model.

    The only input of an image classifier is `IMAGES`, although a request may have `PICTURES` in its place: the protocol says
    that inputs in the metadata are required. That of a text classifier is `TEXTS`, although a request may have token ids.

    Args:
        shared: State that all requests share.
        served: The loaded version.
        name: Name of the model in the request, which may be an alias.
    """
    base = served.tag.partition(":")[0]
    return {
        "name": name,
        "versions": [stored.tag.partition(":")[2] for stored in shared.resolver.models if stored.name == base],
        "platform": PLATFORMS.get(served.engine.backend, "onnx_onnxv1"),
        **_tensors(served),
    }


def _tensors(served: LoadedModel) -> dict[str, Any]:
    """Returns the entries "inputs" and "outputs" of the metadata of a model."""
    if served.classifies_texts:
        return {"inputs": [{"name": TEXTS, "datatype": "BYTES", "shape": [-1]}], "outputs": _class_outputs(served)}
    if (engine := served.tensor_engine) is not None:
        kinds = {"inputs": engine.signature.inputs, "outputs": engine.signature.outputs}
        return {kind: [_tensor(entry) for entry in entries] for kind, entries in kinds.items()}
    size = served.image_engine.manifest.image_preprocess.input_size
    return {
        "inputs": [{"name": IMAGES, "datatype": "FP32", "shape": [-1, 3, size, size]}],
        "outputs": _class_outputs(served),
    }


def _class_outputs(served: LoadedModel) -> list[dict[str, Any]]:
    """Returns the entry "outputs" of the metadata of a classifier of images or texts."""
    return [{"name": output, "datatype": "FP32", "shape": [-1, width]} for output, width in _output_widths(served).items()]


def _tensor(entry: TensorEntry) -> dict[str, Any]:
    """Returns an input or output of a model in the words of the protocol; the length of a named axis is -1."""
    shape = [-1 if isinstance(axis, str) else axis for axis in entry.shape]
    return {"name": entry.name, "datatype": DATATYPES[entry.dtype], "shape": shape}


def model_configuration(shared: ServiceState, served: LoadedModel, name: str) -> dict[str, Any]:
    """Returns the configuration of a model, as in Triton's extension "model_configuration".

    Args:
        shared: State that all requests share.
        served: The loaded version.
        name: Name of the model in the request, which may be an alias.
    """
    settings = shared.settings
    head = {
        "name": name,
        "platform": PLATFORMS.get(served.engine.backend, "onnx_onnxv1"),
        "backend": served.engine.backend,
        "max_batch_size": settings.max_images,
    }
    if not served.classifies_texts and (engine := served.tensor_engine) is not None:
        signature = engine.signature
        return {**head, "input": list(map(_configured, signature.inputs)), "output": list(map(_configured, signature.outputs))}
    outputs = [{"name": output, "data_type": "TYPE_FP32", "dims": [width]} for output, width in _output_widths(served).items()]
    return {**head, "input": [{**given, "optional": True} for given in _either_inputs(served)], "output": outputs}


def _either_inputs(served: LoadedModel) -> list[dict[str, Any]]:
    """Returns the inputs of a classifier in the words of Triton's configuration: a request has one of them."""
    if (engine := served.tensor_engine) is not None:
        return [{"name": TEXTS, "data_type": "TYPE_STRING", "dims": []}, *map(_configured, engine.signature.inputs)]
    size = served.image_engine.manifest.image_preprocess.input_size
    return [
        {"name": IMAGES, "data_type": "TYPE_FP32", "dims": [3, size, size]},
        {"name": PICTURES, "data_type": "TYPE_STRING", "dims": []},
    ]


def _configured(entry: TensorEntry) -> dict[str, Any]:
    """Returns an input or output of a model in the words of Triton's configuration, whose shapes have no batch."""
    described = _tensor(entry)
    return {"name": entry.name, "data_type": f"TYPE_{described['datatype']}", "dims": described["shape"][1:]}


def repository_index(models: Sequence[StoredModel], live: LiveModels, *, only_ready: bool) -> list[dict[str, str]]:
    """Returns the name, version, state and reason of each version, as in Triton's extension "model_repository".

    The reason says why a version is refused or not loaded; it is empty for others.

    Args:
        models: The versions.
        live: Knows the state of each version.
        only_ready: Whether to leave out versions that are not loaded.
    """
    entries = []
    for model in models:
        state, reason = live.state_of(model)
        if state == "idle":
            reason = "not loaded: a request for it loads it"
        name, _, version = model.tag.partition(":")
        if state == "loaded" or not only_ready:
            entries.append({"name": name, "version": version, "state": STATES[state], "reason": reason or ""})
    return entries


def _output_widths(served: LoadedModel) -> dict[str, int]:
    """Returns the number of values for each image or text, by the names of the outputs that the model has."""
    classes = served.engine.manifest.classes
    widths = {LOGITS: classes, PROBABILITIES: classes, FEATURES: served.engine.feature_width}
    return {name: width for name in OUTPUTS if (width := widths[name]) is not None}
