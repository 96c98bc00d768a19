"""The optimizer of `LayerTraining`, and the course of its learning rates."""

from collections.abc import Collection

import torch
from torch import nn

from hubserve.jobs.fine_tune_recipe import FineTuneRecipe
from hubserve.training.optimizers_and_schedules import SCHEDULES


def layer_optimizer(rest: nn.Module, head: Collection[nn.Module], recipe: FineTuneRecipe) -> torch.optim.Optimizer:
    """Returns SGD with Nesterov momentum; the head and the body have learning rates of their own.

    Only parameters with two or more dimensions have weight decay, so biases and batch norm layers have none.
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
    """Returns the factor, in [0, 1], by which the learning rate is multiplied once the share `share` of the budget is used."""
    rising = min(1.0, max(share, 1e-3) / warm_up) if warm_up > 0 else 1.0
    return rising * SCHEDULES["cosine"](max(0.0, share - warm_up) / (1 - warm_up))
