"""What every network must pass: each exported form, loaded from its file, answers as eager PyTorch at several batch sizes.

So do the features of the ONNX file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hubserve.export.eager_runner import EagerRunner
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import DEFAULT_FORMATS
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.parity import check_features, check_parity, random_batches


def assert_exports(model: nn.Module, size: int, folder: Path) -> None:
    batches = random_batches((3, size, size), sizes=(1, 2, 3))
    exportable = ExportableModel(model, torch.from_numpy(batches[1]))
    eager = EagerRunner(model)
    for name in DEFAULT_FORMATS:
        path = folder / FORMATS[name].file
        WRITERS[name](exportable, path)
        runner = FORMATS[name].load(path, 1, "cpu")
        assert check_parity(eager, runner, batches).passed
        if isinstance(runner, OnnxRunner):
            assert runner.has_features
            assert runner.with_features(batches[0])[1].shape == (1, exportable.feature_width)
            check_features(eager, runner, batches)
