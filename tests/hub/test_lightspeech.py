"""The space LightSpeech: its counts, what padding does with and without masks, and that a small network learns."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch.nn import functional

from hubserve.errors import SpaceError
from hubserve.hub import LightSpeech
from hubserve.hub.lightspeech import OPERATIONS

SMALL = LightSpeech(
    vocab_size=12, hidden_size=16, filter_size=32, enc_layers=2, dec_layers=2, mel_bins=8, f0_mean=0.0, pitch_predictor_layers=2
)


def test_counts_are_exact():
    assert LightSpeech().count() == 11**8 == 214_358_881
    assert SMALL.count() == 11**4
    assert list(LightSpeech().choices["decoder_3"].candidates) == list(OPERATIONS)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_padding_changes_nothing(seed):
    torch.manual_seed(seed)
    model = SMALL.freeze(SMALL.random(Random(seed))).double().eval()
    model.dur_predictor.linear.bias.fill_(1.3)  # Frames of several phonemes.
    (tokens,) = SMALL.example_inputs({"length": 9}, batch=4, seed=seed)
    mel, durations = model(tokens)
    assert len(set(durations.sum(1).tolist())) > 1
    for i, row in enumerate(tokens):
        alone, own = model(row[row != 0][None])
        assert own[0].tolist() == durations[i, : own.shape[1]].tolist()
        torch.testing.assert_close(alone[0], mel[i, : alone.shape[1]], rtol=0, atol=1e-12)
        assert not mel[i, alone.shape[1] :].any()
        assert not durations[i, own.shape[1] :].any()


def test_the_original_depends_on_padding_and_says_so():
    space = LightSpeech(mask_padding=False)
    assert space.inputs[0].padding is None
    assert LightSpeech().inputs[0].padding == 0


def test_a_small_network_learns():
    """Spectrogram, durations and pitch together, from one batch; the arguments may also be one tuple."""
    torch.manual_seed(0)
    model = SMALL.freeze({"encoder_0": "sep_conv_5", "encoder_1": "mhsa_2", "decoder_0": "ffn", "decoder_1": "sep_conv_9"})
    (tokens,) = SMALL.example_inputs({"length": 6}, batch=4)
    durations = (tokens > 0) * (tokens % 3 + 1)
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends.max()))
    mel2ph = ((frames[None, :, None] >= ends[:, None]).sum(-1) + 1) * (frames < ends[:, -1:])
    wanted = functional.one_hot(functional.pad(tokens, (1, 0)).gather(1, mel2ph), 12)[..., :8].float()
    optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if not n.startswith("spk")], lr=0.01)
    history = []
    for _ in range(40):
        mel, log_durations, pitch = model((tokens, mel2ph, torch.zeros_like(mel2ph, dtype=torch.float32)))
        loss = functional.l1_loss(mel, wanted) + functional.mse_loss(log_durations, durations.float().log1p())
        loss = loss + pitch[..., 0].abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.6 * history[0]
    assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("spk"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 20}, "multiple of 8"),
        ({"operations": ("sepconv_5",)}, "Did you mean sep_conv_5"),
        ({"operations": ()}, "operations is empty"),
        ({"ffn_kernel_size": 4}, "odd number"),
        ({"f0_std": 0.0}, "f0_std"),
        ({"predictor_dropout": 1.5}, "predictor_dropout"),
        ({"pitch_bins": 100}, "pitch_bins = 100"),
    ],
)
def test_settings_that_are_not_allowed(settings, message):
    with pytest.raises(SpaceError, match=message):
        LightSpeech(**settings)
