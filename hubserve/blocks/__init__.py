"""Building blocks of networks, for the spaces of the hub and for your own spaces.

`LayerChoice`, `InputChoice`, `Repeat`, `Cell.ask` and `AutoActivation` define choices of the search; their first argument is
the picker that `ModelSpace.build` receives. All other blocks are ordinary torch modules without choices. `ConvStyle.conv` does
not initialise the weights of its convolutions: a space initialises the whole network once, by the rule of its paper, for
example with `init_mobile_weights`.
"""

from hubserve.blocks.auto_activation import AutoActivation
from hubserve.blocks.cell import Cell
from hubserve.blocks.cell_network import AuxiliaryHead, CifarCellNetwork, ImageNetCellNetwork
from hubserve.blocks.choice_layers import InputChoice, LayerChoice, Repeat
from hubserve.blocks.conv import ConvStyle, SameConv2d
from hubserve.blocks.drop_path import DropPath, drop_path
from hubserve.blocks.mobile import (
    MobileBlock,
    SqueezeExcite,
    depthwise_separable,
    init_mobile_weights,
    inverted_residual,
    make_divisible,
)
from hubserve.blocks.nasbench101 import NasBench101Cell
from hubserve.blocks.nasbench201 import NasBench201Cell, ReductionBlock
from hubserve.blocks.nasnet_operations import OPERATIONS, FactorizedReduce, relu_conv_bn
from hubserve.blocks.shuffle import ShuffleBlock, shuffle_block, xception_block

__all__ = [
    "OPERATIONS",
    "AutoActivation",
    "AuxiliaryHead",
    "Cell",
    "CifarCellNetwork",
    "ConvStyle",
    "DropPath",
    "FactorizedReduce",
    "ImageNetCellNetwork",
    "InputChoice",
    "LayerChoice",
    "MobileBlock",
    "NasBench101Cell",
    "NasBench201Cell",
    "ReductionBlock",
    "Repeat",
    "SameConv2d",
    "ShuffleBlock",
    "SqueezeExcite",
    "depthwise_separable",
    "drop_path",
    "init_mobile_weights",
    "inverted_residual",
    "make_divisible",
    "relu_conv_bn",
    "shuffle_block",
    "xception_block",
]
