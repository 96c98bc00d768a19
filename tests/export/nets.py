"""Small networks for the tests of export."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from hubserve.export.model_source import ModelSource
from hubserve.hub import ProxylessNAS
from hubserve.hub.mobile_tensor_names import timm
from hubserve.package.manifest import Provenance
from hubserve.preprocess import Preprocess

SETTINGS = {"num_labels": 7, "base_widths": (8, 8, 8, 8, 16, 16, 16, 24, 32), "padding": "same"}
ARCH = {
    "s2_depth": 1,
    "s2_i0": "k3e3",
    "s3_depth": 2,
    "s3_i0": "k5e3",
    "s3_i1": "k3e6",
    "s4_depth": 1,
    "s4_i0": "k3e3",
    "s5_depth": 1,
    "s5_i0": "k7e3",
    "s6_depth": 1,
    "s6_i0": "k3e3",
    "s7_i0": "k3e3",
}


def write_timm_weights(path: Path, settings: Mapping[str, Any] = SETTINGS) -> Path:
    """Writes fresh weights of the small network, in timm's names."""
    model = ProxylessNAS(**settings).freeze(ARCH)
    theirs = timm(model)
    state = {}
    for key, tensor in model.state_dict().items():
        module, _, name = key.rpartition(".")
        state[f"{theirs[module]}.{name}"] = tensor.contiguous()
    save_file(state, path)
    return path


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norm statistics and a classifier that make logits differ from image to image."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.num_features, generator=generator))
            module.running_var.copy_(1 + 0.1 * torch.rand(module.num_features, generator=generator))
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
        if isinstance(module, nn.Linear):
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * 0.3
    return model.eval()


def small_source(name: str = "small", seed: int = 0) -> ModelSource:
    """A ProxylessNAS subnet of 7 classes for images of 32 x 32."""
    return ModelSource(
        name=name,
        model=lively(ProxylessNAS(**SETTINGS).freeze(ARCH), seed),
        space="ProxylessNAS",
        settings=SETTINGS,
        arch=ARCH,
        preprocess=Preprocess(input_size=32, resize=36),
        labels=tuple(f"kind {i}" for i in range(7)),
        provenance=Provenance(),
    )
