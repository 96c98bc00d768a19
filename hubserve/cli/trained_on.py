"""Finds whether the images or texts of `hubserve eval` are some that the model was trained on, and says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hubserve import jobs
from hubserve.data.image_folder import LabelledImages
from hubserve.data.labelled_texts import LabelledTexts
from hubserve.data.parts import PINNED, PinnedParts, read_pinned
from hubserve.data.trained_images import count_by_part
from hubserve.errors import HubserveError
from hubserve.package.package import Package

ADVICE = "for a test figure, name other data"


@dataclass(frozen=True)
class TrainedOn:
    """How many of the images of an evaluation the model was trained on or chosen by.

    Attributes:
        images: Number of these images; None if it is not known.
        note: Sentence for the user; None if there is nothing to say.
    """

    images: int | None
    note: str | None


def training_facts(package: Package) -> Mapping[str, Any]:
    """Returns what a package knows of the job that trained its model; empty if no job did."""
    origin = package.manifest.provenance
    return origin.fine_tuning or origin.search


def trained_on(package: Package, images: LabelledImages | LabelledTexts) -> TrainedOn:
    """Finds how many of the images, or texts, were in the training or validation part of the data that a model was trained on.

    The number is 0 if these were drawn to test the model, and None if no job trained the model on data of their kind. Otherwise
    it follows from the record of the parts of images in the folder of the run, if that is on this machine. Without a record, as
    for all texts, it is None, and a note says so, unless these are the test or validation part of their data.

    Args:
        package: Package of the model.
        images: Images, or texts, on which the model is evaluated.
    """
    facts = training_facts(package)
    if images.drawn or images.kind not in facts.get("data_found", {}):
        return TrainedOn(0 if images.drawn else None, None)
    run = str(facts.get("run", ""))
    if isinstance(images, LabelledImages) and (pinned := _pinned(run)) is not None:
        return _counted(images, pinned)
    if images.part in ("test", "val"):
        return TrainedOn(None, None)
    record = "" if images.kind == "texts" else f", and the run {run}, which has the list of those, is not on this machine"
    return TrainedOn(
        None,
        f"it is not known whether the model was trained on some of these {images.kind}, which have no test part: they are not "
        f"the data of its training as they were then{record}; {ADVICE}",
    )


def _counted(images: LabelledImages, pinned: PinnedParts) -> TrainedOn:
    found = count_by_part((path for path, _ in images.items), pinned)
    seen = found["train"] + found["val"]
    if not seen:
        return TrainedOn(0, None)
    return TrainedOn(
        seen,
        f"this is no test figure: {found['train']:,} of these {len(images.items):,} images trained the model, and "
        f"{found['val']:,} validated it; {ADVICE}",
    )


def _pinned(run: str) -> PinnedParts | None:
    """Returns the record of the parts of a run; None if the run is not on this machine, or its record cannot be read."""
    try:
        return read_pinned(jobs.find(run).path / PINNED)
    except HubserveError:
        return None
