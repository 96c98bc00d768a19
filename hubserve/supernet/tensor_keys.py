"""Which tensor of one network is which of another: keys that tensors of equal meaning share, whatever the arch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from hubserve.space import FrozenPicker


@dataclass(frozen=True)
class Slot:
    """A place in a network where a tensor of the supernet goes.

    Attributes:
        owner: the module whose parameter or buffer it is.
        name: of the tensor in its owner.
        path: of the tensor in the network, as in its state dict.
        key: of the shared tensor.
        is_buffer: whether it is a buffer.
    """

    owner: nn.Module
    name: str
    path: str
    key: str
    is_buffer: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor that the network was built with."""
        return tuple(self.tensor.shape)

    @property
    def tensor(self) -> Any:
        """What is there now."""
        return (self.owner._buffers if self.is_buffer else self.owner._parameters)[self.name]

    @property
    def centred(self) -> bool:
        """Whether a smaller kernel is the middle of the largest."""
        return isinstance(self.owner, _ConvNd) and self.name == "weight"

    @property
    def is_shared(self) -> bool:
        """Parameters and the statistics of norms are; any other buffer is a constant of its arch."""
        return not self.is_buffer or isinstance(self.owner, _NormBase)

    def put(self, tensor: Any) -> None:
        """Puts `tensor` there: a module reads it as its own."""
        (self.owner._buffers if self.is_buffer else self.owner._parameters)[self.name] = tensor


class Tags:
    """Remembers of modules under which answers they were made; "label=candidate", the outer ones first."""

    def __init__(self) -> None:
        self._tags: dict[int, tuple[str, ...]] = {}
        self._kept: list[nn.Module] = []

    def add(self, module: nn.Module, label: str, answer: Any) -> nn.Module:
        """Notes that `module` stands for `answer` to `label`, and gives it back."""
        # torch forbids dots in the names of parameters.
        tag = f"{label}={answer}".replace(".", "\u2024")
        known = self._tags.get(id(module), ())
        if tag not in known:
            self._tags[id(module)] = (tag, *known)
            self._kept.append(module)  # An id must not be given anew while it counts here.
        return module

    def of(self, module: nn.Module) -> str:
        """All tags of a module as one text, or nothing."""
        return "".join(f"[{tag}]" for tag in self._tags.get(id(module), ()))


class Transparent(nn.Module):
    """A wrapper that keys do not see.

    Attributes:
        inner: what is wrapped.
    """

    inner: nn.Module


class Alternatives(nn.Module):
    """Stands where one of its candidates stands in a single network.

    Attributes:
        candidates: each of them tagged, so that keys know whose they are.
    """

    def __init__(self, candidates: Iterable[nn.Module]) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(candidates)


class TaggingPicker(FrozenPicker):
    """Answers from an arch and tags the layers that stand for an answer."""

    def __init__(self, arch: Mapping[str, Any], tags: Tags) -> None:
        super().__init__(arch)
        self._tags = tags

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        return super().layer(label, {name: partial(self._made, label, name, make) for name, make in candidates.items()})

    def edges(
        self, label: str, n_candidates: int, make: Callable[[int], nn.Module], n_chosen: int | None = 1
    ) -> list[tuple[nn.Module, int]]:
        return super().edges(label, n_candidates, lambda i: self._tags.add(make(i), label, i), n_chosen)

    def _made(self, label: str, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        return self._tags.add(make(), label, name)


class EveryLayerPicker(TaggingPicker):
    """Answers values from an arch, and builds all candidates of a layer choice, and layers on all inputs.

    Attributes:
        opened: labels of those choices.
    """

    def __init__(self, arch: Mapping[str, Any], tags: Tags) -> None:
        super().__init__(arch, tags)
        self.opened: set[str] = set()

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        self.opened.add(label)
        return Alternatives([self._made(label, name, make) for name, make in candidates.items()])

    def edges(
        self, label: str, n_candidates: int, make: Callable[[int], nn.Module], n_chosen: int | None = 1
    ) -> list[tuple[nn.Module, int]]:
        self.opened.add(label)
        return [(self._tags.add(make(i), label, i), i) for i in range(n_candidates)]


def slots(network: nn.Module, tags: Tags) -> list[Slot]:
    """The places of all tensors of `network`, with keys that do not depend on how the rest of the network was picked.

    A key is the path of the tensor, except that
    - a tagged module is known by its tags, so that candidates of a layer choice, and layers on different inputs, have
      weights of their own, wherever in their list they stand;
    - other members of an `nn.Sequential` are known by their type and by how many of that type come before them, since their
      numbers shift where an optional member is left out;
    - the last module is named with its type: a place may hold modules of different kinds, which share nothing.
    """
    found: list[Slot] = []
    keys: dict[int, str] = {}
    for module, path, key in _walk(network, tags):
        for name, tensor, is_buffer in _own_tensors(module):
            # A tensor that stands at several places has the key of the first.
            shared = keys.setdefault(id(tensor), f"{key}:{type(module).__name__}/{name}" if key else name)
            found.append(Slot(module, name, f"{path}.{name}".lstrip("."), shared, is_buffer))
    return found


def kinds(network: nn.Module, tags: Tags) -> dict[str, nn.Module]:
    """All modules of `network` by key and type, in the same keys."""
    return {f"{key}:{type(module).__name__}": module for module, _, key in _walk(network, tags)}


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    yield from ((name, tensor, False) for name, tensor in module._parameters.items() if tensor is not None)
    yield from ((name, tensor, True) for name, tensor in module._buffers.items() if tensor is not None)


def _walk(network: nn.Module, tags: Tags) -> Iterator[tuple[nn.Module, str, str]]:
    """Every module once, with its path and its key."""
    seen: set[int] = set()

    def visit(module: nn.Module, path: str, key: str) -> Iterator[tuple[nn.Module, str, str]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        if isinstance(module, Transparent):
            yield from visit(module.inner, f"{path}.inner", key)
            return
        if isinstance(module, Alternatives):
            # The key so far ends in the tag of what all candidates have in common; each adds its own.
            for i, candidate in enumerate(module.candidates):
                yield from visit(candidate, f"{path}.candidates.{i}", key + tags.of(_bare(candidate)))
            return
        yield module, path, key
        for name, child, component in _children(module, tags):
            yield from visit(child, f"{path}.{name}".lstrip("."), f"{key}/{component}".lstrip("/"))

    yield from visit(network, "", "")


def _children(module: nn.Module, tags: Tags) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, child, and the child's part of the key."""
    counts: Counter[str] = Counter()
    in_a_row = isinstance(module, nn.Sequential)
    for name, child in module._modules.items():
        if child is None:
            continue
        inner = _bare(child)
        tag = tags.of(inner)
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and (tag or isinstance(inner, Alternatives)):
            base = tag or _question(inner, tags)
            counts[base] += 1
            yield name, child, tag if counts[base] == 1 else f"{counts[base] - 1}{tag}"
        elif in_a_row:
            kind = type(inner).__name__
            yield name, child, f"{kind}{counts[kind]}"
            counts[kind] += 1
        else:
            yield name, child, f"{name}{tag}"


def _bare(module: nn.Module) -> nn.Module:
    while isinstance(module, Transparent):
        module = module.inner
    return module


def _question(alternatives: nn.Module, tags: Tags) -> str:
    """What tells the alternatives of one choice from those of another in the same list."""
    return tags.of(_bare(alternatives.candidates[0])) if isinstance(alternatives, Alternatives) else ""
