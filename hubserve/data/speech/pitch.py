"""Computes the fundamental frequency of speech, frame by frame, by autocorrelation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

from hubserve.data.speech.mel import LIGHTSPEECH, MelSettings, frames_of

LOWEST, HIGHEST = 60.0, 400.0
"""Smallest and largest fundamental frequency that is looked for, in Hz."""

VOICED = 0.6
"""Smallest normalised autocorrelation of a frame with a voice, in [0, 1]."""

LEAST_OVERLAP = 0.5
"""Smallest number, as a share of the energy of a frame, by which the autocorrelation at a lag is divided to normalise it."""

NEARLY = 0.93
"""Share of the largest autocorrelation that the first maximum needs, so that no multiple of the period is taken."""

QUIET = 1e-5
"""Mean square below which a frame has no voice."""


def fundamental_frequency(
    wave: NDArray[Any], settings: MelSettings = LIGHTSPEECH, *, highest: float = HIGHEST
) -> NDArray[np.float32]:
    """Returns the fundamental frequency of each frame of a sound in Hz, and 0 for frames without a voice.

    Its period is the lag at which a frame is most like itself: the first maximum of the autocorrelation that has nearly the
    largest value, so that no multiple of the period is taken. The place of the maximum is interpolated by a parabola. Lags of
    the frequencies from `LOWEST` to `HIGHEST` are searched. Frames that are quiet, or whose largest normalised autocorrelation
    is below `VOICED`, are without a voice.

    Args:
        wave: Sound, (samples,), in [-1, 1].
        settings: Sampling rate, hop and window; frames are those of `log_mel`.
        highest: Largest frequency of the voice, in Hz; frames with a higher one, as narrow noise has, are without a voice.

    Returns:
        (1 + samples // hop,) float32.
    """
    frames = frames_of(wave, settings)
    power = np.abs(rfft(frames, 2 * settings.window, axis=1)) ** 2
    correlation = irfft(power, axis=1)[:, : settings.window]
    squares = np.cumsum(frames**2, axis=1)
    total = squares[:, -1:]
    lags = np.arange(int(settings.sampling_rate / HIGHEST), int(settings.sampling_rate / LOWEST) + 1)
    # What overlaps at a lag is shorter than the frame, so each side is compared with its own energy, unless that is too small.
    left, right = squares[:, settings.window - 1 - lags], total - squares[:, lags - 1]
    likeness = correlation[:, lags] / np.maximum(np.sqrt(left * right), np.maximum(LEAST_OVERLAP * total, 1e-12))
    found = np.array(
        [
            _frequency(row, lags, settings.sampling_rate) if energy >= QUIET * settings.window else 0.0
            for row, energy in zip(likeness, total[:, 0], strict=True)
        ],
        np.float32,
    )
    return np.where(found > highest, np.float32(0), found)


def _frequency(likeness: NDArray[np.float64], lags: NDArray[np.int64], sampling_rate: int) -> float:
    """Returns the frequency of one frame; 0 if it has no voice."""
    inner = likeness[1:-1]
    peaks = np.flatnonzero((inner >= likeness[:-2]) & (inner > likeness[2:])) + 1
    if not peaks.size or likeness[peaks].max() < VOICED:
        return 0.0
    first = int(peaks[np.argmax(likeness[peaks] >= NEARLY * likeness[peaks].max())])
    before, at, after = likeness[first - 1 : first + 2]
    curve = before - 2 * at + after
    shift = 0.5 * (before - after) / curve if curve < 0 else 0.0
    return float(sampling_rate / (lags[first] + shift))
