"""The manifest of a package (manifest.json), which describes its model, input, outputs, origin and files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from hubserve.cards.card import Metric
from hubserve.code_source import CodeSource
from hubserve.errors import OtherInputsError
from hubserve.preprocess import Preprocess

Format = Literal[
    "onnx", "torchscript", "pt2", "onnx-fp16", "onnx-int8", "executorch", "executorch-int8", "litert", "litert-int8", "ncnn"
]
DEFAULT_FORMATS: tuple[Format, ...] = ("onnx", "torchscript", "pt2")
"""The formats that are exported by default: their logits are those of eager PyTorch up to rounding errors of float32."""
MOBILE_FORMATS: tuple[Format, ...] = ("executorch", "executorch-int8", "litert", "litert-int8", "ncnn")
"""The formats for phones and boards, each of which needs an extra. Their files take one image a call."""
ALL_FORMATS: tuple[Format, ...] = (*DEFAULT_FORMATS, "onnx-fp16", "onnx-int8", *MOBILE_FORMATS)
"""All formats: the default ones, and those that are exported on request because they are less accurate, need a GPU, or are for
phones and boards."""
INT8_FORMATS: tuple[Format, ...] = ("onnx-int8", "executorch-int8", "litert-int8")
"""The formats in 8-bit integers, which images calibrate."""


class _Record(BaseModel):
    """Base class of the records. Values that an attribute does not allow raise a ValueError (pydantic's ValidationError)."""

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
        shape: Length of each axis, of which there is at least one; a name such as "batch" means that it is not fixed.
    """

    name: str
    dtype: str
    shape: Annotated[tuple[str | int, ...], Field(min_length=1)]


class InputEntry(TensorEntry):
    """An input of the exported model.

    In the file, attributes that have their default are left out, except `prepared_by`, because earlier readers of version 2 do
    not know them. Attributes that contradict each other, the dtype or the shape raise a ValueError.

    Attributes, besides those of TensorEntry:
        prepared_by: Who computes the tensor: "image" means the preprocessing in the manifest, from an image; "text" means the
            tokenizer in the package, tokenizer.json, from a text, or the caller where the package has none; "none" means the
            caller. A tensor from texts is int64 of shape (batch, length) and has padding.
        lowest: Smallest allowed element of a tensor of integers; None sets no limit.
        highest: Largest allowed element of a tensor of integers; None sets no limit.
        padding: Element that fills up the shorter sequences of a batch, at the end of the last axis. What the model computes
            for a sequence does not depend on how much padding follows. A sequence may not consist of padding only. None if
            sequences of different lengths cannot be in one batch.
        axes: Smallest and largest length of each axis that has a name, except "batch"; the largest is None if any is allowed.
    """

    prepared_by: Literal["image", "text", "none"] = "image"
    lowest: int | None = None
    highest: int | None = None
    padding: int | None = None
    axes: dict[str, tuple[int, int | None]] = {}

    @model_validator(mode="after")
    def _allows_values(self) -> InputEntry:
        limits = (self.lowest, self.highest, self.padding)
        if limits != (None, None, None) and not self.dtype.startswith(("int", "uint", "bool")):
            raise ValueError(f"{self.name}: lowest, highest and padding are for integers, and its dtype is {self.dtype}")
        if self.lowest is not None and self.highest is not None:
            if self.highest < self.lowest:
                raise ValueError(f"{self.name}: highest = {self.highest} is below lowest = {self.lowest}")
            if self.lowest == self.highest == self.padding:
                raise ValueError(f"{self.name}: {self.padding} is the only allowed element and also the padding")
        for axis, (smallest, largest) in self.axes.items():
            if axis not in self.shape or smallest < 0 or (largest is not None and largest < smallest):
                raise ValueError(f"{self.name}: axes: {axis!r} from {smallest} to {largest} is no axis of {self.shape}")
        return self

    @model_validator(mode="after")
    def _takes_tokens(self) -> InputEntry:
        if self.prepared_by != "text":
            return self
        shape = len(self.shape) == 2 and self.shape[0] == "batch" and isinstance(self.shape[1], str)
        if not shape or self.dtype != "int64" or self.padding is None:
            raise ValueError(
                f"{self.name}: an input that is prepared from texts is int64 of shape (batch, length) and has padding; this "
                f"one is {self.dtype} of shape {self.shape} with padding = {self.padding}"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        later: dict[str, Any] = {"lowest": None, "highest": None, "padding": None, "axes": {}}
        return {name: value for name, value in written.items() if name not in later or value != later[name]}


class OutputEntry(TensorEntry):
    """An output of the exported model.

    Attributes, besides those of TensorEntry:
        meaning: What the tensor holds: "logits" of the classes, "features" (the input of the layer that computes the logits;
            only the formats in ONNX have it), or "other".
        seconds_per_step: For each axis along which time passes, as along the frames of sound, the seconds from one element to
            the next, above 0. It is left out of the file if it is empty.
    """

    meaning: Literal["logits", "features", "other"] = "logits"
    seconds_per_step: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}

    @model_validator(mode="after")
    def _has_the_axes(self) -> OutputEntry:
        unknown = [axis for axis in self.seconds_per_step if axis not in self.shape]
        if unknown:
            raise ValueError(f"{self.name}: seconds_per_step: {unknown[0]!r} is no axis of {self.shape}")
        return self

    @model_serializer(mode="wrap")
    def _without_time(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name != "seconds_per_step" or value}


class TestFigures(_Record):
    """The accuracy of the model on test images or texts, which were used neither to train nor to choose it.

    The file accuracy.json in the package has the whole report.

    Attributes:
        images: Number of test images, or texts.
        top1: Share of the test images or texts whose predicted class is the true one, in [0, 1].
        top1_interval: Lower and upper bound of the 95 % Wilson interval of `top1`.
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
            when they are read; a later version raises a ValueError.
        name: Name of the model.
        space: Class name of its model space; for a space of the user's own, its import path, such as "mypkg.spaces:Small".
        space_source: Where the code of a space of the user's own came from. For a space of the hub it is None and not written
            to the file, because earlier readers of version 2 do not know it.
        settings: Arguments of the model space, by name.
        arch: Chosen value of each choice of the model space, by the label of the choice.
        preprocess: Preparation that turns an image into the input of the model; None if no input is prepared from an image.
        inputs: Inputs of the exported model, at least one, in the order of the network's arguments.
        outputs: Outputs of the exported model, at least one, in its order; the first one of a classifier has the logits.
        temperature: Number above 0 by which logits are divided before the softmax, so that probabilities are calibrated; None
            means that they are not divided.
        test: Accuracy on test images or texts; None if it was not measured.
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
    preprocess: Preprocess | None = None
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
        if self.output.meaning != "logits":
            return self
        if len(self.output.shape) < 2 or not isinstance(self.output.shape[-1], int) or self.output.shape[-1] < 1:
            raise ValueError(f"outputs: shape = {self.output.shape}: the last number is the number of classes, at least 1")
        return self

    @model_validator(mode="after")
    def _prepares_its_images(self) -> Manifest:
        images = [entry.name for entry in self.inputs if entry.prepared_by == "image"]
        if images and self.preprocess is None:
            raise ValueError(f"preprocess is missing, and the input {images[0]!r} is prepared from an image")
        return self

    @property
    def classifies_images(self) -> bool:
        """Whether the only input of the model is prepared from an image, and its first output has the logits of classes."""
        return [entry.prepared_by for entry in self.inputs] == ["image"] and self.output.meaning == "logits"

    @property
    def image_preprocess(self) -> Preprocess:
        """The preparation of images of an image classifier.

        Raises:
            OtherInputsError: The model is no image classifier; the message says what its inputs are and how to use it.
        """
        if self.preprocess is None or not self.classifies_images:
            inputs = ", ".join(f"{entry.name} ({entry.dtype}: {' x '.join(map(str, entry.shape))})" for entry in self.inputs)
            texts = "It classifies texts: `hubserve predict --text`. " if self.classifies_texts else ""
            raise OtherInputsError(
                f"{self.name} is no image classifier: it takes {inputs}. {texts}It is served by tensors, over HTTP at POST "
                "/v2/models/NAME/infer and over gRPC; in Python, Package.tensor_runner runs it"
            )
        return self.preprocess

    @property
    def classifies_texts(self) -> bool:
        """Whether the only input of the model is prepared from a text, and its first output has the logits of classes.

        Texts can be given to it if the package has the file tokenizer.json; else token ids must be.
        """
        return [entry.prepared_by for entry in self.inputs] == ["text"] and self.output.meaning == "logits"

    @property
    def text_input(self) -> InputEntry:
        """The input of a text classifier.

        Raises:
            OtherInputsError: The model is no text classifier; the message says what its inputs are.
        """
        if not self.classifies_texts:
            inputs = ", ".join(f"{entry.name} ({entry.dtype}: {' x '.join(map(str, entry.shape))})" for entry in self.inputs)
            raise OtherInputsError(f"{self.name} is no text classifier: it takes {inputs}")
        return self.input

    @property
    def input(self) -> InputEntry:
        """The first input of the exported model."""
        return self.inputs[0]

    @property
    def output(self) -> OutputEntry:
        """The first output of the exported model: the logits, if it is a classifier."""
        return self.outputs[0]

    @property
    def features(self) -> OutputEntry | None:
        """The output with the features of an image; None where the package was exported without it."""
        return next((output for output in self.outputs if output.meaning == "features"), None)

    @property
    def classes(self) -> int:
        """Number of classes of the model; 0 if it is no classifier."""
        return int(self.output.shape[-1]) if self.output.meaning == "logits" else 0
