"""Keys of tensors: tensors of different networks that have the same key share one tensor of the supernet.

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
    """One parameter or buffer of a network, with the key of the shared tensor that it uses.

    Attributes:
        owner: The module that holds the parameter or buffer.
        name: Its name in `owner`, for example "weight".
        path: Its name in the state dict of the network.
        key: The key of the shared tensor in `SharedTensors`.
        is_buffer: True for a buffer, False for a parameter.
    """

    owner: nn.Module
    name: str
    path: str
    key: str
    is_buffer: bool

    @property
    def value(self) -> Any:
        """The parameter or buffer that `owner` holds at present."""
        return (self.owner._buffers if self.is_buffer else self.owner._parameters)[self.name]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `value`."""
        return tuple(self.value.shape)

    @property
    def centred(self) -> bool:
        """True for the kernel of a convolution: smaller kernels use the middle of the largest kernel."""
        return isinstance(self.owner, _ConvNd) and self.name == "weight"

    @property
    def is_shared(self) -> bool:
        """True for parameters and for running statistics of norms. Networks do not share other buffers, which are constants."""
        return not self.is_buffer or isinstance(self.owner, _NormBase)

    def assign(self, tensor: Any) -> None:
        """Sets the parameter or buffer `name` of `owner` to `tensor`."""
        (self.owner._buffers if self.is_buffer else self.owner._parameters)[self.name] = tensor


def parameter_name(text: str) -> str:
    """Returns `text` with each dot replaced by a similar character, since torch does not accept dots in parameter names."""
    return text.replace(".", "\u2024")


class AnswerTags:
    """Records for which answer each module was built, as tags "label=candidate".

    If a module has several tags, those of outer choices come before those of nested ones.
    """

    def __init__(self) -> None:
        self._tags: dict[int, tuple[str, ...]] = {}
        self._kept: list[nn.Module] = []

    def add(self, module: nn.Module, label: str, answer: Any) -> nn.Module:
        """Records that `module` was built for `answer` to the choice `label`, and returns `module`."""
        tag = parameter_name(f"{label}={answer}")
        known = self._tags.get(id(module), ())
        if tag not in known:
            self._tags[id(module)] = (tag, *known)
            self._kept.append(module)  # Python must not give the id to another module while the tags hold it.
        return module

    def of(self, module: nn.Module) -> str:
        """Returns all tags of `module` as one string, each in square brackets; an empty string if it has none."""
        return "".join(f"[{tag}]" for tag in self._tags.get(id(module), ()))


class TaggingPicker(FrozenPicker):
    """A picker that answers from an arch and tags each layer of a layer choice or edge with the answer for which it was built.

    Args:
        arch: Maps labels to answers.
        tags: The tags are recorded here; `network_tensors` reads them.
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
    """Base class of modules that wrap another one; the tensors keep the keys that they have without the wrapper.

    Attributes:
        inner: The wrapped module.
    """

    inner: nn.Module


class CandidateLayers(nn.Module):
    """Holds all candidates of a layer choice, in the place where a single network has one of them.

    Attributes:
        candidates: The candidate layers. Each is tagged with its answer, so their tensors have different keys.
    """

    def __init__(self, candidates: Iterable[nn.Module]) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(candidates)


def network_tensors(network: nn.Module, tags: AnswerTags) -> list[NetworkTensor]:
    """Returns all parameters and buffers of `network`, with their keys.

    A key does not depend on the answers to choices elsewhere in the network. It is the path of the tensor in the network,
    except:
    - A tagged module is named by its tags. So each candidate of a layer choice, and each layer on another input, has weights of
      its own, whatever its index in a list is.
    - Other members of an `nn.Sequential` are named by their type and the number of members of this type before them, since
      their indices change when an optional member is left out.
    - The type of the module that holds the tensor is part of the key. Modules of different types in one place share nothing.

    Args:
        network: Any module; it may be on the meta device.
        tags: The tags that the picker recorded while the network was built.
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
    """Returns a dict from "key:Type" to module for all modules of `network`.

    This string is the part of the keys of the module's tensors that comes before "/" and the tensor's name.
    """
    return {f"{key}:{type(module).__name__}": module for module, _, key in _walk(network, tags)}


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Any, bool]]:
    """Yields (name, tensor, is_buffer) for the parameters and buffers that `module` holds itself, without its children."""
    yield from ((name, tensor, False) for name, tensor in module._parameters.items() if tensor is not None)
    yield from ((name, tensor, True) for name, tensor in module._buffers.items() if tensor is not None)


def _walk(network: nn.Module, tags: AnswerTags) -> Iterator[tuple[nn.Module, str, str]]:
    """Yields (module, path, key) for each module once; wrappers and `CandidateLayers` are left out."""
    # A stack and no recursive function within this one: that would refer to itself and, by its arguments, to the network, which
    # would then stay in memory until the garbage collector comes.
    seen: set[int] = set()
    stack = [(network, "", "")]
    while stack:
        module, path, key = stack.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if isinstance(module, Wrapper):
            stack.append((module.inner, f"{path}.inner", key))
            continue
        if isinstance(module, CandidateLayers):
            # The key so far ends in the tag that all candidates have in common; each adds its own.
            candidates = enumerate(module.candidates)
            following = [(each, f"{path}.candidates.{i}", key + tags.of(_unwrapped(each))) for i, each in candidates]
        else:
            yield module, path, key
            children = _children(module, tags)
            following = [(child, f"{path}.{name}".lstrip("."), f"{key}/{part}".lstrip("/")) for name, child, part in children]
        stack.extend(reversed(following))


def _children(module: nn.Module, tags: AnswerTags) -> Iterator[tuple[str, nn.Module, str]]:
    """Yields (name, child, component) for each child of `module`; `component` is the last part of the child's key."""
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
    """Returns the tags of the first candidate, which distinguish two layer choices in one list; "" for any other module."""
    return tags.of(_unwrapped(candidates.candidates[0])) if isinstance(candidates, CandidateLayers) else ""
