"""The record of a fine-tuning, the kind of job with `start`; see `hubserve.jobs.definition` for an example."""

from typing import Annotated

from pydantic import Field

from hubserve.jobs.definition import Job, JobRecord
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.preprocess import Fit


class StartEntry(JobRecord):
    """The model that a fine-tuning starts from.

    Attributes:
        model: A pre-searched model, a name, tag or alias of the store, or the folder of a package.
    """

    model: Annotated[str, Field(min_length=1, max_length=4096)]


class ImagesEntry(JobRecord):
    """How images become the network's input.

    Attributes:
        size: Side in pixels of the square that the network sees, 16 to 4096; None takes one that is proposed from the images.
        fit: How images that are no squares fit: "crop" keeps the middle, "pad" adds bars, "squash" changes the aspect ratio;
            None takes the one that is proposed from the images.
    """

    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    fit: Fit | None = None


class FineTuneJob(Job):
    """The fine-tuning of a trained model described as data; the keys of a job file with `start` and without `strategy`.

    Attributes, besides those of Job:
        start: Model whose weights are the first ones; its head is replaced by one for the classes of the data.
        images: How images become the network's input.
        recipe: How the network is trained.
    """

    start: StartEntry
    images: ImagesEntry = ImagesEntry()
    recipe: FineTuneRecipe = FineTuneRecipe()
