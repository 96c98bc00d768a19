"""Masks, by which tensors are multiplied in a blended network so that it computes what a smaller network would.

docs/supernets.md shows masks in a drawing.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from hubserve.space import Choice
from hubserve.supernet.blend import Blend
from hubserve.supernet.network_shapes import NetworkShapesCache
from hubserve.supernet.probe_archs import other_answers
from hubserve.supernet.shared_tensors import window_mask
from hubserve.supernet.tensor_keys import NetworkTensor

MAX_JOINT = 1024
"""Largest number of networks that are built to find how several choices together decide the length of an axis."""

Shapes = dict[str, tuple[int, ...]]
"""Maps the key of each tensor of one network to its shape."""


@dataclass(frozen=True)
class Mask:
    """Says which positions along the masked axes of a tensor are used, for each combination of candidates of some choices.

    Attributes:
        labels: Labels of the choices whose candidates together decide the mask.
        table: 1 if the network with this combination of candidates has the position, else 0. Its shape is the number of
            candidates of each label, in the order of `labels`, followed by the length of each masked axis.
    """

    labels: tuple[str, ...]
    table: torch.Tensor

    def keep(self, blends: Mapping[str, Blend]) -> torch.Tensor:
        """Returns the expected mask when each label's candidate is drawn with its weight as probability: numbers in [0, 1].

        Its shape is the length of each masked axis, in order.

        Args:
            blends: Maps at least the labels of this mask to their blends.
        """
        first = blends[self.labels[0]].weights
        kept = self.table.to(first.device, first.dtype)
        for label in self.labels:
            kept = torch.tensordot(blends[label].weights, kept, dims=1)
        return kept


@dataclass(frozen=True)
class MaskedAxes:
    """A mask and the axes of a tensor to which it applies.

    Attributes:
        key: Key of the tensor.
        axes: Indices of the masked axes: one axis, or several axes of a convolution's kernel.
        mask: The mask; tensors with equal masks share one `Mask` object.
    """

    key: str
    axes: tuple[int, ...]
    mask: Mask

    def apply(self, tensor: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Returns `tensor` multiplied by `keep`, the result of `mask.keep`, along the masked axes."""
        return tensor * keep.view([size if axis in self.axes else 1 for axis, size in enumerate(tensor.shape)])


def find_masks(
    networks: NetworkShapesCache, base: Mapping[str, Any], choices: Sequence[Choice], *, everywhere: bool
) -> list[MaskedAxes]:
    """Returns the masks of all tensors whose shapes depend on `choices`; an empty list if there are no choices.

    Args:
        networks: The shapes of the space's networks.
        base: Answers to all labels that give the largest network. Other answers are tried by changing these.
        choices: Choices whose answer is one number or name and changes the shapes of tensors.
        everywhere: True masks every axis that the choices change. False masks only the outputs of layers (or of the norm that
            follows a layer): the masked channels are then 0, so the inputs of the next layer need no mask.
    """
    if not choices:
        return []
    deciding = _deciding_labels(networks, base, choices)
    wanted = {place: labels for place, labels in deciding.items() if everywhere or _masks_outputs(*place)}
    seen = _joint_shapes(networks, base, choices, set(wanted.values()))
    tables = _MaskTables({choice.label: choice for choice in choices}, seen)
    return [MaskedAxes(tensor.key, axes, tables.mask(tensor, axes, labels)) for (tensor, axes), labels in wanted.items()]


def _deciding_labels(
    networks: NetworkShapesCache, base: Mapping[str, Any], choices: Sequence[Choice]
) -> dict[tuple[NetworkTensor, tuple[int, ...]], tuple[str, ...]]:
    """Returns a dict from (tensor, axes) to the labels on which the lengths of these axes depend.

    The axes of a kernel that depend on the same labels are one entry; any other axis is an entry of its own.
    """
    whole = networks.get(base)
    parameters = {} if whole is None else {key: tensor for key, tensor in whole.tensors.items() if not tensor.is_buffer}
    on: dict[tuple[str, int], list[str]] = {}
    for choice in choices:
        for answer in other_answers(choice, base[choice.label]):
            for key, shape in networks.shapes({**base, choice.label: answer}).items():
                for axis, size in enumerate(shape):
                    if key in parameters and size != parameters[key].shape[axis]:
                        labels = on.setdefault((key, axis), [])
                        labels += [choice.label] if choice.label not in labels else []
    together: dict[tuple[NetworkTensor, tuple[int, ...]], tuple[str, ...]] = {}
    for (key, axis), labels in sorted(on.items()):
        tensor = parameters[key]
        if tensor.centred and axis > 2 and on.get((key, 2)) == labels:
            axes = tuple(a for a in range(2, axis) if on.get((key, a)) == labels)
            together.pop((tensor, axes), None)
            together[(tensor, (*axes, axis))] = tuple(labels)
        else:
            together[(tensor, (axis,))] = tuple(labels)
    return together


def _masks_outputs(tensor: NetworkTensor, axes: tuple[int, ...]) -> bool:
    """Returns whether these axes are masked when only the outputs of layers are masked.

    They are unless they are the input channels of a convolution or linear layer, or the output channels of a convolution
    without bias, whose norm is masked instead.
    """
    if len(tensor.shape) == 1 or axes[0] >= 2:
        return True
    if isinstance(tensor.owner, _ConvNd) and tensor.name == "weight":
        return axes[0] == 0 and tensor.owner.bias is not None
    if isinstance(tensor.owner, nn.Linear):
        return axes[0] == 0
    return True


def _joint_shapes(
    networks: NetworkShapesCache, base: Mapping[str, Any], choices: Sequence[Choice], groups: set[tuple[str, ...]]
) -> list[tuple[dict[str, int], Shapes]]:
    """Returns the tensor shapes of networks that together show every combination of candidates of each group of labels.

    Labels that are in no common group can change at the same time, which saves networks: each label gets a colour, different
    from those of all labels with which it shares a group (greedy graph colouring), and labels of one colour change together. At
    most `MAX_JOINT` networks are built.

    Args:
        networks: The shapes of the space's networks.
        base: Answers to all labels; labels that are in no group keep these.
        choices: The choices to change.
        groups: Each group holds the labels that together decide the length of an axis.

    Returns:
        A pair for each network: a dict from label to the index of its candidate, and the shapes.
    """
    # Other choices stay as in `base`: the tensors of layers that they leave out would not be seen.
    choices = [choice for choice in choices if any(choice.label in group for group in groups)]
    colour: dict[str, int] = {}
    for choice in choices:
        taken = {colour[other] for group in groups if choice.label in group for other in group if other in colour}
        colour[choice.label] = next(c for c in itertools.count() if c not in taken)
    sizes = [0] * (1 + max(colour.values(), default=-1))
    for choice in choices:
        sizes[colour[choice.label]] = max(sizes[colour[choice.label]], choice.size)
    found = []
    for combination in itertools.islice(itertools.product(*map(range, sizes)), MAX_JOINT):
        indices = {choice.label: combination[colour[choice.label]] % choice.size for choice in choices}
        answers = {choice.label: choice.candidates[indices[choice.label]] for choice in choices}
        found.append((indices, networks.shapes({**base, **answers})))
    return found


class _MaskTables:
    """Makes masks from the shapes that tensors have for each combination of candidates.

    Equal masks are returned as the same object.

    Args:
        choices: Maps labels to choices.
        seen: What `_joint_shapes` returned.
    """

    def __init__(self, choices: Mapping[str, Choice], seen: Sequence[tuple[dict[str, int], Shapes]]) -> None:
        self._choices = choices
        self._seen = seen
        self._made: dict[Any, Mask] = {}

    def mask(self, tensor: NetworkTensor, axes: tuple[int, ...], labels: tuple[str, ...]) -> Mask:
        """Returns the mask of `axes` of `tensor`, whose lengths depend on `labels`."""
        sizes = [self._choices[label].size for label in labels]
        full = tuple(tensor.shape[axis] for axis in axes)
        lengths: dict[tuple[int, ...], tuple[int, ...]] = {}
        for indices, shapes in self._seen:
            if tensor.key in shapes:
                combination = tuple(indices[label] for label in labels)
                lengths.setdefault(combination, tuple(shapes[tensor.key][axis] for axis in axes))
        centred = tensor.centred and axes[0] >= 2
        identity = (labels, full, centred, tuple(sorted(lengths.items())))
        if identity not in self._made:
            # A combination that no network showed keeps everything.
            table = torch.ones(*sizes, *full)
            for combination, kept in lengths.items():
                for i, size in enumerate(kept):
                    along = window_mask(full[i], size, centred=centred)
                    table[combination] *= along.view([-1 if j == i else 1 for j in range(len(axes))])
            self._made[identity] = Mask(labels, table)
        return self._made[identity]
