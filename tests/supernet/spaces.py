"""Every space of the hub, so small that its supernet is built and run in a moment, and a few spaces of one's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from hubserve.hub import (
    DARTS,
    ENAS,
    PNAS,
    AmoebaNet,
    AutoFormer,
    MobileNetV3Space,
    NasBench101,
    NasBench201,
    NASNet,
    ProxylessNAS,
    ShuffleNetSpace,
)
from hubserve.space import ModelSpace

SIZE = 16
"""Height and width of the images of all these spaces."""


class TwoNodes:
    """Cells of two nodes in place of four or five."""

    n_nodes: ClassVar[int] = 2


@dataclass(frozen=True)
class TinyNASNet(TwoNodes, NASNet):
    pass


@dataclass(frozen=True)
class TinyENAS(TwoNodes, ENAS):
    pass


@dataclass(frozen=True)
class TinyAmoebaNet(TwoNodes, AmoebaNet):
    pass


@dataclass(frozen=True)
class TinyPNAS(TwoNodes, PNAS):
    pass


@dataclass(frozen=True)
class TinyDARTS(TwoNodes, DARTS):
    pass


CELLS = {"width": (4, 6), "num_cells": (3, 4)}

TINY: dict[str, ModelSpace] = {
    "NasBench101": NasBench101(stem_out_channels=8, num_stacks=2, num_modules_per_stack=1),
    "NasBench201": NasBench201(stem_out_channels=4, num_modules_per_stack=1),
    "NASNet": TinyNASNet(**CELLS),
    "ENAS": TinyENAS(**CELLS),
    "AmoebaNet": TinyAmoebaNet(**CELLS),
    "PNAS": TinyPNAS(**CELLS),
    "DARTS": TinyDARTS(**CELLS),
    "ProxylessNAS": ProxylessNAS(num_labels=10, base_widths=(8, 8, 8, 8, 8, 8, 8, 8, 16)),
    "MobileNetV3Space": MobileNetV3Space(
        num_labels=10,
        base_widths=(8, 8, 8, 16, 16, 16, 16, 16, 16),
        width_multipliers=(1.0, 2.0),
        expand_ratios=(1.0, 2.0, 3.0),
        depth_range=(1, 2),
    ),
    "ShuffleNetSpace": ShuffleNetSpace(num_labels=10),
    "AutoFormer": AutoFormer(
        search_embed_dim=(48, 64),
        search_num_heads=(1, 2),
        search_depth=(2, 3),
        img_size=SIZE,
        patch_size=4,
        num_labels=10,
    ),
}

CHANNELS = replace(TINY["ShuffleNetSpace"], channel_search=True)


@dataclass(frozen=True)
class Small(ModelSpace):
    """The space of the README."""

    num_labels: int = 10

    def build(self, pick):
        width = pick("width", (16, 32, 64))
        blocks = pick.repeat(
            "depth",
            (1, 3),
            lambda i: nn.Sequential(
                pick.layer(
                    f"op_{i}",
                    {
                        "conv": lambda: nn.Conv2d(width, width, pick(f"ks_{i}", (3, 5)), padding="same"),
                        "pool": lambda: nn.MaxPool2d(3, stride=1, padding=1),
                    },
                ),
                nn.ReLU(),
            ),
        )
        return nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, self.num_labels)
        )


def images(batch: int = 2, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
