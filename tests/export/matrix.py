"""What every network must pass: each exported form, loaded from its file, answers as eager PyTorch at several batch sizes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hubserve.export.eager import EagerRunner
from hubserve.export.exportable_model import Exportable
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import DEFAULT_FORMATS
from hubserve.package.parity import check_parity, random_batches


def assert_exports(model: nn.Module, size: int, folder: Path) -> None:
    batches = random_batches((3, size, size), sizes=(1, 2, 3))
    exportable = Exportable(model, torch.from_numpy(batches[1]))
    eager = EagerRunner(model)
    for form in map(FORMATS.__getitem__, DEFAULT_FORMATS):
        form.write(exportable, folder / form.file)
        assert check_parity(eager, form.load(folder / form.file, 1, "cpu"), batches).passed
