"""A small text classifier with random weights, as a package with its tokenizer."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch

from hubserve.data.tokenizer_training import train_tokenizer
from hubserve.export.model_source import ModelSource, arch_source
from hubserve.export.write_package import write_package
from hubserve.hub import get_space
from hubserve.package.manifest import Format
from hubserve.package.package import Package

TEXTS = ("A good film, isn't it?", "a bad Film!", "the fine movie, good good", "What a plot: bad, bad acting") * 2
LABELS = ("negative", "positive")
SETTINGS: dict[str, Any] = {
    "vocab_size": 60,
    "embedding_size": 16,
    "hidden_sizes": (16,),
    "head_dim": 8,
    "num_blocks": 1,
    "max_length": 16,
}
ARCH = {"b1_hidden": 16, "b1_depth": 2, "b1_op_0": "mha", "b1_op_1": "sep_conv_3"}


def text_source(name: str = "reviews", *, tokenizer: bool = True) -> ModelSource:
    torch.manual_seed(0)
    source = arch_source(get_space("NASBERT", SETTINGS), SETTINGS, ARCH, name=name, class_labels=LABELS)
    content = train_tokenizer(TEXTS, size=SETTINGS["vocab_size"]) if tokenizer else None
    return ModelSource(**{**vars(source), "tokenizer": content})


@cache
def text_package(name: Format = "torchscript") -> Package:
    """The package in one format; it is not to be changed. ONNX takes many seconds to write."""
    folder = Path(mkdtemp(prefix="hubserve-text.")) / "reviews"
    return write_package(text_source(), folder, formats=[name], texts=TEXTS)
