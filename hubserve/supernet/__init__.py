"""Networks of a space that share their weights.

docs/supernets.md explains keys, windows, blends, masks and the blending plan.
"""

from hubserve.supernet.batch_norm_statistics import recalibrate_batch_norm
from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_supernet import BlendedSupernet
from hubserve.supernet.shared_optimizer import SharedOptimizer
from hubserve.supernet.supernet import Subnet, Supernet

__all__ = ["Blend", "BlendedSupernet", "SharedOptimizer", "Subnet", "Supernet", "recalibrate_batch_norm"]
