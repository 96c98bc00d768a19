"""Training a classifier: what is learned, in which steps, and what is left on disk."""

from __future__ import annotations

from typing import Unpack, get_type_hints

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from hubserve.errors import DivergedError, EvaluatorError, TrialPruned
from hubserve.evaluator import Classification, Regression, Trial, load_dataset
from hubserve.hub import DARTS
from hubserve.hub.pretrained import load_weights
from hubserve.training.settings import WITHOUT_EFFECT, TrainerArguments, TrainingSettings, limit
from tests.training.nets import Mlp, blobs

ARCH = {"width": 64}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits", size=8, augment=False)


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(3, 3)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_learns_and_keeps_the_weights(digits, tmp_path):
    evaluator = Classification(
        datamodule=digits, num_classes=10, max_epochs=6, learning_rate=0.01, schedule="cosine", label_smoothing=0.05
    )
    scores = evaluator.evaluate(Mlp(), ARCH, Trial(seed=1, folder=tmp_path))
    assert scores["val_acc"] > 0.9
    assert set(scores) == {"val_acc", "val_loss", "train_loss"}
    # The file is the network that was scored: loaded anew, it is right as often.
    model = load_weights(Mlp(), ARCH, tmp_path / "weights.safetensors")
    inputs, targets = map(torch.stack, zip(*(digits.val[i] for i in range(len(digits.val))), strict=True))
    with torch.no_grad():
        right = (model(inputs).argmax(1) == targets).double().mean().item()
    assert right == pytest.approx(scores["val_acc"], abs=1e-9)
    assert evaluator.validate(model)["val_acc"] == pytest.approx(right, abs=1e-9)


def test_the_seed_decides_everything_and_leaves_the_caller_s_alone(digits):
    evaluator = Classification(datamodule=digits, max_epochs=1)
    torch.manual_seed(11)
    first = evaluator.evaluate(Mlp(), ARCH, Trial(seed=1))
    after = torch.rand(1)
    assert first == evaluator.evaluate(Mlp(), ARCH, Trial(seed=1))
    assert first != evaluator.evaluate(Mlp(), ARCH, Trial(seed=2))
    torch.manual_seed(11)
    assert torch.equal(after, torch.rand(1))


def test_fit_needs_no_trial_and_works_in_place():
    model = linear()
    before = weights(model)
    scores = Classification(train_dataloaders=blobs(), val_dataloaders=blobs(seed=1), learning_rate=0.05).fit(model)
    assert scores["val_acc"] == 1.0
    assert not torch.equal(before, weights(model))
    assert not model.training


def test_steps_are_those_of_plain_torch():
    """Two epochs of SGD, written down once more without the evaluator."""
    data = blobs(24)
    evaluator = Classification(
        train_dataloaders=data, val_dataloaders=data, optimizer="sgd", learning_rate=0.1, weight_decay=0.01, batch_size=8,
        max_epochs=2, schedule="cosine", gradient_clip_val=0.5,
    )  # fmt: skip
    trained, plain = linear(), linear()
    evaluator.fit(trained, Trial(seed=3))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
    for epoch in range(2):
        for inputs, targets in evaluator.train_batches(3 * 1_000_003 + epoch):
            loss = nn.functional.cross_entropy(plain(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
            optimizer.step()
            schedule.step()
    assert torch.allclose(weights(trained), weights(plain), atol=1e-6)


def test_accumulated_batches_are_a_larger_batch():
    def trained(**settings):
        model = linear()
        Classification(
            train_dataloaders=blobs(32), val_dataloaders=blobs(), optimizer="sgd", learning_rate=0.1, max_epochs=2, **settings
        ).fit(model)
        return weights(model)

    assert torch.allclose(trained(batch_size=16), trained(batch_size=4, accumulate_grad_batches=4), atol=1e-6)


class Steps(torch.optim.SGD):
    taken = 0

    def step(self, closure=None):
        Steps.taken += 1
        super().step()


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_epochs": 3}, 24),
        ({"max_epochs": 3, "limit_train_batches": 2}, 6),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 12),
        ({"max_epochs": 3, "max_steps": 13}, 13),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, 9),
        ({"fast_dev_run": True}, 1),
    ],
)
def test_how_long_it_trains(settings, steps):
    Steps.taken = 0
    Classification(train_dataloaders=blobs(64), val_dataloaders=blobs(), batch_size=8, optimizer=Steps, **settings).fit(
        linear()
    )
    assert Steps.taken == steps


def test_validation_may_be_limited():
    data = TensorDataset(torch.eye(3).repeat(4, 1), torch.tensor([0, 1, 2] * 2 + [1, 2, 0] * 2))
    model = nn.Identity()
    assert Classification(val_dataloaders=data, batch_size=3).validate(model)["val_acc"] == 0.5
    assert Classification(val_dataloaders=data, batch_size=3, limit_val_batches=2).validate(model)["val_acc"] == 1.0
    assert Classification(val_dataloaders=data, batch_size=5).validate(model)["val_loss"] == pytest.approx(
        nn.functional.cross_entropy(*data.tensors).item(), abs=1e-6
    )


def test_smoothing_is_of_training_alone():
    evaluator = Classification(label_smoothing=0.2)
    logits, targets = torch.randn(5, 3, requires_grad=True), torch.tensor([0, 1, 2, 0, 1])
    assert evaluator.loss(logits, targets) == nn.functional.cross_entropy(logits, targets, label_smoothing=0.2)
    with torch.no_grad():
        assert evaluator.loss(logits, targets) == nn.functional.cross_entropy(logits, targets)


def test_an_auxiliary_head_counts_two_fifths():
    logits, auxiliary, targets = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    cross_entropy = nn.functional.cross_entropy
    expected = cross_entropy(logits, targets) + 0.4 * cross_entropy(auxiliary, targets)
    assert torch.equal(Classification().loss((logits, auxiliary), targets), expected)


def test_the_moving_average_is_what_is_scored_and_saved(tmp_path):
    evaluator = Classification(
        train_dataloaders=blobs(16), val_dataloaders=blobs(), batch_size=8, max_epochs=2, ema_decay=0.3, optimizer="sgd",
        learning_rate=0.5,
    )  # fmt: skip
    model = linear()
    scores = evaluator.fit(model, Trial(folder=tmp_path))
    plain = linear()
    optimizer = evaluator.make_optimizer(plain.parameters())
    average, n = weights(plain), 0
    for epoch in range(2):
        for inputs, targets in evaluator.train_batches(epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(plain(inputs), targets).backward()
            optimizer.step()
            n += 1
            keep = min(0.3, (1 + n) / (10 + n))
            average = keep * average + (1 - keep) * weights(plain)
    assert torch.allclose(weights(model), average, atol=1e-6)
    assert evaluator.validate(model)["val_loss"] == pytest.approx(scores["val_loss"])


def test_drop_path_rises_over_the_epochs():
    space = DARTS(width=(8,), num_cells=(3,))
    seen = []

    class Noting(Classification):
        def loss(self, output, target):
            if torch.is_grad_enabled():
                seen.append(next(cell.drop_path_prob for cell in model.modules() if hasattr(cell, "drop_path_prob")))
            return super().loss(output, target)

    from random import Random

    model = space.freeze(space.random(Random(0)))
    images = TensorDataset(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    Noting(train_dataloaders=images, val_dataloaders=images, drop_path_prob=0.3, max_epochs=3).fit(model)
    assert seen == pytest.approx([0.0, 0.1, 0.2])
    with pytest.raises(EvaluatorError, match="Linear has no drop path"):
        Classification(train_dataloaders=blobs(), val_dataloaders=blobs(), drop_path_prob=0.3).fit(linear())


def test_training_that_diverges_says_so():
    evaluator = Classification(
        train_dataloaders=blobs(), val_dataloaders=blobs(), optimizer="sgd", learning_rate=1e38, batch_size=8
    )
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) in epoch 0: lower the learning rate"):
        evaluator.fit(linear())


def test_it_ends_where_the_trial_is_pruned():
    class Pruned(Trial):
        def report(self, step, value):
            seen.append((step, value))
            if step == 1:
                raise TrialPruned("not among the better ones")

    seen = []
    with pytest.raises(TrialPruned):
        Classification(train_dataloaders=blobs(), val_dataloaders=blobs(), max_epochs=5).fit(linear(), Pruned())
    assert [step for step, _ in seen] == [0, 1]
    assert all(0 <= value <= 1 for _, value in seen)


def test_mixed_precision_computes_in_fewer_bits():
    seen = []

    class Noting(nn.Linear):
        def forward(self, x):
            output = super().forward(x)
            seen.append(output.dtype)
            return output

    settings = {"train_dataloaders": blobs(), "val_dataloaders": blobs(seed=1), "learning_rate": 0.05}
    assert Classification(**settings, precision="bf16-mixed").fit(Noting(3, 3))["val_acc"] > 0.9
    assert set(seen) == {torch.bfloat16}
    with pytest.raises(EvaluatorError, match=r"16-mixed.*CUDA"):
        Classification(**settings, precision=16, accelerator="cpu").fit(linear())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epoch": 3}, "unknown argument 'max_epoch': Did you mean max_epochs"),
        ({"gpus": 1}, "accelerator='gpu'"),
        ({"callbacks": []}, "'callbacks': an experiment prunes"),
        ({"max_epochs": 0}, "max_epochs = 0 must be at least 1"),
        ({"limit_train_batches": 1.5}, r"limit_train_batches = 1.5.*share"),
        ({"accelerator": "tpu"}, "accelerator = 'tpu' is not one of"),
        ({"precision": "8"}, "precision = '8'"),
        ({"devices": 0}, "devices = 0"),
        ({"batch_size": 0}, "batch_size = 0 must be at least 1"),
        ({"learning_rate": -0.1}, "learning_rate = -0.1 must be at least 0"),
        ({"gradient_clip_val": -1.0}, "gradient_clip_val = -1.0 must be at least 0"),
        ({"max_steps": 0}, "max_steps = 0 must be at least 1, or -1"),
        ({"drop_path_prob": 1.0}, r"drop_path_prob = 1.0 must lie in \[0, 1\)"),
        ({"learning_rat": 0.1}, "unknown argument 'learning_rat': Did you mean learning_rate"),
        ({"optimizer": "adan"}, r"no optimizer 'adan'. Did you mean adam"),
        ({"schedule": "cosin"}, "Did you mean cosine"),
        ({"warm_up": 1.0}, "warm_up = 1.0"),
        ({"ema_decay": 1.0}, "ema_decay = 1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing = 1.0"),
        ({"label_smoothing": 0.1, "criterion": nn.NLLLoss}, "give your criterion its own"),
        ({"export_onnx": True}, "hubserve export"),
        ({"train_dataloaders": [1, 2]}, "list of 2"),
        ({"train_dataloaders": 1, "datamodule": object()}, "both given"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments, message):
    with pytest.raises(EvaluatorError, match=message):
        Classification(**arguments)


def test_a_clip_of_0_clips_nothing_as_in_lightning():
    assert Classification(gradient_clip_val=0).settings.gradient_clip_val is None


def test_what_an_experiment_does_by_itself_is_accepted():
    Classification(logger=False, enable_progress_bar=False, enable_checkpointing=False, num_sanity_val_steps=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no training data"),
        ({"train_dataloaders": blobs()}, "no validation data"),
        ({"train_dataloaders": blobs(), "val_dataloaders": blobs(), "num_classes": 4}, "gives 3 classes and num_classes = 4"),
        ({"train_dataloaders": 3, "val_dataloaders": blobs()}, "data of type int"),
        ({"train_dataloaders": blobs(), "val_dataloaders": blobs(0)}, "validation data of Classification has no batch"),
        ({"train_dataloaders": [], "val_dataloaders": blobs()}, "list of 0"),
    ],
)
def test_what_is_missing_is_named_when_it_is_needed(settings, message):
    with pytest.raises(EvaluatorError, match=message):
        Classification(**settings).fit(linear())


def test_the_type_of_further_settings_has_those_that_are_known():
    settings = get_type_hints(TrainingSettings)
    positional = {"criterion", "learning_rate", "weight_decay", "optimizer", "_"}
    known = {name: kind for name, kind in settings.items() if name not in positional}
    hints = get_type_hints(TrainerArguments)
    assert {name: kind for name, kind in hints.items() if name not in WITHOUT_EFFECT} == known
    assert set(hints) - set(known) == WITHOUT_EFFECT
    for evaluator in (Classification, Regression):
        assert get_type_hints(evaluator.__init__)["more_settings"] == Unpack[TrainerArguments]


@pytest.mark.parametrize(("wanted", "used"), [(1.0, (0, 1, 8)), (0.3, (0, 1, 2)), (2, (0, 1, 2))])
def test_a_share_of_the_batches(wanted, used):
    assert tuple(limit(length, wanted) for length in (0, 1, 8)) == used
