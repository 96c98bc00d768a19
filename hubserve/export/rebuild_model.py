"""Rebuilds the PyTorch module of a package."""

from torch import nn

from hubserve.errors import ArchError, PackageError, SpaceError
from hubserve.hub.pretrained import load_weights
from hubserve.hub.registry import get_space
from hubserve.package.package import WEIGHTS, Package


def rebuild_model(package: Package) -> nn.Module:
    """Rebuilds the PyTorch module of a package from its space, settings, arch and weights, and returns it in eval mode.

    Raises:
        PackageError: The space is not one of the hub, or the settings or the arch do not fit it.
        WeightsError: The weights cannot be read, or do not fit the network.
    """
    try:
        space = get_space(package.manifest.space, package.manifest.settings)
        return load_weights(space, package.manifest.arch, package.path / WEIGHTS)
    except (SpaceError, ArchError) as error:
        raise PackageError(f"{package.path} cannot be rebuilt as a PyTorch module here: {error}") from error
