"""The manifest of a package: all that serving, judging and rebuilding a model needs, as data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hubserve.cards.card import Metric
from hubserve.preprocess import Preprocess

Format = Literal["onnx", "torchscript", "pt2", "onnx-fp16", "onnx-int8"]
DEFAULT_FORMATS: tuple[Format, ...] = ("onnx", "torchscript", "pt2")
"""Those that answer as eager PyTorch does, up to rounding: what is exported unless told otherwise."""
ALL_FORMATS: tuple[Format, ...] = (*DEFAULT_FORMATS, "onnx-fp16", "onnx-int8")
"""With those that give up accuracy, or run on some machines only: an explicit choice."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Record):
    """One file of a package.

    Attributes:
        bytes: its length.
        sha256: of its content.
    """

    bytes: int
    sha256: str


class TensorEntry(_Record):
    """Input or output of the exported model.

    Attributes:
        name: in ONNX.
        dtype: of its elements.
        shape: "batch" where any number of pictures may come.
    """

    name: str
    dtype: str
    shape: Annotated[tuple[str | int, ...], Field(min_length=2)]


class Provenance(_Record):
    """Where a model came from.

    Attributes:
        origin: "card", "arch" or "search".
        paper: where it was published.
        licence: of the weights.
        metric: published accuracy.
        weights: "published", "random", "local" (a file that someone gave), "shared" (cut from a supernet), "trial" (trained in
            the search's own trial) or "retrained" (from fresh ones, after the search).
        search: study, trial, seed, score and split, for a model that a search found.
    """

    origin: Literal["card", "arch", "search"] = "arch"
    paper: str | None = None
    licence: str | None = None
    metric: Metric | None = None
    weights: Literal["published", "random", "local", "shared", "trial", "retrained"] = "random"
    search: dict[str, Any] = {}


class Manifest(_Record):
    """See the module.

    Attributes:
        format_version: of this record.
        name: of the model.
        space: class name of its model space.
        settings: of the space.
        arch: label -> value.
        preprocess: how pictures become input.
        input: of the exported model.
        output: likewise.
        exports: format -> how it was made.
        provenance: where the model came from.
        versions: of the software that wrote the package.
        files: name -> length and hash; the manifest itself is not among them.
    """

    format_version: Literal[1] = 1
    name: str
    space: str
    settings: dict[str, Any]
    arch: dict[str, Any]
    preprocess: Preprocess
    input: TensorEntry
    output: TensorEntry
    exports: dict[Format, dict[str, Any]]
    provenance: Provenance
    versions: dict[str, str]
    files: dict[str, FileEntry]

    @model_validator(mode="after")
    def _counts_its_classes(self) -> Manifest:
        if not isinstance(self.output.shape[-1], int) or self.output.shape[-1] < 1:
            raise ValueError(f"output.shape = {self.output.shape}: the last number is that of the classes, at least 1")
        return self

    @property
    def classes(self) -> int:
        """How many the model tells apart."""
        return int(self.output.shape[-1])
