"""From a package to what a package is written from: so that forms can be added, or written anew by another torch."""

from __future__ import annotations

from hubserve.export.rebuild import rebuild
from hubserve.export.write import Source
from hubserve.package.package import Package


def package_source(package: Package) -> Source:
    """The model of a package, built anew from its space, settings, arch and weights.

    Raises:
        PackageError: the package was changed, or its space is not one of the hub.
        WeightsError: the weights do not fit.
    """
    package.verify()
    manifest = package.manifest
    return Source(
        name=manifest.name,
        model=rebuild(package),
        space=manifest.space,
        settings=manifest.settings,
        arch=manifest.arch,
        preprocess=manifest.preprocess,
        labels=package.labels,
        provenance=manifest.provenance,
    )
