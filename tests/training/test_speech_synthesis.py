"""Training on speech: the parts of the loss, masks, determinism, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.data.speech.speech_data import SpeechTarget, padded
from hubserve.errors import EvaluatorError, TrialPruned
from hubserve.hub import LightSpeech
from hubserve.training.evaluator import Objective, Trial
from hubserve.training.speech_scores import speech_scores
from hubserve.training.speech_synthesis import SpeechSynthesis
from tests.speech import SYMBOLS, sung_data


@pytest.fixture(scope="module")
def data():
    return sung_data()


def space(data) -> LightSpeech:
    return LightSpeech(
        vocab_size=len(SYMBOLS) + 1,
        hidden_size=16,
        filter_size=16,
        enc_layers=1,
        dec_layers=1,
        pitch_predictor_layers=1,
        dropout=0.0,
        predictor_dropout=0.1,
        f0_mean=data.statistics.f0_mean,
        f0_std=data.statistics.f0_std,
        spk_embed_proj=False,
    )


ARCH = {"encoder_0": "sep_conv_5", "decoder_0": "sep_conv_5"}


def synthesis(data, **settings) -> SpeechSynthesis:
    loaders = {
        "train_dataloaders": data.train.loader(8, given_pitch=True, shuffle=True),
        "val_dataloaders": data.val.loader(3, given_pitch=False),
    }
    return SpeechSynthesis(**({"learning_rate": 0.01, "max_epochs": 2} | loaders | settings))


def made_up(frames: int = 6, padding: int = 0) -> SpeechTarget:
    torch.manual_seed(3)
    keep = torch.arange(frames + padding).lt(frames).expand(2, -1)
    voiced = keep & torch.arange(frames + padding).lt(4)
    mel, pitch = torch.randn(2, frames, 80), torch.randn(2, frames)
    mel, pitch = nn.functional.pad(mel, (0, 0, 0, padding)), nn.functional.pad(pitch, (0, padding)) * voiced
    durations = nn.functional.pad(torch.tensor([[2, 3, 1], [1, 1, 4]]), (0, padding))
    return SpeechTarget(mel, durations, pitch, durations > 0, keep, voiced)


class TestLoss:
    def test_each_part_alone(self, data):
        loss, target = synthesis(data).loss, made_up()
        logs, sure = torch.log1p(target.durations.float()), torch.where(target.voiced, -50.0, 50.0)
        pitch = torch.stack([target.pitch, sure], -1)
        assert loss((target.mel, logs, pitch), target).item() == pytest.approx(0, abs=1e-6)
        assert loss((target.mel + 0.5, logs, pitch), target).item() == pytest.approx(0.5, rel=1e-5)
        assert loss((target.mel, logs - 0.3, pitch), target).item() == pytest.approx(0.09, rel=1e-4)
        shifted = torch.stack([target.pitch + 0.7, sure], -1)
        assert loss((target.mel, logs, shifted), target).item() == pytest.approx(0.7, rel=1e-5)
        unsure = torch.stack([target.pitch, torch.zeros_like(sure)], -1)
        assert loss((target.mel, logs, unsure), target).item() == pytest.approx(np.log(2), rel=1e-5)

    def test_eval_mode_compares_whole_durations_and_the_mel(self, data):
        target = made_up()
        evaluator = synthesis(data)
        assert evaluator.loss((target.mel - 1, target.durations), target).item() == pytest.approx(1, rel=1e-5)
        expected = (torch.log1p(target.durations.float()) - np.log(2)).square().mean().item()
        assert evaluator.loss((target.mel, torch.ones_like(target.durations)), target).item() == pytest.approx(expected)
        assert evaluator.score((target.mel - 1, target.durations), target).tolist() == pytest.approx([1, 1])

    def test_padding_counts_nothing(self, data):
        evaluator, short, long = synthesis(data), made_up(), made_up(padding=5)
        torch.manual_seed(0)
        mel, logs, pitch = torch.randn(2, 6, 80), torch.randn(2, 3), torch.randn(2, 6, 2)
        rubbish = [nn.functional.pad(each, pad, value=9.0) for each, pad in ((mel, (0, 0, 0, 5)), (logs, (0, 5)))]
        rubbish.append(nn.functional.pad(pitch, (0, 0, 0, 5), value=9.0))
        assert evaluator.loss(tuple(rubbish), long).item() == pytest.approx(evaluator.loss((mel, logs, pitch), short).item())

    def test_a_network_with_other_outputs_is_refused(self, data):
        with pytest.raises(EvaluatorError, match="the network returns Tensor; SpeechSynthesis needs"):
            synthesis(data).loss(torch.zeros(2, 3), made_up())
        with pytest.raises(EvaluatorError, match="a tuple of 1"):
            synthesis(data).loss((torch.zeros(2, 3),), made_up())

    def test_a_batch_of_utterances_is_as_good_as_each_alone(self, data):
        model = space(data).freeze(ARCH).eval()
        (inputs, target), evaluator = (
            padded(data.val.utterances, statistics=data.statistics, given_pitch=False),
            synthesis(data),
        )
        with torch.no_grad():
            together = evaluator.score(model(inputs), target)
            for row, each in enumerate(data.val.utterances):
                alone, one = padded([each], statistics=data.statistics, given_pitch=False)
                assert evaluator.score(model(alone), one).item() == pytest.approx(together[row].item(), abs=1e-5)


class TestTraining:
    @pytest.mark.slow
    def test_it_learns_and_a_smaller_loss_is_better(self, data):
        evaluator = synthesis(data, max_epochs=12)
        assert evaluator.objectives == (Objective("val_loss", "minimize"),)
        torch.manual_seed(0)
        model = space(data).freeze(ARCH)
        before, after = evaluator.validate(model), evaluator.fit(model)
        assert after["val_loss"] < 0.6 * before["val_loss"]
        found = speech_scores(model, data)
        assert found["mel_l1"] < found["mel_l1_of_one_mean"]
        assert found["log_duration_mse"] < 2 * found["log_duration_mse_of_one_mean"]

    def test_the_same_seed_gives_the_same_network(self, data):
        first, same, other = (synthesis(data).evaluate(space(data), ARCH, Trial(seed=seed)) for seed in (1, 1, 2))
        assert first == same
        assert first != other

    @pytest.mark.slow
    def test_an_interrupted_training_ends_as_one_without_interruption(self, data, tmp_path):
        class Interrupted(Trial):
            def report(self, step: int, value: float) -> None:
                if step == 1:
                    raise TrialPruned("stopped here")

        whole = synthesis(data, max_epochs=3).evaluate(space(data), ARCH, Trial(seed=4))
        place = Path(tmp_path / "training.pt")
        with pytest.raises(TrialPruned):
            synthesis(data, max_epochs=3).evaluate(space(data), ARCH, Interrupted(seed=4, checkpoint=place))
        assert place.is_file()
        assert synthesis(data, max_epochs=3).evaluate(space(data), ARCH, Trial(seed=4, checkpoint=place)) == whole

    def test_reports_are_those_of_the_objective(self, data):
        seen = []

        class Watched(Trial):
            def report(self, step: int, value: float) -> None:
                seen.append((step, value))

        scores = synthesis(data).evaluate(space(data), ARCH, Watched())
        assert seen[-1] == (1, scores["val_loss"])

    def test_an_unknown_setting_is_refused(self, data):
        with pytest.raises(EvaluatorError, match="unknown argument 'max_epoch'"):
            synthesis(data, max_epoch=3)


class TestScores:
    def test_baselines_by_hand(self, data):
        model = space(data).freeze(ARCH).eval()
        found = speech_scores(model, data)
        train, test, known = data.train.utterances, data.test.utterances, data.statistics
        logs = np.concatenate([np.log1p(each.durations) for each in train])
        wanted = np.concatenate([np.log1p(each.durations) for each in test])
        assert found["log_duration_mse_of_one_mean"] == pytest.approx(float(((wanted - logs.mean()) ** 2).mean()))
        errors = [np.abs((each.mel - known.mel_mean) / known.mel_std).mean() for each in test]
        assert found["mel_l1_of_one_mean"] == pytest.approx(float(np.mean(errors)), abs=1e-3)
        assert found["mel_l1_of_phoneme_means"] < 0.8 * found["mel_l1_of_one_mean"]

    def test_those_of_a_network_that_knows_the_answer(self, data):
        class Oracle(nn.Module):
            def forward(self, inputs):
                phonemes, *given = inputs
                found = next(e for e in data.test.utterances if e.phonemes.tolist() == phonemes[0][phonemes[0] > 0].tolist())
                _, target = padded([found], statistics=data.statistics, given_pitch=False)
                return target.mel + (0.0 if len(given) == 3 else 0.25), target.durations * 2

        one = data.test.loader
        data.test.loader = lambda size, **settings: one(1, **settings)
        try:
            found = speech_scores(Oracle(), data)
        finally:
            del data.test.loader
        assert found["mel_l1_given_pitch"] == pytest.approx(0, abs=1e-6)
        assert found["mel_l1"] == pytest.approx(0.25, rel=1e-5)
        assert found["length_error"] == pytest.approx(1)


def test_random_archs_of_both_kinds_train(data):
    rng = Random(0)
    for arch in ({"encoder_0": "mhsa_2", "decoder_0": "ffn"}, space(data).random(rng)):
        scores = synthesis(data, max_epochs=1).evaluate(space(data), arch, Trial())
        assert np.isfinite(list(scores.values())).all()
