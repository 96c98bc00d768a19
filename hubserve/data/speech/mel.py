"""Computes mel spectrograms of sound, in numpy, and sound of mel spectrograms by the method of Griffin and Lim.

`griffin_lim` is for listening to what a network has learned. It is no vocoder: it guesses the phases, which a spectrogram does
not have, and sounds metallic.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfft

FLOOR = 1e-5
"""Smallest amplitude of a band, since silence has no logarithm."""


@dataclass(frozen=True)
class MelSettings:
    """The settings of mel spectrograms; the defaults are those of LightSpeech.

    Attributes:
        sampling_rate: Samples in a second.
        hop: Samples from a frame to the next one.
        window: Samples of a frame.
        bands: Number of frequency bands.
        lowest: Lower edge of the lowest band, in Hz.
        highest: Upper edge of the highest band, in Hz.
    """

    sampling_rate: int = 22050
    hop: int = 256
    window: int = 1024
    bands: int = 80
    lowest: float = 80.0
    highest: float = 7600.0

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each frequency in each band, (bands, window // 2 + 1): triangles on the mel scale, each of area 1 in Hz."""
        low, high = hertz_to_mel(np.array([self.lowest, self.highest])).tolist()
        edges = mel_to_hertz(np.linspace(low, high, self.bands + 2))
        frequencies = np.linspace(0, self.sampling_rate / 2, self.window // 2 + 1)
        left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
        triangles: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (right - left)
        return triangles


LIGHTSPEECH = MelSettings()
"""The mel spectrograms of LightSpeech."""


def hertz_to_mel(hertz: NDArray[Any]) -> NDArray[np.float64]:
    """Returns frequencies on Slaney's mel scale: linear up to 1000 Hz, logarithmic above."""
    above = np.maximum(hertz, 1000.0)
    mel: NDArray[np.float64] = np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(above / 1000) / np.log(6.4))
    return mel


def mel_to_hertz(mel: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the frequencies in Hz of places on Slaney's mel scale."""
    hertz: NDArray[np.float64] = np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))
    return hertz


def frames_of(wave: NDArray[Any], settings: MelSettings = LIGHTSPEECH) -> NDArray[np.float64]:
    """Returns the frames of a sound, (1 + samples // hop, window); the centre of frame i is sample i * hop."""
    padded = np.pad(np.asarray(wave, np.float64), settings.window // 2)
    count = 1 + len(wave) // settings.hop
    return np.lib.stride_tricks.sliding_window_view(padded, settings.window)[:: settings.hop][:count]


def log_mel(wave: NDArray[Any], settings: MelSettings = LIGHTSPEECH) -> NDArray[np.float32]:
    """Returns the decimal logarithm of the mel spectrogram of a sound.

    Args:
        wave: Sound, (samples,), in [-1, 1].
        settings: How it is made.

    Returns:
        (1 + samples // hop, bands) float32, at least log10(`FLOOR`).
    """
    amplitude = np.abs(_transformed(wave, settings))
    return np.log10(np.maximum(amplitude @ settings.weights.T, FLOOR)).astype(np.float32)


def griffin_lim(
    mel: NDArray[Any], settings: MelSettings = LIGHTSPEECH, *, steps: int = 60, seed: int = 0
) -> NDArray[np.float32]:
    """Returns a sound whose mel spectrogram is near a given one, by the method of Griffin and Lim (1984).

    The amplitude of each frequency is estimated from the bands by least squares without negative values, the phases are guessed
    at random and made consistent in `steps` steps, with the momentum 0.99 of Perraudin et al. (2013).

    Args:
        mel: Decimal logarithms, (frames, bands), as `log_mel` returns them.
        settings: How they were made.
        steps: Number of steps, at least 1.
        seed: Seed of the random phases.

    Returns:
        ((frames - 1) * hop,) float32, with the largest amplitude 0.9 where it would be above 1.
    """
    bands = 10.0 ** np.asarray(mel, np.float64)
    amplitude = np.maximum(bands @ np.linalg.pinv(settings.weights).T, 0.0)
    for _ in range(20):  # Multiplicative steps of least squares without negative values (Lee and Seung 2001).
        estimate = np.maximum((amplitude @ settings.weights.T) @ settings.weights, 1e-12)
        amplitude = np.maximum(amplitude, 1e-8) * (bands @ settings.weights) / estimate
    phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(amplitude.shape))
    before = np.zeros_like(phases)
    for _ in range(steps):
        found = _transformed(_sound(amplitude * phases, settings), settings)
        ahead = found + 0.99 * (found - before)
        before, phases = found, ahead / np.maximum(np.abs(ahead), 1e-12)
    wave = _sound(amplitude * phases, settings)
    peak = np.abs(wave).max(initial=0.0)
    return (wave * (0.9 / peak if peak > 1 else 1.0)).astype(np.float32)


def _window(settings: MelSettings) -> NDArray[np.float64]:
    """Returns Hann's window, which is periodic."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)


def _transformed(wave: NDArray[Any], settings: MelSettings) -> NDArray[np.complex128]:
    spectrum: NDArray[np.complex128] = rfft(frames_of(wave, settings) * _window(settings), axis=1)
    return spectrum


def _sound(spectrum: NDArray[np.complex128], settings: MelSettings) -> NDArray[np.float64]:
    """Returns the sound whose frames are nearest to the given spectra, without the half window before and after it."""
    window, hop = _window(settings), settings.hop
    frames = irfft(spectrum, settings.window, axis=1) * window
    length = settings.window + hop * (len(frames) - 1)
    wave, weight = np.zeros(length), np.zeros(length)
    for i, frame in enumerate(frames):
        wave[i * hop : i * hop + settings.window] += frame
        weight[i * hop : i * hop + settings.window] += window**2
    half = settings.window // 2
    found: NDArray[np.float64] = (wave / np.maximum(weight, 1e-8))[half : length - half]
    return found
