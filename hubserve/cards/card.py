"""Model cards, read from cards/models/NAME.toml: the arch, weights, accuracy and preprocessing of a pre-searched model."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubserve.bounded_files import read_bounded_text
from hubserve.errors import CardError
from hubserve.preprocess import Preprocess
from hubserve.similar_names import suggest

KeyFormat = Literal[
    "nni",
    "timm",
    "torchvision",
    "efficientnet-lite",
    "autoformer-supernet",
    "cream",
    "cream-autoformer",
    "proxylessnas",
    "pytorchcv",
    "acenas",
    "darts",
    "singlepathoneshot",
    "neuralspeech-lightspeech",
    "mlnet-nasbert",
]
"""Naming schemes of the tensors in a file of weights; see `hubserve.hub.key_formats`."""

MOST_CHARACTERS = 1_000_000

_CARDS = resources.files("hubserve.cards").joinpath("models")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WeightSource(_Record):
    """One place that has the weights of a model.

    Exactly one of `url`, `drive`, `hub_id`, `package`, `path` and `page` is given; the others are None.

    Attributes:
        url: URL of the file, http or https.
        drive: Id of a file on Google Drive.
        hub_id: Repository on Hugging Face, "owner/name"; `filename` is the file's path in it.
        package: Name of an installed distribution; `filename` is the file's path in it.
        path: A file on this machine, or a folder with the file `filename`. "~" is the user's home folder; in a card file of the
            user, a relative path starts at the folder of that file.
        page: URL of a web page from which only a person can download the file, which has the name `filename` there.
        filename: Path of the file in the repository, package, folder or page, relative and without "..". With `drive` it is the
            name that the file has there, if it is known. It is None with `url`, and if `path` is the file itself.
        key_format: Naming scheme of the tensors in the file; see `hubserve.hub.key_formats`.
        sha256: SHA-256 of the whole file in hexadecimal, or at least its first 8 digits; None if it is not published. With
            `url`, `drive` or `page`, one of `sha256`, `git_blob` and `trust_on_first_use` must be given.
        git_blob: Id of the file as a git object, a SHA-1 in hexadecimal; None if it is not known.
        size: Size of the file in bytes; None means that the size is not checked.
        trust_on_first_use: Whether a source of the kind `url`, `drive` or `page` may be without `sha256` and `git_blob`. The
            SHA-256 of the file that is received first is then recorded, and later ones must have the same one.
        entry: Key of the state dict in the dictionary that the file holds, such as "state_dict_ema"; None tries the usual keys.
        member: End of the path of the weights file in an archive (ZIP or tar) of several files; None if the archive has a
            single file, or the file is not an archive.

    Raises:
        ValueError: The fields break one of these rules (pydantic's ValidationError).
    """

    url: str | None = None
    drive: str | None = None
    hub_id: str | None = None
    package: str | None = None
    path: str | None = None
    page: str | None = None
    filename: str | None = None
    key_format: KeyFormat = "nni"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = None
    git_blob: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    size: Annotated[int, Field(gt=0)] | None = None
    trust_on_first_use: bool = False
    entry: str | None = None
    member: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> WeightSource:
        kinds = ("url", "drive", "hub_id", "package", "path", "page")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(kinds)} must be given, found {len(given)}")
        if self.filename is None and given[0] in ("hub_id", "package", "page"):
            raise ValueError(f"filename goes with {given[0]}: it says which file is meant")
        if self.filename is not None and self.url is not None:
            raise ValueError("filename does not go with url, which ends in the name of the file")
        if self.filename is not None and not _is_inside(self.filename):
            raise ValueError(f"filename {self.filename!r} must be a relative path that does not lead out of its package")
        pinned = self.sha256 is not None or self.git_blob is not None or self.trust_on_first_use
        if given[0] in ("url", "drive", "page") and not pinned:
            raise ValueError(
                f"a {given[0]} needs a sha256, or the first digits of one, a git_blob, or trust_on_first_use = true"
            )
        return self

    @property
    def file_name(self) -> str:
        """The name of the file, without its folder; empty for a file on Google Drive whose name is not known."""
        if self.url is not None:
            return self.url.rsplit("/", 1)[-1].partition("?")[0]
        return PurePath(self.filename or self.path or "").name

    def describe(self) -> str:
        """Returns a short text that names the place, for messages."""
        if self.url is not None:
            return self.url
        if self.drive is not None:
            return f"https://drive.google.com/file/d/{self.drive}"
        if self.hub_id is not None:
            return f"{self.filename} of {self.hub_id} on Hugging Face"
        if self.path is not None:
            return str(PurePath(self.path, self.filename or ""))
        if self.page is not None:
            return f"{self.filename} from {self.page}, by hand"
        return f"{self.filename} in the Python package {self.package}"

    def held_to(self) -> str:
        """Returns a short text that names what the file is checked against, such as "sha256 12ed42ff"; "nothing" for no check.

        With `trust_on_first_use` and no hash and no size, it is "the first download".
        """
        pins = [
            f"sha256 {self.sha256[:8]}" if self.sha256 is not None else "",
            f"git id {self.git_blob[:8]}" if self.git_blob is not None else "",
            f"{self.size} bytes" if self.size is not None else "",
        ]
        found = ", ".join(pin for pin in pins if pin)
        return found or ("the first download" if self.trust_on_first_use else "nothing")


class Metric(_Record):
    """Published accuracy, in percent.

    Attributes:
        dataset: Name of the data set whose validation or test images were used.
        top1: Percentage of images whose most likely class is the true one.
        top5: Percentage of images whose true class is among the five most likely ones; None if it is not published.
    """

    dataset: str
    top1: Annotated[float, Field(ge=0, le=100)]
    top5: Annotated[float, Field(ge=0, le=100)] | None = None


class OtherEvaluation(_Record):
    """An accuracy that was published for the same model with another configuration than that of the card.

    Attributes:
        by: Who published it, such as "its authors".
        top1: Percentage of images of the card's data set whose most likely class is right.
        interpolation: Filter of the resize, as in `Preprocess`, where it is the only difference from the card's preprocessing;
            None if hubserve has no such configuration.
        note: The difference in words; empty if `interpolation` says it.
    """

    by: str
    top1: Annotated[float, Field(ge=0, le=100)]
    interpolation: Literal["bilinear", "bicubic"] | None = None
    note: str = ""


class PublishedSize(_Record):
    """The numbers of parameters and of multiply-accumulates (MACs) that the authors or a library publish for a model.

    Attributes:
        params: Number of parameters in millions; None if it is not published.
        macs: Number of multiply-accumulates in millions for one image, including those of attention; None if it is not
            published. Most papers call them FLOPs.
    """

    params: Annotated[float, Field(gt=0)] | None = None
    macs: Annotated[float, Field(gt=0)] | None = None


class Card(_Record):
    """The description of a pre-searched model: its model space, arch, weights, accuracy and preprocessing.

    Attributes:
        name: Name by which the model is loaded and published.
        space: Class name of its model space.
        summary: One sentence that describes the model.
        paper: Address or title of the publication.
        licence: Licence of the weights, as far as it is published.
        classes: Name of the label set, "imagenet-1k" or "cifar10"; see `hubserve.cards.labels`. None for a network whose
            classes have no names, or that does not classify.
        metric: Published accuracy, with the preprocessing of the card; None if there is none.
        other_evaluations: Accuracies that were published with other configurations.
        published_size: Published numbers of parameters and MACs; None if there are none.
        preprocess: Preparation of images with which the network was trained; None if its inputs are no images.
        settings: Arguments of the model space, by name.
        arch: Chosen value of each choice of the model space, by the label of the choice.
        weights: Places that have the weights, in the order in which they are tried.
    """

    name: str
    space: str
    summary: str
    paper: str
    licence: str
    classes: str | None = None
    metric: Metric | None = None
    other_evaluations: tuple[OtherEvaluation, ...] = ()
    published_size: PublishedSize | None = None
    preprocess: Preprocess | None = None
    settings: dict[str, Any] = {}
    arch: dict[str, Any]
    weights: tuple[WeightSource, ...]

    @property
    def image_preprocess(self) -> Preprocess:
        """The preparation of images.

        Raises:
            CardError: The inputs of the network are no images.
        """
        if self.preprocess is None:
            raise CardError(f"{self.name} is a model of {self.space}, whose inputs are no images: it has no preprocessing")
        return self.preprocess


def list_cards() -> list[str]:
    """Returns the names of all pre-searched models, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in _CARDS.iterdir() if entry.name.endswith(".toml"))


def load_card(name: str) -> Card:
    """Returns the card of the pre-searched model `name`.

    Raises:
        CardError: There is no such card; the message has the nearest names.
    """
    if name not in list_cards():
        raise CardError(f"no pre-searched model is called {name!r}. {suggest(name, list_cards())} See `hubserve models`.")
    return parse_card(_CARDS.joinpath(f"{name}.toml").read_text("utf-8"), where=f"cards/models/{name}.toml")


def read_card(path: Path) -> Card:
    """Reads a card from a TOML file of the user; a relative `path` of a source becomes one that starts at the file's folder.

    Raises:
        CardError: The file cannot be read, has more than 1,000,000 characters, or is not a card.
    """
    try:
        text = read_bounded_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"cannot read the card {path}: {error}") from error
    card = parse_card(text, where=str(path))
    sources = tuple(
        source if source.path is None else source.model_copy(update={"path": str(_beside(path, source.path))})
        for source in card.weights
    )
    return card.model_copy(update={"weights": sources})


def parse_card(text: str, *, where: str) -> Card:
    """Returns the card in a TOML text.

    Args:
        text: The text, at most 1,000,000 characters.
        where: Name of the file, for error messages.

    Raises:
        CardError: The text is too long or is not TOML, or an entry is missing, unknown or out of range.
    """
    if len(text) > MOST_CHARACTERS:
        raise CardError(f"{where} is not a card: it has {len(text)} characters, and {MOST_CHARACTERS} are allowed")
    try:
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError of a number that is too long, RecursionError of nested brackets.
        raise CardError(f"{where} is not TOML: {error}") from error
    try:
        return Card.model_validate(found)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise CardError(f"{where} is not a card: {wrong}") from error


def _beside(card: Path, path: str) -> Path:
    """Returns the path of a source in the card file `card`: a relative path starts at the folder of the card."""
    return card.parent / Path(path).expanduser()


def _is_inside(filename: str) -> bool:
    path = PurePath(filename)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in filename
