"""Records of a search job: how many members of the Pareto front are published, and the networks that they are compared with."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from hubserve.jobs.definition import JobRecord, Name, Publish


class SearchPublish(Publish):
    """How the network that a search finds is published, and how many members of the Pareto front with it.

    Attributes, besides those of `Publish`:
        front: Largest number of members of the Pareto front that are published, 1 to 20, the winner among them. The others are
            trained, tested, exported and profiled as the winner is, and published as NAME-front-1, NAME-front-2, ..., the
            cheapest first.
    """

    front: Annotated[int, Field(ge=1, le=20)] = 1


class Baselines(JobRecord):
    """Networks of the space that are made by hand, with which the networks that a search finds are compared.

    They are trained with `retrain`, or with `recipe` on one device if the job has none for new weights; they are tested and
    profiled, and not published.

    Attributes:
        uniform: Number of networks that are scaled by hand, 0 to 9: in each, all choices take the candidate at the same place
            of their lists, evenly spread from the first candidates to the last ones. Archs that the space does not allow, and
            repeated ones, are left out.
        archs: Archs of the user's own by their names, at most 20; each maps the label of a choice to the chosen value.
    """

    uniform: Annotated[int, Field(ge=0, le=9)] = 0
    archs: dict[Name, dict[str, Any]] = Field(default_factory=dict, max_length=20)
