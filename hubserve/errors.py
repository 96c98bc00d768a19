"""Every error hubserve raises, in one tree.

HubserveError
├── SpaceError            a model space is written or set up wrongly
├── ArchError             an arch does not belong to its space
├── CardError             a card file, or the name of a card, is wrong
├── WeightsError          weights cannot be had or do not fit
│   ├── WeightsUnavailableError   no source answered with the file
│   ├── ChecksumError             a file's SHA-256 differs from the card's
│   └── KeyFormatError            tensors do not match the model, name by name
├── ImageError            bytes that are not a readable image
│   └── ImageTooLargeError        more bytes or pixels than allowed
├── RequestError          a request to the service is wrong
│   ├── RequestBodyError          a body that cannot be read, or has no image
│   ├── TopKError                 more classes asked for than the model has, or none
│   ├── TensorError               tensors that do not fit the model
│   ├── LogitsError               the model's answer is not finite
│   ├── SlowRequestError          a body that did not arrive in time
│   ├── BodyTooLargeError         a body, or the answer asked for, is longer than allowed
│   ├── HostError                 the header Host has a name that the server does not answer for
│   ├── UnauthorizedError         no token, or a wrong one
│   └── ForbiddenError            the service has no token, so nobody may change anything
├── ServiceError          a service over HTTP does not answer, or refuses a request
├── OverloadedError       the service has as much waiting work as it takes
│   └── LateAnswerError           images were not classified in time
├── DatasetError          a data set is missing, unreadable, or not as expected
├── ExportError           a model cannot be exported
│   └── ParityError               an exported model answers differently from eager PyTorch
├── PackageError          a package folder is missing something or was changed
│   └── LoadLimitError            a model takes more time or memory to load than it may
├── ProfileError          a latency profile cannot be taken
├── SupernetError         a space, or one of its choices, cannot share weights in the way that was asked for
├── EvaluatorError        an evaluator is set up wrongly, or a benchmark has no such arch
│   └── DivergedError             the loss or a score of a training is not finite any more
├── StrategyError         a search strategy is set up wrongly
│   └── SpaceExhausted            every arch of the space was tried
├── ExperimentError       an experiment, or its executor, is set up wrongly or cannot go on
├── TrialPruned           not a mistake: a trial was stopped early
├── JobError              a job file is wrong, or a job cannot be run as it is written
│   ├── JobNotFoundError          no job, or no run, has that name
│   └── NothingFeasibleError      a search found nothing that meets its constraints
├── OutputError           a file or folder of the user cannot be written or read
├── StorageError          a disk is full, read-only, or not open to this user
├── MissingExtraError     a library is not installed that comes with an extra of ours
└── StoreError            the model store cannot do what was asked
    ├── ModelNotFoundError        no such name or version in the store
    ├── ModelRefusedError         no version of that name is intact and has proven parity
    ├── AliasError                an alias is not allowed, or the file of aliases is corrupt
    └── AlreadyPublishedError     that version exists

A message says what was asked, what was found, what is allowed, and how to go on. The CLI prints it and exits with code 2;
the service answers with a 4xx status where the request was at fault.
"""

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
    """The SHA-256 of a weights file differs from the one in the model's card."""


class KeyFormatError(WeightsError):
    """Tensors do not match the model, name by name."""


class ImageError(HubserveError, ValueError):
    """Bytes that are no readable image, or an image that would take too much work to decode."""


class ImageTooLargeError(ImageError):
    """More bytes or pixels than allowed."""


class RequestError(HubserveError, ValueError):
    """A request to the service is wrong."""


class RequestBodyError(RequestError):
    """A request body that cannot be read, or has no image."""


class TopKError(RequestError):
    """More classes asked for than the model has, or none."""


class TensorError(RequestError):
    """Tensors whose name, type or shape the model does not take."""


class LogitsError(RequestError):
    """The model's answer to an image is not finite: NaN or infinite."""


class SlowRequestError(RequestError):
    """A request body that did not arrive in time."""


class BodyTooLargeError(RequestError):
    """A request body, or the answer that it asks for, is longer than allowed."""


class HostError(RequestError):
    """The header Host names a host that the server does not answer for."""


class UnauthorizedError(RequestError):
    """No token, or a wrong one."""


class ForbiddenError(RequestError):
    """The service has no token, so nobody may change anything."""


class ServiceError(HubserveError):
    """A service over HTTP does not answer, or refuses a request.

    Attributes:
        status: Status code of its answer; None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerStartError(HubserveError):
    """The server cannot start with this address, port or configuration."""


class OverloadedError(HubserveError):
    """The service has as much waiting work as it takes; asking again later helps."""


class LateAnswerError(OverloadedError):
    """Images were not classified in time."""


class DatasetError(HubserveError, ValueError):
    """A data set is missing, unreadable, or not as expected."""


class ExportError(HubserveError):
    """A model cannot be exported."""


class ParityError(ExportError):
    """An exported model answers differently from eager PyTorch."""


class PackageError(HubserveError):
    """A package folder is missing something or was changed."""


class LoadLimitError(PackageError):
    """A model that takes more time or memory to load than it may, or that crashes the process that loads it."""


class ProfileError(HubserveError):
    """A latency profile cannot be taken."""


class StrategyError(HubserveError):
    """A search strategy is set up wrongly."""


class SpaceExhausted(StrategyError):  # noqa: N818 - not a mistake: the search is complete
    """Every arch of the space was tried."""


class SupernetError(HubserveError):
    """A space, or one of its choices, cannot share weights in the way that was asked for."""


class EvaluatorError(HubserveError):
    """An evaluator is set up wrongly, or a benchmark has no such arch."""


class DivergedError(EvaluatorError):
    """The loss or a score of a training is not finite any more."""


class ExperimentError(HubserveError):
    """An experiment, or its executor, is set up wrongly or cannot go on."""


class TrialPruned(HubserveError):  # noqa: N818 - not a mistake
    """A trial was stopped early because others were better after as many epochs."""


class JobError(HubserveError, ValueError):
    """A job file is wrong, or a job cannot be run as it is written."""


class JobNotFoundError(JobError, LookupError):
    """No job, or no run of a job, has that name or id; over HTTP the answer is 404."""


class NothingFeasibleError(JobError):
    """A search found nothing that meets its constraints."""


class OutputError(HubserveError):
    """A file or folder of the user cannot be written or read."""


class StorageError(HubserveError, OSError):
    """A disk is full or read-only, or does not let this user in; `hubserve.storage_faults` writes the message.

    It is an OSError too, so that what does without a file that cannot be written does without it here.

    Attributes:
        errno: Error number of the file system; None where it is not known.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number

    def __reduce__(self) -> tuple[type[HubserveError], tuple[str, int | None]]:
        return type(self), (str(self.args[0]), self.errno)


class MissingExtraError(HubserveError, ImportError):
    """A library of an optional extra is not installed; the message names the extra."""


class StoreError(HubserveError):
    """The model store cannot do what was asked."""


class ModelNotFoundError(StoreError, LookupError):
    """No such name or version in the store."""


class ModelRefusedError(StoreError):
    """No version of that name is intact and has proven parity."""


class AliasError(StoreError, ValueError):
    """An alias is not allowed, or the file of aliases is corrupt."""


class AlreadyPublishedError(StoreError):
    """That version exists in the store, with other content."""


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
    """Drops the local variables of all frames in the traceback of an error and of its causes; it can still be logged.

    The traceback of a decoder's error refers to the pixels, perhaps 200 MB, and an error that is answered is part of a
    reference cycle, which stays until the next garbage collection.
    """
    found: BaseException | None = error
    while found is not None:
        traceback.clear_frames(found.__traceback__)
        found = found.__cause__ or found.__context__


def first_line(error: Exception) -> str:
    """The first line of an error's text: exporters write many lines, of which the first says what happened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
