"""Supernets: networks of a space that share their weights, as subnets (`Supernet`) or all at once (`BlendedSupernet`)."""

from hubserve.supernet.batch_norm_statistics import recalibrate_batch_norm
from hubserve.supernet.blend import Blend
from hubserve.supernet.blended_supernet import BlendedSupernet
from hubserve.supernet.shared_optimizer import SharedOptimizer
from hubserve.supernet.supernet import Subnet, Supernet

__all__ = ["Blend", "BlendedSupernet", "SharedOptimizer", "Subnet", "Supernet", "recalibrate_batch_norm"]
