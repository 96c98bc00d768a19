"""`TextEngine`: classifies texts with one package, whose tokenizer turns a text into the token ids that the network takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from hubserve.errors import LogitsError
from hubserve.package.predictions import best_predictions, number_of_predictions
from hubserve.package.signature import Array
from hubserve.package.text_tokenizer import TextTokenizer
from hubserve.service.engine import Answer, Engine
from hubserve.service.tensor_engine import PreparedTensors, TensorEngine


@dataclass(frozen=True)
class PreparedText:
    """The tokens of a text.

    Attributes:
        tokens: Ids of the tokens, (1, length) int64, padded only if the model takes no text so short.
        top_k: Number of classes in the answer.
        tokenize_ms: Milliseconds that the tokenizer took.
    """

    tokens: Array
    top_k: int
    tokenize_ms: float


class TextEngine:
    """Classifies texts with one package. It may be called by several threads at once.

    Args:
        tensors: Engine of the package. Its only input has the token ids, and its first output the logits.
        tokenizer: Tokenizer of the package.

    Attributes:
        tensors: Engine that runs the token ids.
        backend: Format that runs.
        manifest: Manifest of the package.
        labels: Label of each class, in the order of the logits.
        temperature: Number by which the logits are divided before the softmax.
        feature_width: None: only image classifiers have features.
        device: Device that runs the model, "cpu" or "cuda".
    """

    def __init__(self, tensors: TensorEngine, tokenizer: TextTokenizer) -> None:
        self.tensors = tensors
        self.backend, self.device = tensors.backend, tensors.device
        self.manifest, self.labels = tensors.manifest, tensors.labels
        self.temperature = tensors.manifest.temperature or 1.0
        self.feature_width: int | None = None
        self._tokenizer = tokenizer
        self._padding = tensors.signature.inputs[0].padding or 0

    def warm_up(self, batch_sizes: Sequence[int] = (1,)) -> None:
        """Runs the network on made-up tokens in batches of these sizes. Raises as `TensorEngine.warm_up` does."""
        self.tensors.warm_up(batch_sizes)

    def classify(self, text: str, *, top_k: int | None = None) -> Answer:
        """Classifies a text.

        Args:
            text: The text. Tokens beyond the largest length of the model are cut off.
            top_k: Number of classes in the answer; None takes 5, or all if the model has fewer.

        Raises:
            TextError: The text is empty, too long, no valid Unicode, or has no token that the model knows.
            TopKError: `top_k` is not between 1 and the number of classes.
            PackageError: The tokenizer gives an id that the model does not take.
            LogitsError: A logit is NaN or infinite.
            ExportError: The network cannot be run.
            LateAnswerError: Inference took longer than allowed.
        """
        (found,) = self.answer([self.prepare(text, top_k=top_k)])
        if isinstance(found, LogitsError):
            raise found
        return found

    def prepare(self, data: object, *, top_k: int | None = None, features: bool = False) -> PreparedText:
        """Turns a text into tokens; this is the first step of `classify`.

        Args:
            data: The text.
            top_k: Number of classes in the answer; None takes 5, or all if the model has fewer.
            features: Ignored: it is for image classifiers.

        Raises:
            TextError: The text is empty, too long, no valid Unicode, or has no token that the model knows.
            TopKError: `top_k` is not between 1 and the number of classes.
            PackageError: The tokenizer gives an id that the model does not take.
        """
        top_k = number_of_predictions(top_k, len(self.labels))
        start = time.perf_counter()
        tokens = self._tokenizer.encode([cast("str", data)])
        return PreparedText(tokens, top_k, (time.perf_counter() - start) * 1e3)

    def answer(self, texts: Sequence[PreparedText]) -> list[Answer | LogitsError]:
        """Runs inference for tokenized texts; this is the second step of `classify`.

        Texts whose lengths are between the same two powers of two are padded to the longest of them and run as one batch. So
        padding at most doubles the work, and a short text is not padded to the length of a far longer one.

        Returns:
            For each text, in order, its answer, or a LogitsError if a logit of that text is NaN or infinite.

        Raises:
            ExportError: The network cannot be run.
            LateAnswerError: Inference took longer than allowed.
        """
        found = self.tensors.answer([PreparedTensors((tokens,)) for tokens in self._padded([text.tokens for text in texts])])
        return [
            outcome
            if isinstance(outcome, LogitsError)
            else Answer(
                best_predictions(outcome.outputs[0][0], self.labels, text.top_k, temperature=self.temperature),
                text.tokenize_ms,
                outcome.infer_ms,
                outcome.batch_size,
                outcome.outputs[0][0],
            )
            for text, outcome in zip(texts, found, strict=True)
        ]

    def _padded(self, rows: Sequence[Array]) -> list[Array]:
        """Returns the tokens of texts, (1, length) each, padded to the length of the batch in which they are run."""
        groups = [(row.shape[1] - 1).bit_length() for row in rows]
        longest: dict[int, int] = {}
        for group, row in zip(groups, rows, strict=True):
            longest[group] = max(longest.get(group, 0), row.shape[1])
        return [
            np.pad(row, ((0, 0), (0, longest[group] - row.shape[1])), constant_values=self._padding)
            for group, row in zip(groups, rows, strict=True)
        ]


AnyEngine = Engine | TensorEngine | TextEngine
"""An engine: of an image classifier, of a text classifier, or of any other model."""
