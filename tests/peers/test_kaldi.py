"""Log-mel against kaldi-native-fbank.

With its settings below the two are equal. Kaldi's own defaults differ from ours in the window (Povey; ours is a
periodic Hann), pre-emphasis (.97; none), removal of the mean of a frame (none), dither (none), and in triangles that
are straight in mel (ours are straight in Hz, as librosa's and torchaudio's).
"""

import numpy as np
import pytest
import torch

from encoders.frontend import BINS, FLOOR, log_mel

knf = pytest.importorskip("kaldi_native_fbank")


@pytest.mark.parametrize("samples", [400, 559, 560, 8000])
def test_log_mel_equals_kaldi_native_fbank(samples):
    options = knf.FbankOptions(
        frame_opts=knf.FrameExtractionOptions(
            dither=0.0, preemph_coeff=0.0, remove_dc_offset=False, window_type="hann", snip_edges=True
        ),
        mel_opts=knf.MelBanksOptions(
            num_bins=BINS, low_freq=20, high_freq=8000, is_librosa=True, norm="", use_slaney_mel_scale=False
        ),
        eps=FLOOR,
    )
    rng = np.random.default_rng(samples)
    wave = 0.1 * rng.normal(size=samples).astype(np.float32) + 0.3 * np.sin(0.2 * np.arange(samples, dtype=np.float32))
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(16_000, wave)
    fbank.input_finished()
    expected = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
    ours = log_mel(torch.from_numpy(wave)).numpy()
    assert ours.shape == expected.shape == (1 + (samples - 400) // 160, BINS)
    np.testing.assert_allclose(ours, expected, atol=2e-3)
