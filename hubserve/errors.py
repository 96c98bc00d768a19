"""The exceptions of hubserve, all derived from `HubserveError`.

HubserveError
├── SpaceError            a model space is defined or configured wrongly
├── ArchError             an arch does not belong to its space
├── CardError             a card file, or the name of a card, is wrong
├── WeightsError          weights cannot be obtained or do not fit the model
│   ├── WeightsUnavailableError   no source of the file could be read
│   ├── ChecksumError             a file's SHA-256 differs from the card's
│   └── KeyFormatError            tensors do not match the model, name by name
├── ImageError            an image file cannot be read
│   └── ImageTooLargeError        an image has more bytes or pixels than allowed
├── RequestError          a request to the service is wrong
│   ├── RequestBodyError          a request body cannot be read, or has no image
│   ├── EncodingError             a request body is compressed in a way that the service does not know
│   ├── TopKError                 more classes are asked for than the model has, or none
│   ├── TensorError               tensors in a request cannot be read, or do not fit the model
│   ├── LogitsError               a logit of the model is NaN or infinite
│   ├── NoFeaturesError           features are asked of a model that has none
│   ├── TextError                 a text is empty, too long, or not valid Unicode
│   ├── OtherInputsError          images or texts are given to a model that takes other inputs
│   ├── SlowRequestError          a request body did not arrive in time
│   ├── BodyTooLargeError         a request body, or the answer to it, is longer than allowed
│   ├── HostError                 the header Host has a name that the server does not answer for
│   ├── UnauthorizedError         the token is missing or wrong
│   └── ForbiddenError            the service has no token configured, so it refuses all changes
├── ServiceError          a service over HTTP does not answer, or refuses a request
├── ServerStartError      the server cannot start
├── OverloadedError       a limit on waiting or running work of the service is reached
│   └── LateAnswerError           a model did not answer in time
├── DatasetError          a data set is missing, unreadable, or not as expected
├── ExportError           a model cannot be exported
│   └── ParityError               an exported model answers differently from eager PyTorch
├── PackageError          a package folder is incomplete or was changed
│   └── LoadLimitError            a model exceeds a limit on time, memory or size while it is loaded
├── DeviceError           torch has no such device, or cannot use it
├── ProfileError          latency cannot be measured, compared or predicted
├── SupernetError         a space, or one of its choices, does not support the requested weight sharing
├── EvaluatorError        an evaluator is configured wrongly, or a benchmark lacks an arch
│   ├── DivergedError             the loss or a score of a training is not finite
│   └── UndefinedScoreError       a zero-cost score is not defined for a network
├── StrategyError         a search strategy is configured wrongly
│   └── SpaceExhausted            a strategy has no further arch to propose
├── ExperimentError       an experiment, or its executor, is configured wrongly or cannot continue
├── TrialPruned           a trial was stopped early, which is not a failure
├── JobError              a job file is wrong, or a job cannot be run as it is written
│   ├── JobNotFoundError          no job, run or export has the given name or id
│   ├── DataInUseError            data that a job uses would be deleted
│   └── NothingFeasibleError      no arch meets the constraints of a search
├── OutputError           a file or folder of the user cannot be written or read
├── StorageError          a disk is full or read-only, or this user has no permission
│   └── UploadQuotaError          all uploads together would be larger than the service allows
├── RemoteError           a folder at hf://, s3:// or file:// cannot be read or written
│   └── RemoteMissingError        there is no such repository, bucket, folder or file
├── MissingExtraError     a library of an optional extra is not installed
└── StoreError            an operation on the model store failed
    ├── ModelNotFoundError        the store has no such name or version
    ├── ModelRefusedError         no version of that name can be served
    ├── AliasError                an alias is not allowed, or the file of aliases is corrupt
    └── AlreadyPublishedError     that version exists with other content

A message says what was asked, what was found, what is allowed, and how to continue. The command line prints it and exits with
code 2; the service answers with a 4xx status if the request was wrong.
"""


class HubserveError(Exception):
    """Base class of all exceptions of hubserve."""


class SpaceError(HubserveError, ValueError):
    """Raised if a model space is defined or configured wrongly, or no space has the given name."""


class ArchError(HubserveError, ValueError):
    """Raised if an arch does not belong to its space."""


class CardError(HubserveError, ValueError):
    """Raised if a card file, or the name of a card, is wrong."""


class WeightsError(HubserveError):
    """Raised if the weights of a model cannot be obtained or read, or do not fit the model."""


class WeightsUnavailableError(WeightsError):
    """Raised if a weights file could be read from none of its sources."""


class ChecksumError(WeightsError):
    """Raised if the SHA-256 of a weights file differs from the one in the model's card."""


class KeyFormatError(WeightsError):
    """Raised if the tensors in a weights file do not match the model by name and shape, or their naming scheme is unknown."""


class ImageError(HubserveError, ValueError):
    """Raised if bytes are not a readable image, or the image would take too much time or memory to decode."""


class ImageTooLargeError(ImageError):
    """Raised if an image has more bytes or pixels than allowed."""


class RequestError(HubserveError, ValueError):
    """Raised if a request to the service is wrong."""


class RequestBodyError(RequestError):
    """Raised if a request body cannot be read, or has no image."""


class EncodingError(RequestError):
    """Raised if a request body is compressed in a way that the service does not accept there.

    Args:
        message: What was given, and what may be.
        accepted: The encodings that are accepted, as the header Accept-Encoding of the answer lists them.
    """

    def __init__(self, message: str, *, accepted: str) -> None:
        super().__init__(message)
        self.accepted = accepted


class TopKError(RequestError):
    """Raised if a request asks for no classes, or for more than the model has or one answer may hold."""


class TensorError(RequestError):
    """Raised if the tensors in a request cannot be read, or their name, data type or shape does not fit the model."""


class LogitsError(RequestError):
    """Raised if a logit that the model computed for an image is NaN or infinite."""


class NoFeaturesError(RequestError):
    """Raised if features are asked of a model whose package, or the format that runs, has none."""


class TextError(RequestError):
    """Raised if a text that is to be classified is empty, too long, or not valid Unicode."""


class OtherInputsError(RequestError):
    """Raised if images or texts are given to a model that takes other inputs, such as the indices of words."""


class SlowRequestError(RequestError):
    """Raised if a request body did not arrive in time."""


class BodyTooLargeError(RequestError):
    """Raised if a request body, or the answer that it asks for, is longer than allowed."""


class HostError(RequestError):
    """Raised if the header Host names a host that the server does not answer for."""


class UnauthorizedError(RequestError):
    """Raised if a request has no token or a wrong one."""


class ForbiddenError(RequestError):
    """Raised if a request asks for a change and the service has no token configured: it refuses all changes then."""


class ServiceError(HubserveError):
    """Raised by clients if a service does not answer over HTTP, or refuses a request.

    Attributes:
        status: HTTP status code of the answer; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ServerStartError(HubserveError):
    """Raised if the server cannot start with the given address, port or configuration."""


class OverloadedError(HubserveError):
    """Raised if a limit on waiting or running work of the service is reached; the request may be repeated later."""


class LateAnswerError(OverloadedError):
    """Raised if a model did not classify images within the time limit."""


class DatasetError(HubserveError, ValueError):
    """Raised if a data set is missing, unreadable, or not as expected."""


class ExportError(HubserveError):
    """Raised if a model cannot be exported, or an exported file cannot be loaded or run."""


class ParityError(ExportError):
    """Raised if the outputs of an exported model differ from those of eager PyTorch by more than allowed."""


class PackageError(HubserveError):
    """Raised if a package folder is incomplete, was changed, or is not a package."""


class LoadLimitError(PackageError):
    """Raised if a model exceeds a limit on time, memory or size while it is loaded, or crashes the process that loads it."""


class DeviceError(HubserveError, ValueError):
    """Raised if torch has no device of the given name, or cannot use it on this machine."""


class ProfileError(HubserveError):
    """Raised if latency, or another part of a profile, cannot be measured, compared or predicted."""


class StrategyError(HubserveError, ValueError):
    """Raised if a search strategy is configured wrongly."""


class SpaceExhausted(StrategyError):  # noqa: N818 - not a mistake: the search is complete
    """Raised if a search strategy has no further arch to propose: all of the space were tried, or it finds no new one."""


class SupernetError(HubserveError):
    """Raised if a space, or one of its choices, does not support the requested way of weight sharing."""


class EvaluatorError(HubserveError):
    """Raised if an evaluator is configured wrongly, or a benchmark has no entry for an arch."""


class UndefinedScoreError(EvaluatorError):
    """Raised if a zero-cost score is not defined for a network; the message says which scores are."""


class DivergedError(EvaluatorError):
    """Raised if the loss or a score of a training is NaN or infinite."""


class ExperimentError(HubserveError):
    """Raised if an experiment, or its executor, is configured wrongly or cannot continue."""


class TrialPruned(HubserveError):  # noqa: N818 - not a mistake
    """Raised in a trial to stop it early, because other trials were better at the same step; not a failure."""


class JobError(HubserveError, ValueError):
    """Raised if a job file is wrong, or a job cannot be run as it is written."""


class DataInUseError(JobError):
    """Raised if data that a job uses, which is running or about to run, would be deleted."""


class JobNotFoundError(JobError, LookupError):
    """Raised if no job, run or export has the given name or id; the service answers with 404."""


class NothingFeasibleError(JobError):
    """Raised if no arch meets the constraints of a search, or if the winner misses them when it is measured again."""


class OutputError(HubserveError):
    """Raised if a file or folder that the user named cannot be written or read."""


class StorageError(HubserveError, OSError):
    """Raised if a disk is full or read-only, or this user has no permission; `hubserve.storage_faults` writes the message.

    It is also an OSError, so that code that handles a file that cannot be written as an OSError handles this one, too.

    Attributes:
        errno: Error number of the file system; None if it is not known.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number

    def __reduce__(self) -> tuple[type[HubserveError], tuple[str, int | None]]:
        return type(self), (str(self.args[0]), self.errno)


class UploadQuotaError(StorageError):
    """Raised if an upload would make all uploads together larger than the service allows."""


class RemoteError(HubserveError):
    """Raised if a folder at another place, such as hf:// or s3://, cannot be reached, read or written."""


class RemoteMissingError(RemoteError):
    """Raised if there is no such repository, revision, bucket, folder or file at another place."""


class MissingExtraError(HubserveError, ImportError):
    """Raised if a library of an optional extra is not installed; the message names the extra."""


class StoreError(HubserveError):
    """Raised if an operation on the model store failed."""


class ModelNotFoundError(StoreError, LookupError):
    """Raised if the store has no such name or version."""


class ModelRefusedError(StoreError):
    """Raised if no version of a model in the store can be served: each is corrupt, or lacks proven parity."""


class AliasError(StoreError, ValueError):
    """Raised if an alias is not allowed, or the file of aliases is corrupt."""


class AlreadyPublishedError(StoreError):
    """Raised if a version to publish exists in the store with other content."""
