"""Loads the classifier that `hubserve eval` evaluates: of images or of texts, in this process or in a service."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from hubserve.accuracy import Classifier, LocalClassifier, Logits, TextClassifier
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.eager_tensor_runner import EagerTensorRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.http_classifiers import HttpClassifier, HttpTextClassifier
from hubserve.package import text_classifier as texts
from hubserve.package.package import Package
from hubserve.package.signature import ModelSignature

AnyClassifier = Callable[[Sequence[Any]], list[Logits | None]]
"""A `Classifier` of images, or a `TextClassifier`."""


@contextmanager
def classifier_of(package: Package, model: str, backend: str, url: str | None, *, token: str | None) -> Iterator[AnyClassifier]:
    """Context manager that yields the classifier of a package, of images or of texts.

    Args:
        package: Package of the model.
        model: Name of the model, by which a service knows it.
        backend: "eager", "openvino", or an export format of the package; has no effect with `url`.
        url: Address of a service that classifies; None runs the model in this process.
        token: Token of that service; None sends none.

    Raises:
        OtherInputsError: The model classifies neither images nor texts.
        PackageError: The package does not have the format, its author is not trusted, or it has no tokenizer; or, with "eager",
            the PyTorch module cannot be rebuilt.
        WeightsError: With "eager", the weights cannot be read or do not fit the network.
        ExportError: The format cannot be loaded on this machine.
        MissingExtraError: A library of an optional extra is not installed.
    """
    of_texts = package.manifest.classifies_texts
    if url is None:
        yield _local_texts(package, backend) if of_texts else _local_images(package, backend)
        return
    kind = HttpTextClassifier if of_texts else HttpClassifier
    temperature = package.manifest.temperature
    with closing(kind(url, labels=package.labels, model=model, temperature=temperature, token=token)) as classifier:
        yield classifier


def _local_images(package: Package, backend: str) -> Classifier:
    preprocess = package.manifest.image_preprocess
    runner = EagerRunner(rebuild_model(package)) if backend == "eager" else package.runner(backend)  # type: ignore[arg-type]
    return LocalClassifier(runner, preprocess)


def _local_texts(package: Package, backend: str) -> TextClassifier:
    if backend == "eager":
        runner = EagerTensorRunner(rebuild_model(package), ModelSignature.of(package.manifest))
        loaded = texts.TextClassifier(runner, texts.read_tokenizer(package), package.labels)
    else:
        loaded = texts.text_classifier(package, backend)  # type: ignore[arg-type]
    return lambda batch: list(loaded.logits(batch))
