"""Rebuilds the PyTorch module of a package."""

from torch import nn

from hubserve.errors import ArchError, ExportError, PackageError, SpaceError, WeightsError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.eager_tensor_runner import EagerTensorRunner
from hubserve.hub.package_space import package_space, source_change
from hubserve.hub.pretrained import load_weights
from hubserve.package.formats import FORMATS
from hubserve.package.package import WEIGHTS, Package
from hubserve.package.parity import FLOAT32, check_parity, made_up_batches
from hubserve.package.signature import ModelSignature
from hubserve.package.tensor_parity import check_outputs


def rebuild_model(package: Package) -> nn.Module:
    """Rebuilds the PyTorch module of a package from its space, settings, arch and weights, and returns it in eval mode.

    If the source of a space of the user's own was changed since the package was written, a warning says so, and the module must
    have the same outputs as an exported format of the package in float32.

    Raises:
        PackageError: The space is neither one of the hub nor one that can and may be imported here, the settings or the arch do
            not fit it, or its source was changed, and the network is another one or no format shows that it is the same.
        WeightsError: The weights cannot be read, or do not fit the network.
    """
    manifest, change = package.manifest, source_change(package)
    try:
        model = load_weights(package_space(package), manifest.arch, package.path / WEIGHTS)
    except (SpaceError, ArchError, WeightsError) as error:
        if change is not None:
            raise PackageError(f"{package.path} cannot be rebuilt: {_changed(package, change)}: {error}") from error
        if isinstance(error, WeightsError):
            raise
        raise PackageError(f"{package.path} cannot be rebuilt as a PyTorch module here: {error}") from error
    if change is not None:
        _check_same_outputs(package, model, change)
    return model


def _check_same_outputs(package: Package, model: nn.Module, change: str) -> None:
    """Compares `model` with the first format in float32 of the package.

    Raises PackageError if it has other outputs, the package has no such format, or that format may not be loaded.
    """
    name = next((name for name in package.manifest.exports if FORMATS[name].bounds == FLOAT32), None)
    if name is None:
        raise PackageError(f"{package.path} has no exact format to compare with: {_changed(package, change)}")
    try:
        if package.manifest.classifies_images:
            batches = made_up_batches(package.manifest.image_preprocess)
            check_parity(EagerRunner(model), package.runner(name), batches)
        else:
            signature = ModelSignature.of(package.manifest)
            eager = EagerTensorRunner(model, signature)
            check_outputs(eager, package.tensor_runner(name), signature, signature.compared_batches())
    except ExportError as error:
        raise PackageError(f"{package.path} cannot be rebuilt: {_changed(package, change)}: {error}") from error


def _changed(package: Package, change: str) -> str:
    return f"the source of {package.manifest.space} was changed and makes another network now ({change})"
