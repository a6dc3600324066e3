"""Sound files, read as mono samples (extra: speech).

Inputs: WAV, FLAC and other files (soundfile), at any rate (soxr). Outputs: mono samples. The user is told of each rule
that was applied: channels are averaged; samples at full scale are counted as clipped, and used as they are.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled import optional_libraries
from unrolled.errors import DataError

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")
#: what a user can do whose sounds have classes, and no transcripts
NO_CLASSES = (
    "no task learns classes of sounds. Write the loudness of each sound's bands over time, say, as rows of a table, "
    "and learn from that: unrolled train classify TABLE --values COLUMNS --series COLUMN --label COLUMN"
)
_MOST_HZ = 384_000
MOST_SAMPLES = 2**30  # of a sound: four gigabytes in memory
_FULL = 0.999  # of full scale
_CLIPPED = 0.001  # share of samples from which on a sound counts as clipped


@dataclass(frozen=True)
class Sound:
    """One sound.

    Attributes:
        samples: float32 [length], from -1 to 1, mono.
        rate: samples a second.
        n_channels: of the file.
    """

    samples: np.ndarray
    rate: int
    n_channels: int = 1

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def is_clipped(self) -> bool:
        return bool((np.abs(self.samples) >= _FULL).mean() > _CLIPPED)

    def at(self, rate: int) -> "Sound":
        """The same at another rate."""
        if rate == self.rate:
            return self
        return Sound(_soxr().resample(self.samples, self.rate, rate).astype(np.float32), rate, self.n_channels)

    def in_parts(self, longest_s: float) -> list[np.ndarray]:
        """The samples in parts of at most so many seconds, cut at the quietest fifth of a second of the last third."""
        most, parts, samples = int(min(longest_s * self.rate, len(self.samples))), [], self.samples
        width = max(1, self.rate // 5)
        while len(samples) > most:
            from_ = 2 * most // 3
            power = np.cumsum(np.square(samples[from_:most], dtype=np.float64))
            at = most if len(power) <= width else from_ + int((power[width:] - power[:-width]).argmin()) + width // 2
            parts.append(samples[:at])
            samples = samples[at:]
        return [*parts, samples]


def read_sound(path: Path | str) -> Sound:
    """What a file of sound holds.

    Raises:
        DataError: it is missing, unreadable, without samples, or has some that are not finite.
    """
    library = optional_libraries.library("soundfile", "speech needs", "speech")
    if not os.path.isfile(path):  # Path's own method raises where a name is too long
        found = "is a folder or a device; expected a file of sound" if os.path.exists(path) else "no such file"
        raise DataError(f"{path}: {found}")
    try:
        claimed = library.info(str(path))
        n_claimed = claimed.frames * claimed.channels
        if n_claimed > MOST_SAMPLES:
            raise DataError(
                f"{path}: its header claims {n_claimed:,} samples; at most {MOST_SAMPLES:,} are read, six hours at "
                "48,000 a second. Cut it into parts"
            )
        samples, rate = library.read(str(path), dtype="float32", always_2d=True)
    except DataError:
        raise
    except (library.LibsndfileError, RuntimeError, OSError, ValueError) as fault:
        raise DataError(f"{path}: is no sound that can be read ({_words(fault)}). Expected WAV or FLAC") from None
    if not len(samples):
        raise DataError(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds samples that are not finite numbers")
    if not 1000 <= rate <= _MOST_HZ:
        raise DataError(f"{path}: has {rate:,} samples a second; expected 1,000 to {_MOST_HZ:,}")
    return Sound(samples.mean(1), int(rate), samples.shape[1])


def as_sound(samples: object, rate: int) -> Sound:
    """Samples in memory as a sound: floats from -1 to 1, or integers of any width; [length] or [length, channels].

    Raises:
        DataError: they are none of that.
    """
    given = np.asarray(samples)
    if given.ndim not in (1, 2) or not given.size or given.dtype.kind not in "fiu":
        raise DataError(
            f"samples must be numbers, [length] or [length, channels]; got {given.dtype} {list(given.shape)}"
        )
    if given.dtype.kind == "u":
        half = 2 ** (8 * given.dtype.itemsize - 1)
        values = (given.astype(np.float32) - half) / half
    else:
        values = given.astype(np.float32) / (2 ** (8 * given.dtype.itemsize - 1) if given.dtype.kind == "i" else 1)
    if not np.isfinite(values).all():
        raise DataError("samples must be finite numbers")
    n_channels = values.shape[1] if values.ndim == 2 else 1
    return Sound(values.mean(1) if values.ndim == 2 else values, rate, n_channels)


class Resampler:
    """The same for samples as they come: chunks in, chunks at another rate out."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._stream = None if rate == wanted else _soxr().ResampleStream(rate, wanted, 1, dtype="float32")

    def __call__(self, samples: np.ndarray, *, last: bool = False) -> np.ndarray:
        if self._stream is None:
            return samples
        return self._stream.resample_chunk(samples, last=last)


def _words(fault: Exception) -> str:
    return str(fault).split(": ")[-1].strip().rstrip(".") or type(fault).__name__


def _soxr() -> Any:
    return optional_libraries.library("soxr", "speech needs", "speech")
