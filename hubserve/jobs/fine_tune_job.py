"""`FineTuneJob`, the kind of job with the key `start`, and its records; `hubserve.jobs.definition` has an example."""

from typing import Annotated

from pydantic import Field

from hubserve.jobs.definition import Job, JobRecord
from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.preprocess import Fit


class StartEntry(JobRecord):
    """The model that a fine-tuning starts from.

    Attributes:
        model: A pre-searched model; a name, tag or alias in the model store; or the path of a package folder. At most 4096
            characters.
    """

    model: Annotated[str, Field(min_length=1, max_length=4096)]


class ImagesEntry(JobRecord):
    """How images are turned into the network's input.

    Attributes:
        size: Height and width of the network's input in pixels, 16 to 4096; None takes the size that is proposed from the
            images.
        fit: How images that are not square are made square: "crop" keeps the middle, "pad" adds bars, "squash" changes the
            aspect ratio. None takes the one that is proposed from the images.
    """

    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    fit: Fit | None = None


class FineTuneJob(Job):
    """The content of the job file of a fine-tuning, which trains a model that was trained before on other images.

    Attributes, besides those of `Job`:
        start: Model with whose weights the training begins. Its head is replaced by a new one for the classes of the data.
        images: How images are turned into the network's input.
        recipe: How the network is trained.
    """

    start: StartEntry
    images: ImagesEntry = ImagesEntry()
    recipe: FineTuneRecipe = FineTuneRecipe()
