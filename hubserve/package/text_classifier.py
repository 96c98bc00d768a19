"""`TextClassifier`: classifies texts with an exported model and the tokenizer in its package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import PackageError
from hubserve.package.onnx_runner import Device
from hubserve.package.package import Backend, Package
from hubserve.package.predictions import Prediction, best_predictions, number_of_predictions
from hubserve.package.runner import DAY, TensorRunner, check_finite
from hubserve.package.text_tokenizer import TOKENIZER, TextTokenizer, check_texts

BATCH_SIZE = 64
"""Largest number of texts that a model gets at a time."""


class TextClassifier:
    """A text classifier: a loaded model with the tokenizer that prepares its input. See `text_classifier`.

    It may be called from several threads if the runner may.

    Args:
        runner: Runner of the model.
        tokenizer: Tokenizer of the model.
        labels: Label of each class, in the order of the logits.
        temperature: Number above 0 by which logits are divided before the softmax; None means 1.
    """

    def __init__(
        self, runner: TensorRunner, tokenizer: TextTokenizer, labels: Sequence[str], temperature: float | None = None
    ) -> None:
        self.runner, self.tokenizer, self.labels, self.temperature = runner, tokenizer, tuple(labels), temperature

    def logits(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        """Returns the logits of texts, (n, classes).

        Args:
            texts: Texts, at least one.

        Raises:
            TextError: A text is not allowed; see `TextTokenizer.encode`.
            PackageError: The tokenizer gives an id that the model does not take.
            LogitsError: A logit is NaN or infinite.
            ExportError: The model cannot be run.
            LateAnswerError: A call of the model took too long.
        """
        check_texts(texts)
        starts = range(0, len(texts), BATCH_SIZE)
        parts = [self.runner.run([self.tokenizer.encode(texts[start : start + BATCH_SIZE])])[0] for start in starts]
        found = np.concatenate(parts)
        check_finite(found)
        return found

    def classify(self, texts: Sequence[str], *, top_k: int | None = None) -> list[tuple[Prediction, ...]]:
        """Returns the most likely classes of each text, the most likely one first, with their probabilities.

        Args:
            texts: Texts, at least one.
            top_k: Number of classes for each text; None means 5, or all classes if there are fewer.

        Raises:
            TopKError: `top_k` is not between 1 and the number of classes.
            TextError, PackageError, LogitsError, ExportError, LateAnswerError: As `logits`.
        """
        number = number_of_predictions(top_k, len(self.labels))
        found = self.logits(texts)
        return [best_predictions(row, self.labels, number, temperature=self.temperature) for row in found]


def read_tokenizer(package: Package) -> TextTokenizer:
    """Reads and returns the tokenizer in the package of a text classifier.

    Raises:
        OtherInputsError: The model does not classify texts.
        PackageError: The package has no tokenizer, or it cannot be read or is not allowed; see `TextTokenizer`.
        MissingExtraError: The library `tokenizers` is not installed.
    """
    entry = package.manifest.text_input
    if TOKENIZER not in package.manifest.files:
        raise PackageError(
            f"{package.path} has no {TOKENIZER}, so it takes token ids ({entry.name}), not texts: export the model with the "
            "tokenizer that it was trained with"
        )
    return TextTokenizer.read(package.path, entry)


def text_classifier(
    package: Package, name: Backend = "onnx", *, threads: int = 1, device: Device = "cpu", seconds: float = DAY
) -> TextClassifier:
    """Loads the model and the tokenizer of a package, and returns a classifier of texts.

    >>> text_classifier(read_package(Path("reviews"))).classify(["a good film"])[0][0].label
    'positive'

    Args:
        package: Package of a text classifier.
        name: Name of the format, one of `hubserve.package.formats.TENSOR_FORMATS`.
        threads: Number of threads that one call may use. "torchscript" and "pt2" ignore it.
        device: "cpu", "cuda" or "auto". "auto" takes a GPU if there is one.
        seconds: Time in seconds after which a call of the model raises LateAnswerError, in "onnx" only.

    Raises:
        OtherInputsError, PackageError, MissingExtraError: As `read_tokenizer`.
        PackageError, LoadLimitError, ExportError, OSError: As `Package.tensor_runner`.
        PackageError: labels.txt cannot be read.
    """
    tokenizer = read_tokenizer(package)
    runner = package.tensor_runner(name, threads=threads, device=device, seconds=seconds)
    return TextClassifier(runner, tokenizer, package.labels, package.manifest.temperature)
