"""The manifest of a package (manifest.json), which describes its model, input, outputs, origin and files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from hubserve.cards.card import Metric
from hubserve.code_source import CodeSource
from hubserve.preprocess import Preprocess

Format = Literal["onnx", "torchscript", "pt2", "onnx-fp16", "onnx-int8"]
DEFAULT_FORMATS: tuple[Format, ...] = ("onnx", "torchscript", "pt2")
"""The formats that are exported by default: their logits are those of eager PyTorch up to rounding errors of float32."""
ALL_FORMATS: tuple[Format, ...] = (*DEFAULT_FORMATS, "onnx-fp16", "onnx-int8")
"""All formats: the default ones, and those that are exported on request because they are less accurate or need a GPU."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    """One file of a package.

    Attributes:
        bytes: Length of the file in bytes.
        sha256: SHA-256 of its content, in hexadecimal.
    """

    bytes: int
    sha256: str


class TensorEntry(_Record):
    """An input or output tensor of the exported model.

    Attributes:
        name: Name of the tensor in the ONNX file.
        dtype: Type of its elements, such as "float32".
        shape: Length of each of its axes, at least two; a name such as "batch" means that the axis may have any length.
    """

    name: str
    dtype: str
    shape: Annotated[tuple[str | int, ...], Field(min_length=2)]


class InputEntry(TensorEntry):
    """An input of the exported model.

    Attributes, besides those of TensorEntry:
        prepared_by: Who computes the tensor: "image" means the preprocessing in the manifest, from an image; "none" means the
            caller.
    """

    prepared_by: Literal["image", "none"] = "image"


class OutputEntry(TensorEntry):
    """An output of the exported model.

    Attributes, besides those of TensorEntry:
        meaning: What the tensor holds: "logits" of the classes, "features" (the input of the layer that computes the logits;
            only the formats in ONNX have it), or "other".
    """

    meaning: Literal["logits", "features", "other"] = "logits"


class TestFigures(_Record):
    """The accuracy of the model on test images, which were used neither to train nor to choose it.

    The file accuracy.json in the package has the whole report.

    Attributes:
        images: Number of test images.
        top1: Share of the test images whose predicted class is the true one, in [0, 1].
        top1_interval: 95 % Wilson interval of `top1`.
        calibration_error: Expected calibration error, in [0, 1], of the probabilities after the division by the temperature.
    """

    __test__ = False  # No class of tests, in spite of its name.

    images: int
    top1: float
    top1_interval: tuple[float, float]
    calibration_error: float


class Provenance(_Record):
    """Where a model and its weights came from.

    Attributes:
        origin: "card" (a pre-searched model), "arch" (chosen by a user), "search" (found by a job) or "fine-tuning" (another
            model, trained on other images).
        paper: Address or title of the publication; None if there is none.
        licence: Licence of the weights; None if it is not known.
        metric: Published accuracy; None if there is none.
        weights: "published", "random", "local" (from a file of the user), "shared" (taken from a supernet), "trial" (trained in
            the trial that found the arch), "retrained" (trained from random weights after the search) or "fine-tuned".
        search: Study, trial, seed, score and data split of the search that found the model; empty without a search.
        fine_tuning: The model that a fine-tuning started from, its data, recipe, seed and scores; empty without one.
    """

    origin: Literal["card", "arch", "search", "fine-tuning"] = "arch"
    paper: str | None = None
    licence: str | None = None
    metric: Metric | None = None
    weights: Literal["published", "random", "local", "shared", "trial", "retrained", "fine-tuned"] = "random"
    search: dict[str, Any] = {}
    fine_tuning: dict[str, Any] = {}


class Manifest(_Record):
    """The content of manifest.json of a package.

    Attributes:
        format_version: Version of this record, 2. Records of version 1, which have one `input` and one `output`, are converted
            when they are read.
        name: Name of the model.
        space: Class name of its model space; for a space of the user's own, its import path, such as "mypkg.spaces:Small".
        space_source: Where the code of a space of the user's own came from. For a space of the hub it is None and not written
            to the file, because earlier readers of version 2 do not know it.
        settings: Arguments of the model space, by name.
        arch: Chosen value of each choice of the model space, by the label of the choice.
        preprocess: Preparation that turns an image into the input of the model.
        inputs: Inputs of the exported model, at least one.
        outputs: Outputs of the exported model; the first one has the logits.
        temperature: Number above 0 by which logits are divided before the softmax, so that probabilities are calibrated; None
            means that they are not divided.
        test: Accuracy on test images; None if it was not measured.
        exports: The settings with which each format in the package was exported, by format.
        provenance: Where the model and its weights came from.
        versions: Version of each library that wrote the package, by name of the library.
        files: Length and hash of each file of the package except manifest.json, by file name.
    """

    format_version: Literal[2] = 2
    name: str
    space: str
    space_source: CodeSource | None = None
    settings: dict[str, Any]
    arch: dict[str, Any]
    preprocess: Preprocess
    inputs: Annotated[tuple[InputEntry, ...], Field(min_length=1)]
    outputs: Annotated[tuple[OutputEntry, ...], Field(min_length=1)]
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    test: TestFigures | None = None
    exports: dict[Format, dict[str, Any]]
    provenance: Provenance
    versions: dict[str, str]
    files: dict[str, FileEntry]

    @model_validator(mode="before")
    @classmethod
    def _upgraded(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        version = given.get("format_version", 2)
        if isinstance(version, int) and version > 2:
            raise ValueError(f"its format_version is {version}, and this hubserve reads 1 and 2; a newer hubserve wrote it")
        if version != 1:
            return given
        rest = {name: value for name, value in given.items() if name not in ("input", "output")}
        tensors = {f"{name}s": [given[name]] for name in ("input", "output") if name in given}
        return {**rest, **tensors, "format_version": 2}

    @model_serializer(mode="wrap")
    def _without_missing_source(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name != "space_source" or value is not None}

    @model_validator(mode="after")
    def _names_one_space(self) -> Manifest:
        # Otherwise a reader that checks the recorded source could import another module by the name.
        if self.space_source is not None and self.space_source.import_path != self.space:
            raise ValueError(f"space = {self.space!r}, and space_source is that of {self.space_source.import_path!r}")
        return self

    @model_validator(mode="after")
    def _counts_its_classes(self) -> Manifest:
        if not isinstance(self.output.shape[-1], int) or self.output.shape[-1] < 1:
            raise ValueError(f"outputs: shape = {self.output.shape}: the last number is the number of classes, at least 1")
        return self

    @property
    def input(self) -> InputEntry:
        """The first input of the exported model."""
        return self.inputs[0]

    @property
    def output(self) -> OutputEntry:
        """The first output of the exported model: the logits."""
        return self.outputs[0]

    @property
    def features(self) -> OutputEntry | None:
        """The output with the features of an image; None where the package was exported without it."""
        return next((output for output in self.outputs if output.meaning == "features"), None)

    @property
    def classes(self) -> int:
        """Number of classes of the model."""
        return int(self.output.shape[-1])
