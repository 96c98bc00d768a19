"""Every error hubserve raises, in one tree.

HubserveError
├── SpaceError            a model space is written or set up wrongly
├── ArchError             an arch does not belong to its space
├── CardError             a card file, or the name of a card, is wrong
├── WeightsError          weights cannot be had or do not fit
│   ├── WeightsUnavailableError   no source answered with the file
│   ├── ChecksumError             a file is not the one the card names
│   └── KeyFormatError            tensors do not match the model, name by name
├── ImageError            bytes that are no picture we can read
│   └── ImageTooLargeError        more bytes or pixels than allowed
├── RequestError          a request to the service is wrong
│   ├── FormError                 a body or form without a picture
│   ├── TopKError                 more answers wanted than there are classes
│   ├── TensorError               tensors that do not fit the model
│   ├── SlowRequestError          a body that does not come
│   ├── UnauthorizedError         no token, or a wrong one
│   └── ForbiddenError            the service has no token, so nobody may change anything
├── OverloadedError       the service has as much waiting work as it takes
│   └── LateAnswerError           pictures were not classified in time
├── DatasetError          a picture folder cannot be evaluated
├── ExportError           a model cannot be exported
│   └── ParityError               an exported model answers differently from eager PyTorch
├── PackageError          a package folder is missing something or was changed
├── ProfileError          a latency profile cannot be taken
├── SupernetError         a space, or one of its choices, cannot share weights in the way that was asked for
├── EvaluatorError        an evaluator is set up wrongly, or a benchmark has no such arch
│   └── DivergedError             the loss or a score of a training is not finite any more
├── StrategyError         a search strategy is set up wrongly
│   └── SpaceExhausted            every arch had its turn
├── ExperimentError       an experiment, or its executor, is set up wrongly or cannot go on
├── TrialPruned           not a mistake: a trial was ended early
├── JobError              a job file is wrong, or a job cannot be run as it is written
│   ├── JobNotFoundError          no job, or no run, has that name
│   └── NothingFeasibleError      a search found nothing that meets its constraints
├── OutputError           a file that was to be written, or read, cannot be
├── MissingExtraError     a library is not installed that comes with an extra of ours
└── StoreError            the model store refused
    ├── ModelNotFoundError        no such name or version in the store
    ├── ModelRefusedError         every version that a name means is damaged or unproven
    ├── AliasError                an alias is set up wrongly, or its file is damaged
    └── AlreadyPublishedError     that version exists

A message says what was asked, what was found, what is allowed, and how to go on. The CLI prints it and exits with 2;
the service answers 4xx where the request was at fault.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable


class HubserveError(Exception):
    """Base of all errors below; catch it to catch them all."""


class SpaceError(HubserveError, ValueError):
    """A model space is written or set up wrongly."""


class ArchError(HubserveError, ValueError):
    """An arch does not belong to its space."""


class CardError(HubserveError, ValueError):
    """A card file, or the name of a card, is wrong."""


class WeightsError(HubserveError):
    """Weights cannot be had or do not fit."""


class WeightsUnavailableError(WeightsError):
    """No source answered with the file."""


class ChecksumError(WeightsError):
    """A file is not the one the card names."""


class KeyFormatError(WeightsError):
    """Tensors do not match the model, name by name."""


class ImageError(HubserveError, ValueError):
    """Bytes that are no picture we can read."""


class ImageTooLargeError(ImageError):
    """More bytes or pixels than allowed."""


class RequestError(HubserveError, ValueError):
    """A request to the service is wrong."""


class FormError(RequestError):
    """A body or form without a picture."""


class TopKError(RequestError):
    """More answers wanted than there are classes, or none."""


class TensorError(RequestError):
    """Tensors that do not fit the model."""


class SlowRequestError(RequestError):
    """A body that does not come."""


class UnauthorizedError(RequestError):
    """No token, or a wrong one."""


class ForbiddenError(RequestError):
    """The service has no token, so nobody may change anything."""


class OverloadedError(HubserveError):
    """The service has as much waiting work as it takes; asking again later helps."""


class LateAnswerError(OverloadedError):
    """Pictures were not classified in time."""


class DatasetError(HubserveError, ValueError):
    """A picture folder cannot be evaluated."""


class ExportError(HubserveError):
    """A model cannot be exported."""


class ParityError(ExportError):
    """An exported model answers differently from eager PyTorch."""


class PackageError(HubserveError):
    """A package folder is missing something or was changed."""


class ProfileError(HubserveError):
    """A latency profile cannot be taken."""


class StrategyError(HubserveError):
    """A search strategy is set up wrongly."""


class SpaceExhausted(StrategyError):  # noqa: N818 - not a mistake: the search is complete
    """Every arch had its turn."""


class SupernetError(HubserveError):
    """A space, or one of its choices, cannot share weights in the way that was asked for."""


class EvaluatorError(HubserveError):
    """An evaluator is set up wrongly, or a benchmark has no such arch."""


class DivergedError(EvaluatorError):
    """The loss or a score of a training is not finite any more."""


class ExperimentError(HubserveError):
    """An experiment, or its executor, is set up wrongly or cannot go on."""


class TrialPruned(HubserveError):  # noqa: N818 - not a mistake
    """A trial was ended early because others were better by then."""


class JobError(HubserveError, ValueError):
    """A job file is wrong, or a job cannot be run as it is written."""


class JobNotFoundError(JobError, LookupError):
    """No job, or no run of a job, has that name or id; over HTTP the answer is 404."""


class NothingFeasibleError(JobError):
    """A search found nothing that meets its constraints."""


class OutputError(HubserveError):
    """A file that was to be written, or read, cannot be."""


class MissingExtraError(HubserveError, ImportError):
    """A library is not installed that comes with an extra of ours; the message names the extra."""


class StoreError(HubserveError):
    """The model store refused."""


class ModelNotFoundError(StoreError, LookupError):
    """No such name or version in the store."""


class ModelRefusedError(StoreError):
    """Every version that a name means is damaged or unproven."""


class AliasError(StoreError, ValueError):
    """An alias is set up wrongly, or its file is damaged."""


class AlreadyPublishedError(StoreError):
    """That version exists."""


def suggest(name: str, known: Iterable[str]) -> str:
    """A sentence that names the entries of `known` nearest to `name`, whatever the case of letters, or else lists them all."""
    names = sorted(known)
    folded = {entry: entry.casefold() for entry in names}
    near = difflib.get_close_matches(name.casefold(), dict.fromkeys(folded.values()), n=3, cutoff=0.5)
    if near:
        nearest = [entry for match in near for entry in names if folded[entry] == match]
        return "Did you mean " + " or ".join(nearest[:3]) + "?"
    return "Known: " + ", ".join(names) + "." if names else "There is none."


def clear_frames(error: BaseException) -> None:
    """Lets go what the functions held that an error, and what caused it, came through. It can be logged all the same.

    A picture's error holds its pixels, 200 MB perhaps, and an error that is answered is part of a circle, which stays until
    somebody collects garbage.
    """
    found: BaseException | None = error
    while found is not None:
        traceback.clear_frames(found.__traceback__)
        found = found.__cause__ or found.__context__


def first_line(error: Exception) -> str:
    """Exporters explain themselves at length; the first line says what happened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
