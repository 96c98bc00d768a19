"""Makes the optimizer of `LayerTraining`, and computes the factor of its learning rates in the course of the training."""

from collections.abc import Collection

import torch
from torch import nn

from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.training.optimizers_and_schedules import SCHEDULES


def layer_optimizer(rest: nn.Module, head: Collection[nn.Module], recipe: FineTuneRecipe) -> torch.optim.Optimizer:
    """Returns SGD with Nesterov momentum 0.9; the head and the body have learning rates of their own.

    Only parameters with two or more dimensions have weight decay, so biases and batch norm layers have none.

    Args:
        rest: Layers that are trained, the head included. Parameters that require no gradient are left out.
        head: Modules of the head and of auxiliary heads.
        recipe: Recipe whose `learning_rate`, `body_rate` and `weight_decay` are used. With the `body_rate` 0, the parameters
            outside of `head` are set to require no gradient.
    """
    of_head = {parameter for module in head for parameter in module.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in rest.parameters():
        is_head = parameter in of_head
        if not is_head and recipe.body_rate == 0:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((is_head, parameter.dim() > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "lr": recipe.learning_rate * (1.0 if is_head else recipe.body_rate),
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ],
        momentum=0.9,
        nesterov=True,
    )


def rate_factor(share: float, warm_up: float) -> float:
    """Returns the factor, in [0, 1], by which the learning rate is multiplied: it rises linearly, then falls along a cosine.

    Args:
        share: Used share of the budget, in [0, 1]; below 0.001 counts as 0.001 in the warm-up, so that the factor is above 0.
        warm_up: Share of the budget, in [0, 1), in which the factor rises.
    """
    rising = min(1.0, max(share, 1e-3) / warm_up) if warm_up > 0 else 1.0
    return rising * SCHEDULES["cosine"](max(0.0, share - warm_up) / (1 - warm_up))
