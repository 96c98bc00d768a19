"""Settings of the service, read from the environment once, at start-up."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from hubserve.preprocess import MAX_PIXELS

PREFIX = "HUBSERVE_"


class Settings(BaseModel):
    """Each is set by the variable HUBSERVE_ and its name in capitals, such as HUBSERVE_MODEL.

    Attributes:
        model: name or tag that answers where a request names none; the newest in the store unless set.
        threads: that classify, each on one core; the cores of this process unless set.
        max_batch: pictures that a thread takes at once, where so many wait.
        max_waiting: pictures that may wait; a request beyond that is refused at once with 503.
        max_pictures: of one request.
        device: "cpu", "cuda", or "auto", which takes a GPU where there is one.
        max_body_mb: of a request.
        max_megapixels: of a picture.
        resolve_seconds: how long the answer to "which version is newest" is believed.
    """

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    threads: Annotated[int, Field(ge=1)] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    max_batch: Annotated[int, Field(ge=1)] = 4
    max_waiting: Annotated[int, Field(ge=1)] = 128
    max_pictures: Annotated[int, Field(ge=1)] = 32
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_body_mb: Annotated[float, Field(gt=0)] = 20.0
    max_megapixels: Annotated[float, Field(gt=0)] = MAX_PIXELS / 1e6
    resolve_seconds: Annotated[float, Field(ge=0)] = 1.0

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises pydantic's ValidationError, which names the setting, where a value is not allowed."""
        given = {name: os.environ.get(PREFIX + name.upper()) for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in given.items() if value})
