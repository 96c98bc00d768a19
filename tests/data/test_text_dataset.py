"""Texts are padded within their batch, and the same tokens whatever the batch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from hubserve.data.text_data import text_data
from hubserve.data.text_dataset import PADDING, TextDataset
from hubserve.data.tokenizer_training import train_tokenizer
from hubserve.errors import TextError
from hubserve.evaluator import Classification, Trial
from hubserve.hub import NASBERT
from hubserve.package.text_tokenizer import TextTokenizer
from tests.sentences import rated

ITEMS = [(text, int(rating > 0)) for rating, text in rated(120) if rating]
ARCH = {"b1_hidden": 16, "b1_depth": 1, "b1_op_0": "mha"}


def data(**changes):
    parts = {"train": ITEMS[:80], "val": ITEMS[80:100], "test": ITEMS[100:]}
    return text_data("films", parts, ("bad", "good"), **{"vocabulary": 60, "max_tokens": 8, "kind": "words", **changes})


def space(found) -> NASBERT:
    sizes = {"vocab_size": found.vocabulary, "max_length": found.max_tokens}
    return NASBERT(**sizes, embedding_size=16, hidden_sizes=(16,), head_dim=8, num_blocks=1, dropout=0.0)


def test_a_batch_is_padded_to_its_longest_text():
    found = data()
    (ids, targets) = next(iter(DataLoader(found.val, 20)))
    assert ids.shape == (20, 8)
    assert targets.tolist() == [label for _, label in ITEMS[80:100]]
    for row, (alone, _) in zip(ids, found.val, strict=True):
        assert torch.equal(row[: len(alone)], alone)
        assert (row[len(alone) :] == PADDING).all()


def test_a_network_answers_a_text_alone_as_in_a_batch():
    found = data()
    torch.manual_seed(0)
    net = space(found).freeze(ARCH).eval()
    with torch.no_grad():
        together = net(next(iter(DataLoader(found.test, 20)))[0])
        alone = torch.cat([net(ids[None]) for ids, _ in found.test])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_tokenizer_of_the_data_fits_the_space():
    found = data(vocabulary=1000)
    assert found.vocabulary < 60
    tokenizer = TextTokenizer(found.tokenizer, space(found).inputs[0])
    assert tokenizer.encode([ITEMS[80][0]]).tolist()[0] == found.val[0][0].tolist()


def test_the_validation_texts_are_no_source_of_words():
    found = data()
    only_in_test = {text.split()[-1] for text, _ in ITEMS[80:]}
    assert not only_in_test & set(found.tokenizer.replace('"', " ").split())


def test_an_empty_text_is_refused():
    tokenizer = TextTokenizer(train_tokenizer(["a film"], size=10, least=1), space(data()).inputs[0])
    with pytest.raises(TextError, match="is empty"):
        TextDataset([("a film", 0), (" ", 1)], tokenizer)


def test_classification_learns_texts_and_repeats_itself():
    found = data()
    settings = {"max_epochs": 6, "batch_size": 8, "learning_rate": 0.01, "accelerator": "cpu"}
    evaluator = Classification(datamodule=found, num_classes=2, **settings)
    first = evaluator.evaluate(space(found), ARCH, Trial(seed=3))
    assert first["val_acc"] >= 0.9
    assert first == evaluator.evaluate(space(found), ARCH, Trial(seed=3))


def test_a_training_goes_on_where_it_was_killed(tmp_path):
    found = data()

    class Killed(Trial):
        def report(self, step, value):
            if step == 1:
                raise KeyboardInterrupt

    def trained(trial, epochs=4):
        settings = {"max_epochs": epochs, "batch_size": 8, "learning_rate": 0.01, "accelerator": "cpu"}
        return Classification(datamodule=found, num_classes=2, **settings).evaluate(space(found), ARCH, trial)

    with pytest.raises(KeyboardInterrupt):
        trained(Killed(seed=1, checkpoint=tmp_path / "training.pt"))
    assert trained(Trial(seed=1, checkpoint=tmp_path / "training.pt")) == trained(Trial(seed=1))
