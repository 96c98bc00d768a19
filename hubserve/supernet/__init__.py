"""Networks of a space that share their weights."""

from __future__ import annotations

from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_supernet import BlendedSupernet
from hubserve.supernet.calibration import recalibrate_batch_norm
from hubserve.supernet.optimizer import SharedOptimizer
from hubserve.supernet.supernet import Subnet, Supernet

__all__ = ["Blend", "BlendedSupernet", "SharedOptimizer", "Subnet", "Supernet", "recalibrate_batch_norm"]
