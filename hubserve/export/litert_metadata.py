"""Adds TFLite metadata to LiteRT files: the range of pixels and the labels, so that MediaPipe Tasks opens them.

mediapipe's own writer of metadata does not import in mediapipe 1.2, which lacks a library that it needs; the records are made
here with mediapipe's schema. They are those of TensorFlow Lite Metadata: a buffer of the model with the name `FIELD`, and an
archive with the labels after the end of the model.
"""

import zipfile
from pathlib import Path
from typing import Any

from hubserve.export.exportable_model import Classifier
from hubserve.export.missing_extra import needs_extra
from hubserve.package.manifest import Format
from hubserve.package.mobile_runners import LITERT_OUTPUT, LITERT_PREPARATION
from hubserve.preprocess import Preprocess

LITERT_FORMATS: frozenset[Format] = frozenset({"litert", "litert-int8"})
"""The formats that MediaPipe opens."""
FIELD = "TFLITE_METADATA"
IDENTIFIER = b"M001"
"""Identifier of the schema of the metadata."""
PARSER = "1.0.0"
"""Oldest version of the metadata parser that knows every field used here."""
LABELS = "labels.txt"
STRETCHED = (
    "MediaPipe stretches the whole image to the input. This network was made for images with fit={!r}, so that MediaPipe "
    "answers otherwise than hubserve for images that are not square; a model fine-tuned with fit='squash' does not."
)


def add_metadata(path: Path, classifier: Classifier) -> None:
    """Adds metadata to a LiteRT file that has the outputs "probabilities" and "logits".

    Args:
        path: The file, which is replaced.
        classifier: Images and classes of the model.

    Raises:
        ExportError: mediapipe or ai-edge-litert is not installed.
    """
    with needs_extra("mediapipe or ai-edge-litert", "litert"):
        import flatbuffers
        from ai_edge_litert import schema_py_generated as tflite
    model = tflite.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {index: model.subgraphs[0].tensors[index].name.decode() for index in model.subgraphs[0].outputs}
    outputs = list(names.values())
    # The quantizer leaves the signature's outputs at the 8-bit tensors, before they become float32 again.
    for output in model.signatureDefs[0].outputs:
        output.tensorIndex = next(index for index, name in names.items() if output.name.decode() in name)
    preparation = classifier.preprocess.model_dump_json().encode()
    for name, content in ((FIELD, _metadata(classifier, outputs)), (LITERT_PREPARATION, preparation)):
        record, entry = tflite.BufferT(), tflite.MetadataT()
        record.data = content
        model.buffers.append(record)
        entry.name, entry.buffer = name, len(model.buffers) - 1
        model.metadata = [*(model.metadata or ()), entry]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    with zipfile.ZipFile(path, "a") as archive:  # Stored without compression, as MediaPipe reads it.
        archive.writestr(LABELS, "".join(f"{label}\n" for label in classifier.labels))


def stretched_images(preprocess: Preprocess) -> str | None:
    """Returns sentences on how MediaPipe prepares images differently; None if it takes the same part of them as hubserve.

    In any case it resizes without antialiasing, unlike hubserve.
    """
    return None if preprocess.fit == "squash" else STRETCHED.format(preprocess.fit)


def _metadata(classifier: Classifier, outputs: list[str]) -> bytes:
    with needs_extra("mediapipe", "litert"):
        import flatbuffers
        from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [_image(schema, classifier.preprocess)]
    graph.outputTensorMetadata = [_classes(schema, "logits" if LITERT_OUTPUT in name else "probabilities") for name in outputs]
    whole = schema.ModelMetadataT()
    whole.name, whole.minParserVersion, whole.subgraphMetadata = classifier.name, PARSER, [graph]
    whole.description = " ".join(filter(None, ("Classifies images.", stretched_images(classifier.preprocess))))
    builder = flatbuffers.Builder(0)
    builder.Finish(whole.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _image(schema: Any, preprocess: Preprocess) -> Any:
    """Returns the record of the input: RGB pixels 0..255, which the file normalises itself."""
    options = schema.NormalizationOptionsT()
    options.mean, options.std = [0.0], [1.0]
    unit = schema.ProcessUnitT()
    unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, options
    image = schema.ImagePropertiesT()
    image.colorSpace = schema.ColorSpaceType.RGB
    content = schema.ContentT()
    content.contentPropertiesType, content.contentProperties = schema.ContentProperties.ImageProperties, image
    range_ = schema.StatsT()
    range_.min, range_.max = [0.0], [255.0]
    tensor = schema.TensorMetadataT()
    tensor.name, tensor.description = "image", f"Image of {preprocess.input_size} x {preprocess.input_size} pixels."
    tensor.content, tensor.processUnits, tensor.stats = content, [unit], range_
    return tensor


def _classes(schema: Any, name: str) -> Any:
    content = schema.ContentT()
    content.contentPropertiesType = schema.ContentProperties.FeatureProperties
    content.contentProperties = schema.FeaturePropertiesT()
    labels = schema.AssociatedFileT()
    labels.name, labels.type = LABELS, schema.AssociatedFileType.TENSOR_AXIS_LABELS
    tensor = schema.TensorMetadataT()
    tensor.name, tensor.content, tensor.associatedFiles = name, content, [labels]
    return tensor
