"""`split_network`: divides a network into early layers, whose weights are kept, and the rest, which is trained."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hubserve.jobs.fine_tune_recipe import FineTuneRecipe

EARLY_WEIGHTS = 0.03
"""Largest share of a network's weights that its early layers may have, in [0, 1].

In mobile networks, early layers with 3 % of the weights take more than half of the time of a training step. They compute edges,
colours and simple textures, which are useful for images of any kind."""


@dataclass(frozen=True)
class SplitNetwork:
    """A network divided into two parts that share its modules: `rest(early(x))` equals the output of the network for `x`.

    Attributes:
        early: Early layers, which compute features from preprocessed images; None if the network is not divided.
        rest: Other layers, which compute logits from the features; if the network is not divided, all layers.
        shape: Shape of the features of one image; None if the network is not divided.
    """

    early: nn.Module | None
    rest: nn.Module
    shape: tuple[int, ...] | None = None


def split_for(model: nn.Module, example: Tensor, recipe: FineTuneRecipe) -> SplitNetwork:
    """Divides a network after its early layers if the recipe has early_layers = "frozen", as `split_network` does.

    With "train", or if the network is untrained (`is_untrained`) or cannot be divided, `early` and `shape` of the result are
    None.

    Args:
        model: Network in eval mode.
        example: Preprocessed images of the size that is trained, (2, 3, height, width) float32.
        recipe: Recipe, of which `early_layers` is used.
    """
    is_divided = recipe.early_layers == "frozen" and not is_untrained(model)
    return split_network(model, example, share=EARLY_WEIGHTS if is_divided else 0.0)


def is_untrained(model: nn.Module) -> bool:
    """Returns whether the network has batch norms and all of them have the running statistics with which they begin.

    In eval mode the features of such a network say nothing: from layer to layer, their numbers become smaller.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    # With track_running_stats, both are tensors.
    return bool(norms) and all(bool((norm.running_mean == 0).all() and (norm.running_var == 1).all()) for norm in norms)  # type: ignore[union-attr]


def split_network(model: nn.Module, example: Tensor, *, share: float = EARLY_WEIGHTS) -> SplitNetwork:
    """Divides a network after one of its early layers, on whose output alone all later layers depend.

    Of the layers up to which the network has a share of its weights above 0 and at most `share`, the last one is taken whose
    output has no more numbers than an image.

    A network is not divided if torch.fx cannot trace it, if it computes other layers in training mode than in eval mode (as
    auxiliary heads do), or if it has no such layer.

    Args:
        model: Network in eval mode. It is not changed.
        example: Preprocessed images of the size that is trained, (2, 3, height, width) float32.
        share: Largest share of the weights that the early layers may have, in [0, 1]; 0 does not divide the network.
    """
    graph = trace(model) if share > 0 else None
    if graph is None:
        return SplitNetwork(None, model)
    shapes = _output_shapes(graph, model, example)
    total = sum(parameter.numel() for parameter in model.parameters())
    before, chosen = 0, None
    places = set(_bottlenecks(graph))
    for node in graph.nodes:
        before += _weights(node, model)
        if before > share * total:
            break
        shape = shapes.get(node.name)
        if node in places and shape is not None and shape.numel() <= example[0].numel() and before:
            chosen = node
    if chosen is None:
        return SplitNetwork(None, model)
    return SplitNetwork(*_parts(graph, chosen, model), tuple(shapes[chosen.name]))


class _Tracer(fx.Tracer):
    """A tracer of torch.fx that records a module without submodules as one call, since such modules may branch on shapes."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or next(m.children(), None) is None


def trace(model: nn.Module) -> fx.Graph | None:
    """Returns the traced graph of `model`, or None if it cannot be traced or differs between training and evaluation."""
    found = []
    training = model.training
    try:
        for mode in (True, False):
            found.append(_Tracer().trace(model.train(mode)))
    except Exception:  # torch.fx has no common base of its exceptions.
        return None
    finally:
        model.train(training)
    names = [[(node.op, str(node.target)) for node in graph.nodes] for graph in found]
    return found[1] if names[0] == names[1] else None


def _bottlenecks(graph: fx.Graph) -> Iterator[fx.Node]:
    """Yields the nodes whose output is the only value that later nodes use of all earlier computation."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    reach = 0
    for index, node in enumerate(graph.nodes):
        if index > 0 and reach <= index and node.op.startswith("call_"):
            yield node
        if node.op != "get_attr":
            reach = max(reach, *(place[user] for user in node.users), 0)


def _weights(node: fx.Node, model: nn.Module) -> int:
    """Returns the number of weights of the module that a node calls, or of the parameter that it reads; 0 for other nodes."""
    if node.op == "call_module":
        return sum(parameter.numel() for parameter in model.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        value = getattr(model.get_submodule(owner), name)
        return value.numel() if isinstance(value, nn.Parameter) else 0
    return 0


def _output_shapes(graph: fx.Graph, model: nn.Module, example: Tensor) -> dict[str, torch.Size]:
    """Returns the shape of the output of each node, without the batch dimension, by the name of the node.

    Only nodes are included whose output is one floating-point tensor with the batch as its first dimension.
    """
    shapes: dict[str, torch.Size] = {}

    class ShapeRecorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1 and len(value) == len(example):
                shapes[n.name] = value.shape[1:]
            return value

    with torch.no_grad():
        ShapeRecorder(fx.GraphModule(model, graph)).run(example)
    return shapes


def _parts(graph: fx.Graph, last: fx.Node, model: nn.Module) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Returns two modules: one computes all nodes up to and including `last`, the other computes the nodes after it."""
    early, rest = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copies[node] = early.node_copy(node, lambda used: copies[used])
        if node is last:
            break
    early.output(copies[last])
    after = {last: rest.placeholder("features")}

    def in_rest(used: fx.Node) -> fx.Node:
        if used not in after:  # A tensor of the model that was read before.
            after[used] = rest.node_copy(used, in_rest)
        return after[used]

    behind = False
    for node in graph.nodes:
        if behind and node not in after:
            after[node] = rest.node_copy(node, in_rest)
        behind = behind or node is last
    return fx.GraphModule(model, early), fx.GraphModule(model, rest)
