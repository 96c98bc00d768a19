"""`spoken_numbers`: a small data set for text-to-speech, whole numbers below a thousand that eSpeak NG says in English."""

import hashlib
import json
from pathlib import Path
from random import Random
from typing import Annotated

from pydantic import Field, validate_call

from hubserve.atomic import replace_folder, staged_folder
from hubserve.data.speech.make_corpus import make_corpus
from hubserve.data.speech.speech_data import SpeechData, speech_data
from hubserve.data.speech.utterances import Corpus, read_corpus
from hubserve.errors import DatasetError
from hubserve.home import home

NAME = "spoken-numbers"

NUMBERS = 1000
"""The numbers 0 to 999 are spoken."""

WRITTEN = 1
"""Version of the files; files of another one are not read."""

Count = Annotated[int, Field(ge=1, le=800)]


@validate_call
def spoken_numbers(
    *,
    voice: Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]{1,30}$")] = "en",
    train: Count = 300,
    val: Count = 40,
    test: Count = 60,
    seed: int = 0,
) -> SpeechData:
    """Loads spoken numbers, each of which is in one part only; they are made once and kept in the folder of hubserve.

    eSpeak NG, which makes the speech, also says where each phoneme begins, so that the durations are exact.

    Args:
        voice: Voice of eSpeak NG, such as "en" or "en-us".
        train: Number of utterances to train with, 1 to 800.
        val: Number of utterances to validate with, 1 to 800.
        test: Number of utterances to test with, 1 to 800; at most 1000 with those of the other parts.
        seed: Seed of the random draw of the numbers.

    Raises:
        MissingExtraError: The speech was not made before, and eSpeak NG is not installed.
        DatasetError: More numbers are asked for than there are, there is no such voice, or the kept files are corrupt.
        OSError: The files cannot be written.
        ValueError: A number is out of its range, or `voice` cannot be a name (pydantic's ValidationError).
    """
    if train + val + test > NUMBERS:
        raise DatasetError(f"train + val + test = {train + val + test}, and there are {NUMBERS:,} numbers")
    wanted = {"voice": voice, "train": train, "val": val, "test": test, "seed": seed}
    return speech_data(NAME, _made_once(wanted, _texts(train, val, test, seed), voice))


def _texts(train: int, val: int, test: int, seed: int) -> dict[str, list[str]]:
    drawn = [str(number) for number in Random(seed).sample(range(NUMBERS), train + val + test)]
    return {"train": drawn[:train], "val": drawn[train : train + val], "test": drawn[train + val :]}


def _made_once(wanted: dict[str, object], texts: dict[str, list[str]], voice: str) -> Corpus:
    """Reads the corpus that was made with the same settings before, or makes and keeps it."""
    key = hashlib.sha256(json.dumps([WRITTEN, wanted], sort_keys=True).encode()).hexdigest()[:16]
    folder: Path = home() / "datasets" / f"{NAME}-{key}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(folder.parent, folder.name) as stage:
            make_corpus(voice, texts, stage)
            replace_folder(stage, folder)
    return read_corpus(folder)
