"""`EspeakVoice`: makes speech with eSpeak NG, and records its phonemes and where in the sound each of them begins.

The library libespeak-ng is called by ctypes. It is found in the package espeakng-loader (extra `speech`) or on the system. It
is licensed under the GPL-3, and is run as a maker of data only, in this process, while a data set is made.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import DatasetError, MissingExtraError

MISSING = (
    "the library libespeak-ng, which makes the speech, is not installed: pip install 'hubserve[speech]', or install the "
    "package espeak-ng of your system (apt-get install espeak-ng)"
)

SYNCHRONOUS, PHONEME_EVENTS, DO_NOT_EXIT = 2, 0x0001, 0x8000
"""Kind of output, in which a call returns when all is said, and options of espeak_Initialize (speak_lib.h)."""

UTF_8 = 1
"""Flag of espeak_Synth: the text is UTF-8."""

LAST, PHONEME = 0, 7
"""Types of events: the end of a list of events, and the beginning of a phoneme."""

_lock = threading.Lock()
"""Held while the library is used: its state is that of the whole process."""


class _Event(ctypes.Structure):
    """The structure espeak_EVENT; the union at its end is read as the name of a phoneme, of at most 8 bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class SpokenPhonemes:
    """The sound of a spoken text, and its phonemes.

    Attributes:
        wave: Sound, (samples,) float32, in [-1, 1].
        phonemes: Names of the phonemes in the notation of eSpeak NG, in their order; a pause is "_:".
        starts: Sample at which each phoneme begins, (phonemes,) int64, ascending.
    """

    wave: NDArray[np.float32]
    phonemes: tuple[str, ...]
    starts: NDArray[np.int64]


class EspeakVoice:
    """A voice of eSpeak NG, which can be used only in the block of the `open_voice` that yields it.

    Attributes:
        sampling_rate: Samples of the sound in a second.
        version: Version of the library, such as "1.52.0".
    """

    def __init__(self, library: Any, sampling_rate: int, version: str) -> None:
        self._library = library
        self.sampling_rate = sampling_rate
        self.version = version
        self._waves: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, str]] = []
        # Kept, since the library calls it as long as this object lives.
        self._callback = _Callback(self._collect)
        library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str) -> SpokenPhonemes:
        """Returns the speech of a text.

        Raises:
            DatasetError: The library refused the text, or made no sound or no phonemes of it.
        """
        self._waves, self._events = [], []
        data = text.encode() + b"\0"
        failed = self._library.espeak_Synth(data, len(data), 0, 0, 0, UTF_8, None, None)
        if failed or not self._waves or not self._events:
            raise DatasetError(f"libespeak-ng {self.version} makes no speech of {text!r} (error {failed})")
        starts, phonemes = zip(*self._events, strict=True)
        wave = (np.concatenate(self._waves) / 32768).astype(np.float32)
        return SpokenPhonemes(wave, phonemes, np.asarray(starts, np.int64))

    def _collect(self, wave: Any, samples: int, events: Any) -> int:
        """Called by the library with some samples, and the events in them; returns 0 to go on."""
        if wave and samples:
            self._waves.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        place = 0
        while events[place].type != LAST:
            if events[place].type == PHONEME:
                self._events.append((events[place].sample, events[place].name.decode("utf-8", "replace")))
            place += 1
        return 0


@contextmanager
def open_voice(name: str = "en") -> Iterator[EspeakVoice]:
    """Context manager that yields a voice of eSpeak NG, in this process one at a time.

    It waits while another voice is open, and for ever if that was opened by the same thread.

    Args:
        name: Name of the voice, such as "en" or "en-us".

    Raises:
        MissingExtraError: The library is not installed.
        DatasetError: The library or its data cannot be loaded, or there is no such voice.
    """
    library, data = _load()
    with _lock:
        rate = library.espeak_Initialize(SYNCHRONOUS, 0, data, PHONEME_EVENTS | DO_NOT_EXIT)
        if rate <= 0:
            place = "those of the system" if data is None else data.decode()
            raise DatasetError(f"libespeak-ng does not find its data ({place}): install it again")
        try:
            if library.espeak_SetVoiceByName(name.encode()):
                raise DatasetError(f"libespeak-ng has no voice {name!r}; `espeak-ng --voices` lists those of the system")
            yield EspeakVoice(library, rate, _version(library))
        finally:
            library.espeak_Terminate()


def find_espeak() -> tuple[str, bytes | None] | None:
    """Returns the file of the library and the folder of its data, None for that of the system; None if it is not installed."""
    try:
        import espeakng_loader
    except ImportError:
        found = ctypes.util.find_library("espeak-ng")
        return None if found is None else (found, None)
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()


def _load() -> tuple[Any, bytes | None]:
    found = find_espeak()
    if found is None:
        raise MissingExtraError(MISSING)
    path, data = found
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be loaded: {error}; {MISSING}") from error
    library.espeak_Synth.argtypes = (
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
        *(ctypes.POINTER(ctypes.c_uint), ctypes.c_void_p),
    )
    library.espeak_Info.restype = ctypes.c_char_p
    library.espeak_Info.argtypes = (ctypes.c_void_p,)
    return library, data


def _version(library: Any) -> str:
    """Returns the version of the library without its date."""
    return (library.espeak_Info(None) or b"unknown").decode().split()[0]
