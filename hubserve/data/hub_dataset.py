"""Downloads data sets of the Hugging Face hub and writes them as image files with a listing, which `listing_layout` reads.

This needs the extra `hf`, the library `datasets`, which downloads a data set or takes it from its own cache.
"""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hubserve.atomic import staged_folder
from hubserve.data.check_pool import Advance
from hubserve.data.listing_rows import USUAL, Columns
from hubserve.data.names import part_of, quoted
from hubserve.errors import DatasetError, MissingExtraError
from hubserve.home import home
from hubserve.remote_files import offline
from hubserve.similar_names import suggest

PREFIX = "hf://"
"""Prefix of the address of a data set: `hf://owner/name`, optionally followed by `:configuration` and `@revision`."""

LISTING = "listing.csv"
"""File name of the listing in the folder of a data set."""

_ENDINGS = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"BM", ".bmp"))
"""Pairs of the first bytes of an image format and the suffix of its file names."""


def fetch(address: str, columns: Columns = USUAL, *, advance: Advance = lambda done, total: None) -> Path:
    """Writes the images of a data set of the hub as files, unless they exist already, and returns the path of their listing.

    The files are written to a folder in HUBSERVE_HOME/datasets. Images without a label are left out. The splits are the parts;
    a single split is the training part, unless its name is that of a part.

    Args:
        address: `owner/name`, `owner/name:configuration@revision`, or a folder of files that the library `datasets` reads;
            with or without `hf://` before it.
        columns: Names of the columns of images and labels. None takes the only column of images, or the only one of classes.
        advance: Progress callback, called with the number of images written so far and the number of all images.

    Raises:
        DatasetError: There is no such data set, it cannot be loaded, it does not have such columns or parts, or no image has a
            label.
        MissingExtraError: The library `datasets` is not installed.
        OSError: The files cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    name, config, revision = _parsed(address)
    found = _load(name, config, revision)
    image, label = _columns(found, columns, name)
    # `_fingerprint` is private, but the library has no public identifier of the content of a split.
    prints = [f"{split} {getattr(rows, '_fingerprint', len(rows))}" for split, rows in sorted(found.items())]
    key = hashlib.sha256("\n".join([name, str(config), str(revision), image, label, *prints]).encode()).hexdigest()[:16]
    folder = home() / "datasets"
    target = folder / f"{''.join(c if c.isalnum() else '-' for c in name)[-60:]}-{key}"
    if not (target / LISTING).is_file():
        with staged_folder(folder, "new") as stage:
            _write(found, image, label, stage, advance)
            os.replace(stage, target)
    return target / LISTING


def _parsed(address: str) -> tuple[str, str | None, str | None]:
    """Returns name, configuration and revision of an address; the latter two are None if they are not given.

    Raises:
        DatasetError: The address has no name.
    """
    rest, _, revision = address.removeprefix(PREFIX).partition("@")
    name, _, config = rest.partition(":")
    if not name:
        raise DatasetError(f"{address!r} names no data set; write hf://owner/name, with :configuration and @revision if needed")
    return name, config or None, revision or None


def _load(name: str, config: str | None, revision: str | None) -> dict[str, Any]:
    """Returns the rows of each split as a `datasets.Dataset`, by the name of the split.

    Raises:
        DatasetError: The data set cannot be loaded.
        MissingExtraError: The library `datasets` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("data sets of the Hugging Face hub need datasets: pip install 'hubserve[hf]'") from error
    datasets.disable_progress_bars()
    try:
        with _without_requests() if offline() else nullcontext():
            return dict(datasets.load_dataset(name, config, revision=revision))
    except Exception as error:  # The library raises many classes of errors, some of them from its dependencies.
        reason = (str(error).strip().splitlines() or [""])[0]
        raise DatasetError(
            f"the data set {name} of the Hugging Face hub cannot be loaded: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def _without_requests() -> Iterator[None]:
    """Makes `datasets` and `huggingface_hub` send no requests in the block."""
    import datasets
    import huggingface_hub.constants

    # HF_HUB_OFFLINE in the environment would have no effect, since the libraries are imported already.
    places: list[Any] = [datasets.config, huggingface_hub.constants]
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _columns(found: dict[str, Any], columns: Columns, name: str) -> tuple[str, str]:
    """Returns the names of the columns of images and labels.

    Raises:
        DatasetError: A column is missing, or several columns may hold the images or labels.
    """
    features = next(iter(found.values())).features
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    images = [column for column, kind in kinds.items() if kind == "Image"]
    classes = [column for column, kind in kinds.items() if kind == "ClassLabel"]
    named = [column for column in kinds if column in ("label", "labels", "class")]
    chosen = []
    for what, given, usual in (("image", columns.image, images), ("label", columns.label, classes or named)):
        if given is not None and given not in kinds:
            raise DatasetError(f"{name} has no column {given!r}. {suggest(given, kinds)}")
        if given is None and len(usual) != 1:
            raise DatasetError(
                f"{name} has {len(usual)} columns that may hold the {what}s, of {', '.join(map(quoted, kinds))}; give "
                f"{what}_column"
            )
        chosen.append(given or usual[0])
    if kinds[chosen[0]] != "Image":
        raise DatasetError(f"{name}: the column {chosen[0]!r} holds no images. {suggest(chosen[0], images)}")
    return chosen[0], chosen[1]


def _write(found: dict[str, Any], image: str, label: str, stage: Path, advance: Advance) -> None:
    """Writes the images of all splits and the listing to the folder `stage`.

    Raises:
        DatasetError: A split is no part, or no image has a label.
        OSError: A file cannot be written.
    """
    import datasets

    total, done, skipped = sum(len(rows) for rows in found.values()), 0, 0
    numbers: Counter[str] = Counter()
    with (stage / LISTING).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "split"))
        for split, rows in found.items():
            part = part_of(split) or (part_of(split.partition("_")[0]) if len(found) > 1 else "train")
            if part is None:
                raise DatasetError(
                    f"the split {split!r} of the data set is none of train, validation and test; its splits: {', '.join(found)}"
                )
            plain = rows.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))
            for entry, name in _rows(plain, image, label):
                done += 1
                numbers[part] += 1
                if name is None:
                    skipped += 1
                    continue
                # By part, so that images that are appended to one part change no names in the others.
                path = Path(part) / f"{numbers[part]:08d}{_ending(entry)}"
                (stage / path).parent.mkdir(exist_ok=True)
                (stage / path).write_bytes(entry)
                writer.writerow((path, name, part))
                if done % 100 == 0 or done == total:
                    advance(done, total)
    if skipped == total:
        raise DatasetError(f"none of the {total:,} images of the data set has a label")


def _rows(rows: Any, image: str, label: str) -> Iterator[tuple[bytes, str | None]]:
    """Yields the bytes of each image with the name of its class, which is None for an image without a label."""
    names = getattr(rows.features[label], "names", None)
    for row in rows:
        value, found = row[label], row[image]
        data = found["bytes"] if found["bytes"] is not None else Path(found["path"]).read_bytes()
        if value is None or (names is not None and not 0 <= value < len(names)):  # -1 is usual for hidden labels.
            yield data, None
        else:
            yield data, str(value if names is None else names[value])


def _ending(data: bytes) -> str:
    """Returns the file name suffix for an encoded image by its first bytes, or `.image` if the format is not known."""
    return next((ending for begin, ending in _ENDINGS if data.startswith(begin)), ".image")
