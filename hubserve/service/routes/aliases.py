"""Routes below /aliases: list, set and delete the names that stand for a model, with a canary for a share of the requests."""

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from hubserve.service.auth import CHANGE
from hubserve.service.error_responses import described
from hubserve.service.unknown_parameters import only_parameters
from hubserve.store import aliases

router = APIRouter(prefix="/aliases", tags=["aliases"], dependencies=[Depends(only_parameters())])

Name = Annotated[str, Path(description="Lower-case letters and digits, with '-', '_' and '.' between them.")]


class AliasEntry(BaseModel):
    """An alias.

    Attributes:
        name: Name of the alias.
        model: Tag of a model, or a name for its newest version.
        canary: Tag or name of the model that gets a share of the requests; null if there is none.
        weight: Percentage of the requests that the canary gets, 1 to 99; 0 if there is no canary.
    """

    name: str
    model: str
    canary: str | None
    weight: int


class AliasChange(BaseModel):
    """The new meaning of an alias.

    Attributes:
        model: Tag of a model, or a name for its newest version.
        canary: Tag or name of the model that gets a share of the requests; null for none.
        weight: Percentage of the requests that the canary gets, 1 to 99; ignored if there is no canary.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(max_length=200)]
    canary: Annotated[str, Field(max_length=200)] | None = None
    weight: Annotated[int, Field(ge=1, le=99)] = 10


@router.get("", summary="List the aliases", name="list_aliases", responses=described(401, 422))
async def listed(request: Request) -> list[AliasEntry]:
    """Answers with all aliases, sorted by name."""
    known = await to_thread.run_sync(aliases.list_aliases)
    return [AliasEntry(name=name, **alias.model_dump()) for name, alias in sorted(known.items())]


@router.put("/{name}", summary="Set an alias", name="set_alias", dependencies=CHANGE, responses=described(401, 403, 404, 422))
async def put(name: Name, change: AliasChange) -> AliasEntry:
    """Creates or replaces an alias, which has an effect within about a second.

    The version that answers now continues to answer until the new one is loaded. The answer is 404 if the store does not have
    `model` or `canary`, and 422 if the name is not allowed or is that of a model.
    """
    alias = await to_thread.run_sync(lambda: aliases.set_alias(name, change.model, canary=change.canary, weight=change.weight))
    return AliasEntry(name=name, **alias.model_dump())


@router.delete(
    "/{name}",
    status_code=204,
    summary="Remove an alias",
    name="delete_alias",
    dependencies=CHANGE,
    responses=described(401, 403, 404),
)
async def delete(name: Name) -> None:
    """Deletes an alias; answers with 404 if there is none. The versions that it stood for are not deleted."""
    await to_thread.run_sync(aliases.delete_alias, name)
