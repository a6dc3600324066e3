"""Log-mel features of sound (extra: speech).

Inputs: samples, at once or in chunks. Outputs: the same features either way. They are made by kaldi-native-fbank:
windows of 25 ms every 10 ms, without dither, which would be random.
"""

import numpy as np

from unrolled import optional_libraries

STEP_S = 0.01
WINDOW_S = 0.025


class Fbank:
    """Features of samples as they come.

    Attributes:
        n_samples: taken so far.
        n_given: frames given so far.
    """

    def __init__(self, rate: int, n_mels: int) -> None:
        library = optional_libraries.library("kaldi_native_fbank", "speech needs", "speech")
        options = library.FbankOptions()
        options.frame_opts.samp_freq = rate
        options.frame_opts.dither = 0.0
        options.frame_opts.frame_length_ms = 1000 * WINDOW_S
        options.frame_opts.frame_shift_ms = 1000 * STEP_S
        options.mel_opts.num_bins = n_mels
        options.mel_opts.high_freq = 0.0  # up to half the rate
        self._fbank = library.OnlineFbank(options)
        self.rate, self.n_mels = rate, n_mels
        self.n_given = self.n_samples = 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """The features that these samples complete, float32 [frames, mels]."""
        if len(samples):
            self.n_samples += len(samples)
            self._fbank.accept_waveform(self.rate, samples.astype(np.float32))
        n = self._fbank.num_frames_ready
        frames = [np.array(self._fbank.get_frame(i)) for i in range(self.n_given, n)]
        self._fbank.pop(n - self.n_given)
        self.n_given = n
        return np.stack(frames) if frames else np.zeros((0, self.n_mels), np.float32)


def fbank(samples: np.ndarray, rate: int, n_mels: int) -> np.ndarray:
    """Features of a whole sound, float32 [frames, mels]; one frame at least."""
    shortest = int(np.ceil(WINDOW_S * rate)) + 1
    return Fbank(rate, n_mels)(np.pad(samples, (0, max(0, shortest - len(samples)))))
