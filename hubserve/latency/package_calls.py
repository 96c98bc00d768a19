"""`PackageCalls`: made-up batches for the model of a package of any inputs, and its formats as functions of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hubserve.errors import HubserveError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.eager_tensor_runner import EagerTensorRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.hub.package_space import package_space
from hubserve.latency.lengths import check_lengths
from hubserve.package.package import Backend, Package
from hubserve.package.parity import random_batches
from hubserve.package.runner import Runner, TensorRunner
from hubserve.package.signature import Array, ModelSignature


class TensorCall:
    """A runner of any inputs as a function of one argument, the inputs of a batch, as measurements call it.

    Args:
        runner: The runner.
    """

    def __init__(self, runner: TensorRunner) -> None:
        self.name, self.device = runner.name, runner.device
        self._runner = runner

    def __call__(self, batch: Sequence[Array]) -> tuple[Array, ...]:
        """Returns the outputs for the inputs of a batch; the exceptions are those of the runner."""
        return self._runner.run(batch)


Call = Runner | TensorCall
"""A loaded format, which is called with what `PackageCalls.batch` returns."""


@dataclass(frozen=True)
class PackageCalls:
    """Made-up batches for the model of a package, and its formats as functions of a batch.

    Attributes:
        package: The package.
        lengths: Length of each named axis of the inputs besides "batch"; see `usual_lengths`. Empty for image classifiers.
    """

    package: Package
    lengths: Mapping[str, int]

    @property
    def axes(self) -> dict[str, tuple[int, int | None]]:
        """Smallest and largest allowed length of each axis in `lengths`; None means that any is allowed."""
        return ModelSignature.of(self.package.manifest).axes

    def batch(self, rows: int) -> Any:
        """Returns a made-up batch: images, (rows, 3, height, width) float32, or the inputs of another model in their order."""
        manifest = self.package.manifest
        if manifest.classifies_images:
            size = manifest.image_preprocess.input_size
            return random_batches((3, size, size), sizes=(rows,))[0]
        return ModelSignature.of(manifest).batch(rows, self.lengths)

    def named(self, batch: Any) -> dict[str, Array]:
        """Returns the inputs in a batch by their names."""
        manifest = self.package.manifest
        if manifest.classifies_images:
            return {manifest.input.name: batch}
        return {entry.name: array for entry, array in zip(manifest.inputs, batch, strict=True)}

    def load(self, backend: str, threads: int) -> Call:
        """Loads the model to run on the CPU in one of its formats, in OpenVINO or in eager PyTorch.

        Args:
            backend: Name of a format, "openvino", or "eager" for eager PyTorch.
            threads: Number of threads that a call may use. "eager" and the formats of torch ignore it.

        Raises:
            PackageError: The package does not have the format, its author is not trusted, the first load took too much time or
                memory (LoadLimitError), or the PyTorch module cannot be rebuilt.
            ExportError: The file cannot be loaded, the format needs a GPU, or, for a model of other inputs, is for images only.
            WeightsError: With "eager", the weights cannot be read or do not fit the network.
            OSError: The file cannot be read.
        """
        images, name = self.package.manifest.classifies_images, _backend(backend)
        if name is None:
            model = rebuild_model(self.package)
            signature = ModelSignature.of(self.package.manifest)
            return EagerRunner(model) if images else TensorCall(EagerTensorRunner(model, signature))
        if images:
            return self.package.runner(name, threads=threads)
        return TensorCall(self.package.tensor_runner(name, threads=threads))


def usual_lengths(package: Package, given: Mapping[str, int] | None = None) -> dict[str, int]:
    """Returns the length of each named axis of the inputs of a model besides "batch", with which it is measured.

    It is the given one, else the usual one of the model space, else one that exported models are compared with.

    Args:
        package: The package.
        given: Lengths by the names of axes; None gives none.

    Raises:
        ProfileError: There is no axis of a given name, or its length is not allowed.
    """
    axes = ModelSignature.of(package.manifest).axes
    check_lengths(axes, given or {}, package.manifest.name)
    found = ModelSignature.of(package.manifest).lengths_at(1.0)
    try:
        usual = package_space(package).cost_lengths if axes else {}
    except HubserveError:  # The space of somebody else, which is not imported.
        usual = {}
    return {axis: {**found, **usual, **(given or {})}[axis] for axis in axes}


def _backend(name: str) -> Backend | None:
    """Returns None for "eager", which is eager PyTorch, and else the name itself, which is not checked."""
    return None if name == "eager" else name  # type: ignore[return-value]
