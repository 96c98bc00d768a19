"""Keys of shared tensors: which tensor of one network is which of another.

docs/supernets.md explains keys, windows, blends and masks with drawings.
"""

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
class NetworkTensor:
    """One parameter or buffer of a network, with the key of its shared tensor.

    Attributes:
        owner: The module that holds the parameter or buffer.
        name: Its name in `owner`, for example "weight".
        path: Its name in the state dict of the network.
        key: The key of the shared tensor in `SharedTensors`.
        is_buffer: Whether it is a buffer rather than a parameter.
    """

    owner: nn.Module
    name: str
    path: str
    key: str
    is_buffer: bool

    @property
    def value(self) -> Any:
        """The tensor that the network holds now."""
        return (self.owner._buffers if self.is_buffer else self.owner._parameters)[self.name]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `value`."""
        return tuple(self.value.shape)

    @property
    def centred(self) -> bool:
        """Whether it is a convolution's kernel: a smaller kernel is the middle of the largest."""
        return isinstance(self.owner, _ConvNd) and self.name == "weight"

    @property
    def is_shared(self) -> bool:
        """Whether it is a parameter or a statistic of a norm.

        Any other buffer is a constant of its arch.
        """
        return not self.is_buffer or isinstance(self.owner, _NormBase)

    def assign(self, tensor: Any) -> None:
        """Replaces the parameter or buffer of `owner` by `tensor`."""
        (self.owner._buffers if self.is_buffer else self.owner._parameters)[self.name] = tensor


def parameter_name(text: str) -> str:
    """`text` as a name that torch accepts for a parameter: each dot is replaced by a similar character."""
    return text.replace(".", "\u2024")


class AnswerTags:
    """Remembers for which answers each module was built, as tags "label=candidate".

    The tags of outer choices come first.
    """

    def __init__(self) -> None:
        self._tags: dict[int, tuple[str, ...]] = {}
        self._kept: list[nn.Module] = []

    def add(self, module: nn.Module, label: str, answer: Any) -> nn.Module:
        """Tags `module` as built for `answer` to the choice `label`, and returns it."""
        tag = parameter_name(f"{label}={answer}")
        known = self._tags.get(id(module), ())
        if tag not in known:
            self._tags[id(module)] = (tag, *known)
            self._kept.append(module)  # Python must not give the id to another module while the tags hold it.
        return module

    def of(self, module: nn.Module) -> str:
        """All tags of `module` as one text, each in brackets; "" where it has none."""
        return "".join(f"[{tag}]" for tag in self._tags.get(id(module), ()))


class TaggingPicker(FrozenPicker):
    """Answers from an arch, and tags the layers that stand for an answer.

    Args:
        arch: Label -> answer.
        tags: Records the tags, which `network_tensors` reads.
    """

    def __init__(self, arch: Mapping[str, Any], tags: AnswerTags) -> None:
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


class Wrapper(nn.Module):
    """A module around another one, which has the keys of the inner module.

    Attributes:
        inner: The wrapped module.
    """

    inner: nn.Module


class CandidateLayers(nn.Module):
    """Holds all candidates of a layer choice, where a single network has one of them.

    Attributes:
        candidates: The candidates, each tagged with its answer so that each has keys of its own.
    """

    def __init__(self, candidates: Iterable[nn.Module]) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(candidates)


def network_tensors(network: nn.Module, tags: AnswerTags) -> list[NetworkTensor]:
    """All parameters and buffers of `network`, with their keys.

    A key does not depend on how the rest of the network was picked.

    A key is the path of the tensor in the network, except that
    - a tagged module is named by its tags. So each candidate of a layer choice, and each layer on another input, has weights
      of its own, whatever its index in a list is;
    - other members of an `nn.Sequential` are named by their type and by how many of that type come before them, since their
      indices change where an optional member is left out;
    - the type of the last module is part of the key. Modules of different types at one place share nothing.

    Args:
        network: Any module; it may be on the meta device.
        tags: The tags that its picker has made while it was built.
    """
    found: list[NetworkTensor] = []
    keys: dict[int, str] = {}
    for module, path, key in _walk(network, tags):
        for name, tensor, is_buffer in _own_tensors(module):
            # A tensor that stands at several places (a tied weight) has the key of the first.
            shared = keys.setdefault(id(tensor), f"{key}:{type(module).__name__}/{name}" if key else name)
            found.append(NetworkTensor(module, name, f"{path}.{name}".lstrip("."), shared, is_buffer))
    return found


def modules_by_key(network: nn.Module, tags: AnswerTags) -> dict[str, nn.Module]:
    """All modules of `network` by key and type ("key:Type").

    That is the key of their tensors, without the name of the tensor.
    """
    return {f"{key}:{type(module).__name__}": module for module, _, key in _walk(network, tags)}


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """(name, tensor, whether it is a buffer) for the tensors of `module` itself."""
    yield from ((name, tensor, False) for name, tensor in module._parameters.items() if tensor is not None)
    yield from ((name, tensor, True) for name, tensor in module._buffers.items() if tensor is not None)


def _walk(network: nn.Module, tags: AnswerTags) -> Iterator[tuple[nn.Module, str, str]]:
    """(module, path, key) for each module once, without wrappers and `CandidateLayers`."""
    seen: set[int] = set()

    def visit(module: nn.Module, path: str, key: str) -> Iterator[tuple[nn.Module, str, str]]:
        if id(module) in seen:
            return
        seen.add(id(module))
        if isinstance(module, Wrapper):
            yield from visit(module.inner, f"{path}.inner", key)
            return
        if isinstance(module, CandidateLayers):
            # The key so far ends in the tag that all candidates have in common; each adds its own.
            for i, candidate in enumerate(module.candidates):
                yield from visit(candidate, f"{path}.candidates.{i}", key + tags.of(_unwrapped(candidate)))
            return
        yield module, path, key
        for name, child, component in _children(module, tags):
            yield from visit(child, f"{path}.{name}".lstrip("."), f"{key}/{component}".lstrip("/"))

    yield from visit(network, "", "")


def _children(module: nn.Module, tags: AnswerTags) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, child, the child's component of the key) for each child."""
    counts: Counter[str] = Counter()
    in_sequential = isinstance(module, nn.Sequential)
    for name, child in module._modules.items():
        if child is None:
            continue
        inner = _unwrapped(child)
        tag = tags.of(inner)
        if isinstance(module, (nn.Sequential, nn.ModuleList)) and (tag or isinstance(inner, CandidateLayers)):
            base = tag or _first_tag(inner, tags)
            counts[base] += 1
            yield name, child, tag if counts[base] == 1 else f"{counts[base] - 1}{tag}"
        elif in_sequential:
            kind = type(inner).__name__
            yield name, child, f"{kind}{counts[kind]}"
            counts[kind] += 1
        else:
            yield name, child, f"{name}{tag}"


def _unwrapped(module: nn.Module) -> nn.Module:
    while isinstance(module, Wrapper):
        module = module.inner
    return module


def _first_tag(candidates: nn.Module, tags: AnswerTags) -> str:
    """The tags of the first candidate: they distinguish two layer choices in one list."""
    return tags.of(_unwrapped(candidates.candidates[0])) if isinstance(candidates, CandidateLayers) else ""
