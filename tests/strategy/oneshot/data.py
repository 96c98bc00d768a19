"""A small evaluator that trains on the same few batches."""

from __future__ import annotations

import torch
from torch.nn import functional

from hubserve.training.evaluator import Objective, TrainingEvaluator
from hubserve.training.soft_labels import soft_cross_entropy
from tests.supernet.spaces import images


class Noise(TrainingEvaluator):
    """Labelled noise: enough to see whether a loop runs, and to count what it does."""

    objectives = (Objective("accuracy"),)

    def __init__(self, *, batches: int = 2, batch: int = 4, epochs: int = 1, labels: int = 10, double: bool = False) -> None:
        self.max_epochs = epochs
        generator = torch.Generator().manual_seed(0)
        self.batches = [
            (
                images(batch, seed=i).double() if double else images(batch, seed=i),
                torch.randint(labels, (batch,), generator=generator),
            )
            for i in range(2 * batches)
        ]
        self.n_train = batches
        self.seeds: list[int] = []

    def train_batches(self, seed):
        self.seeds.append(seed)
        order = torch.randperm(self.n_train, generator=torch.Generator().manual_seed(seed % 2**31)).tolist()
        return [self.batches[i] for i in order]

    def val_batches(self):
        return self.batches[self.n_train :]

    def loss(self, output, target):
        return functional.cross_entropy(output[0] if isinstance(output, tuple) else output, target)

    def distillation_loss(self, output, teacher):
        return soft_cross_entropy(output, teacher)

    def make_optimizer(self, parameters):
        return torch.optim.Adam(parameters, 1e-3)

    def make_schedule(self, optimizer, total_steps):
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total_steps)

    def evaluate(self, space, arch, trial):
        return self.fit(space.freeze(arch))

    def fit(self, model, trial=None):
        model.train()
        optimizer = self.make_optimizer(model.parameters())
        for x, target in self.train_batches(0):
            optimizer.zero_grad()
            self.loss(model(x), target).backward()
            optimizer.step()
        return self.validate(model)

    @torch.no_grad()
    def validate(self, model):
        model.eval()
        right = [(model(x).argmax(1) == target).float().mean() for x, target in self.val_batches()]
        return {"accuracy": float(torch.stack(right).mean())}
