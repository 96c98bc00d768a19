"""A package with a space, a strategy, a data set and evaluators of one's own, written into a folder, and distributions."""

from __future__ import annotations

from pathlib import Path

SPACES = '''
from dataclasses import dataclass

from torch import nn

from hubserve.space import ModelSpace, Picker


@dataclass(frozen=True)
class Small(ModelSpace):
    """Small networks of convolutions."""

    num_labels: int = 10

    def build(self, pick: Picker) -> nn.Module:
        width = pick("width", (8, 16))
        kernel = pick("kernel", (3, 5))
        return nn.Sequential(
            nn.Conv2d(3, width, kernel, stride=2, padding=kernel // 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * width, self.num_labels),
        )


class NoSpace:
    pass


@dataclass(frozen=True)
class NoClasses(ModelSpace):
    width: int = 8

    def build(self, pick: Picker) -> nn.Module:
        return nn.Linear(pick("width", (8, 16)), 2)


class NoData(ModelSpace):
    num_labels = 10

    def build(self, pick: Picker) -> nn.Module:
        return nn.Identity()


small = Small()
'''

SEARCHING = '''
import torch

from hubserve.data.digits import digits
from hubserve.evaluator import Classification, Evaluator
from hubserve.strategy import RandomOneShot, Strategy


class Last(Strategy):
    """Proposes the archs of a space from its last one on."""

    def __init__(self, *, step: int = 1, seed: int | None = None) -> None:
        super().__init__(seed=seed)
        self.step = step

    def propose(self, study, trial):
        return self.bound.grid_arch((-1 - self.step * trial.number) % self.bound.grid_size)


class Seedless(Last):
    def __init__(self, step: int = 1) -> None:
        super().__init__(step=step, seed=3)


class OwnOneShot(RandomOneShot):
    pass


def even_digits(*, size: int = 16, seed: int = 0):
    return digits(size=size, seed=seed)


def with_folder(folder, size=16):
    assert folder.is_dir()
    return digits(size=size)


def no_data():
    return [1, 2]


def failing_data():
    raise ValueError("the disk is away")


def weight_count(network, *, data, scale: float = 1e-6):
    assert data.labels == tuple("0123456789")
    return scale * sum(parameter.numel() for parameter in network.parameters())


def two_scores(network):
    return {"f1": 0.5, "loss": float(sum(parameter.numel() for parameter in network.parameters()))}


class Untrained(Classification):
    """Trains nothing, and scores the weights as they are."""

    def __init__(self, data, recipe):
        super().__init__(datamodule=data, num_classes=len(data.labels), max_epochs=recipe.epochs)


class OtherScore(Evaluator):
    """Gives its scores under the name "default", which is maximized."""

    def evaluate(self, space, arch, trial):
        return {"default": 0.5}
'''

JOB = """
name: own
space: {name: "mypkg.spaces:Small"}
data: {name: digits, settings: {size: 16}}
strategy: {name: Random}
recipe: {epochs: 1}
budget: {trials: 1}
publish: {name: own, formats: [onnx], profile_seconds: 0.2}
"""


def write_package(folder: Path, name: str = "mypkg") -> Path:
    """Writes the modules NAME.spaces and NAME.searching into `folder` and returns it."""
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "spaces.py").write_text(SPACES)
    (package / "searching.py").write_text(SEARCHING)
    return folder


def write_distribution(folder: Path, name: str, version: str, entry_points: str) -> None:
    """Writes the metadata of an installed distribution whose files are the package `name` in `folder`."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(entry_points)
    (info / "top_level.txt").write_text(f"{name}\n")
    (info / "RECORD").write_text("".join(f"{path.relative_to(folder)},,\n" for path in sorted(folder.rglob("*.*"))))
