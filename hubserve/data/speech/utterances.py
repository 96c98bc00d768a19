"""`Utterance` and `Corpus`: spoken texts as mel spectrograms with the phoneme of each frame, kept in files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from hubserve.data.speech.espeak import EspeakVoice, SpokenPhonemes
from hubserve.data.speech.mel import MelSettings, log_mel
from hubserve.data.speech.pitch import fundamental_frequency
from hubserve.errors import DatasetError

ARRAYS, FACTS = "utterances.npz", "corpus.json"
"""Files of the folder of a corpus."""

HIGHEST_VOICE = 250.0
"""Largest fundamental frequency, in Hz, of the voices of eSpeak NG with which data sets are made."""


@dataclass(frozen=True)
class Utterance:
    """One spoken text.

    Attributes:
        text: The text.
        phonemes: Index of each phoneme in `Corpus.symbols`, counted from 1, (length,) int64.
        durations: Number of frames of each phoneme, (length,) int64; their sum is the number of frames.
        mel: Decimal logarithm of the mel spectrogram, (frames, bands) float32.
        f0: Fundamental frequency of each frame in Hz, 0 without a voice, (frames,) float32.
    """

    text: str
    phonemes: NDArray[np.int64]
    durations: NDArray[np.int64]
    mel: NDArray[np.float32]
    f0: NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Spoken texts in parts, with their phonemes.

    Attributes:
        made_by: Program and version that made the speech, such as "eSpeak NG 1.52.0".
        symbols: Names of the phonemes; the first one has the index 1.
        mel: How the mel spectrograms were made.
        parts: Utterances of each part, by its name.
    """

    made_by: str
    symbols: tuple[str, ...]
    mel: MelSettings
    parts: Mapping[str, tuple[Utterance, ...]]


def say_all(voice: EspeakVoice, texts: Mapping[str, Sequence[str]]) -> Corpus:
    """Returns the corpus of texts in parts, spoken by a voice.

    Args:
        voice: The voice.
        texts: Texts of each part, by its name.

    Raises:
        DatasetError: A text cannot be spoken.
    """
    settings = MelSettings(sampling_rate=voice.sampling_rate)
    spoken = {part: [(text, voice.say(text)) for text in each] for part, each in texts.items()}
    symbols = sorted({name for each in spoken.values() for _, speech in each for name in speech.phonemes})
    numbers = {symbol: number for number, symbol in enumerate(symbols, 1)}
    parts = {part: tuple(_utterance(text, said, numbers, settings) for text, said in each) for part, each in spoken.items()}
    return Corpus(f"eSpeak NG {voice.version}", tuple(symbols), settings, parts)


def write_corpus(corpus: Corpus, folder: Path) -> None:
    """Writes a corpus with at least one utterance into an existing folder.

    Raises:
        OSError: A file cannot be written.
    """
    every = [utterance for each in corpus.parts.values() for utterance in each]
    np.savez(
        folder / ARRAYS,
        lengths=np.array([(len(each.phonemes), len(each.mel)) for each in every], np.int64),
        phonemes=np.concatenate([each.phonemes for each in every]),
        durations=np.concatenate([each.durations for each in every]),
        mel=np.concatenate([each.mel for each in every]),
        f0=np.concatenate([each.f0 for each in every]),
    )
    facts = {
        "made_by": corpus.made_by,
        "symbols": corpus.symbols,
        "mel": asdict(corpus.mel),
        "texts": {part: [utterance.text for utterance in each] for part, each in corpus.parts.items()},
    }
    (folder / FACTS).write_text(json.dumps(facts, ensure_ascii=False) + "\n", "utf-8")


def read_corpus(folder: Path) -> Corpus:
    """Reads the corpus that `write_corpus` wrote into a folder.

    Raises:
        DatasetError: A file is missing or corrupt.
    """
    try:
        facts = json.loads((folder / FACTS).read_text("utf-8"))
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            utterances = iter(_divided(dict(arrays), [text for each in facts["texts"].values() for text in each]))
        parts = {part: tuple(next(utterances) for _ in each) for part, each in facts["texts"].items()}
        return Corpus(facts["made_by"], tuple(facts["symbols"]), MelSettings(**facts["mel"]), parts)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise DatasetError(f"{folder} is corrupt ({error}): delete it, and the speech is made again") from error


def _divided(arrays: dict[str, Any], texts: Sequence[str]) -> list[Utterance]:
    """Returns the utterances of texts, cut out of the arrays of all of them."""
    ends = arrays["lengths"].cumsum(0)[:-1].T
    cut = {name: np.split(arrays[name], ends[0]) for name in ("phonemes", "durations")}
    cut |= {name: np.split(arrays[name], ends[1]) for name in ("mel", "f0")}
    return [Utterance(text, *each) for text, *each in zip(texts, *cut.values(), strict=True)]


def _utterance(text: str, speech: SpokenPhonemes, numbers: Mapping[str, int], settings: MelSettings) -> Utterance:
    mel = log_mel(speech.wave, settings)
    phonemes = np.array([numbers[name] for name in speech.phonemes], np.int64)
    durations = frames_of_phonemes(speech.starts, len(mel), settings.hop)
    return Utterance(text, phonemes, durations, mel, fundamental_frequency(speech.wave, settings, highest=HIGHEST_VOICE))


def frames_of_phonemes(starts: NDArray[np.int64], frames: int, hop: int) -> NDArray[np.int64]:
    """Returns the number of frames of each phoneme; a frame belongs to the phoneme in which its centre lies.

    Args:
        starts: Sample at which each phoneme begins, ascending; what comes before the first one belongs to it.
        frames: Number of frames; the centre of frame i is sample i * hop.
        hop: Samples from a frame to the next one.
    """
    first = np.minimum(-(-starts // hop), frames)
    first[0] = 0
    return np.diff(first, append=frames)
