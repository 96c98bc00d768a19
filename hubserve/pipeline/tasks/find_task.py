"""`find_task`: returns the `SearchTask` for the kind of a search's data."""

from hubserve.data.labelled_data import LabelledData
from hubserve.data.search_data import SearchData
from hubserve.data.speech.speech_data import SpeechData
from hubserve.data.text_data import TextData
from hubserve.errors import JobError
from hubserve.pipeline.tasks.image_task import ImageTask
from hubserve.pipeline.tasks.search_task import SearchTask
from hubserve.pipeline.tasks.speech_task import SpeechTask
from hubserve.pipeline.tasks.text_task import TextTask

TASKS: dict[type[SearchData], type[SearchTask]] = {LabelledData: ImageTask, SpeechData: SpeechTask, TextData: TextTask}
"""The task of each kind of data."""


def find_task(data: SearchData) -> SearchTask:
    """Returns the task of the data of a search. A subclass of known data has the task of its base.

    Raises:
        JobError: No task is known for data of this kind.
    """
    for kind, task in TASKS.items():
        if isinstance(data, kind):
            return task(data)
    known = ", ".join(f"{kind.__module__}.{kind.__name__}" for kind in TASKS)
    raise JobError(f"data: {data.name} is a {type(data).__name__}, and searches know how to train on: {known}")
