"""Somebody's own model with other inputs than images: indices of words with a mask, of any length, and two outputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor, nn

from hubserve.export.model_source import ModelSource, arch_source
from hubserve.export.write_package import write_package
from hubserve.hub.registry import get_space
from hubserve.package.manifest import InputEntry, OutputEntry
from hubserve.package.package import Package
from hubserve.space import ModelSpace, Picker

WORDS, TAGS, LONGEST = 40, 5, 64


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        scores = query @ key.transpose(1, 2) / key.shape[-1] ** 0.5
        return x + self.out(scores.masked_fill(mask[:, None] == 0, -1e9).softmax(-1) @ value)


class Mixing(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + self.conv((x * mask[..., None]).transpose(1, 2)).relu().transpose(1, 2)


class TaggerNetwork(nn.Module):
    def __init__(self, width: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width), nn.Embedding(LONGEST, width)
        self.layers = nn.ModuleList(layers)
        self.tag = nn.Linear(width, TAGS)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.words(ids) + self.places(places)
        for layer in self.layers:
            x = layer(x, mask)
        x = x * mask[..., None]
        return self.tag(x), x.sum(1) / mask.sum(1, keepdim=True)


@dataclass(frozen=True)
class Tagger(ModelSpace):
    """Networks that score each word of a sentence, and describe the sentence."""

    width: int = 8

    @property
    def inputs(self) -> tuple[InputEntry, ...]:
        shape, axes = ("batch", "length"), {"length": (1, LONGEST)}
        ids = InputEntry(
            name="ids", dtype="int64", shape=shape, prepared_by="none", lowest=0, highest=WORDS - 1, padding=0, axes=axes
        )
        mask = InputEntry(
            name="mask", dtype="int64", shape=shape, prepared_by="none", lowest=0, highest=1, padding=0, axes=axes
        )
        return ids, mask

    @property
    def outputs(self) -> tuple[OutputEntry, ...]:
        scores = OutputEntry(name="scores", dtype="float32", shape=("batch", "length", TAGS), meaning="other")
        return scores, OutputEntry(name="summary", dtype="float32", shape=("batch", self.width), meaning="other")

    def build(self, pick: Picker) -> nn.Module:
        kinds = {"attention": lambda: Attention(self.width), "mixing": lambda: Mixing(self.width)}
        return TaggerNetwork(self.width, [pick.layer(f"layer{i}", kinds) for i in range(2)])


ARCH = {"layer0": "attention", "layer1": "mixing"}


def tagger_source(name: str = "tagger") -> ModelSource:
    torch.manual_seed(0)
    space = get_space("tests.other_inputs:Tagger")
    return arch_source(space, {}, ARCH, name=name)


@cache
def tagger_package() -> Package:
    """A package of the model in the three formats, written once; it is not to be changed."""
    return write_package(tagger_source(), Path(mkdtemp(prefix="hubserve-tagger.")) / "tagger")
