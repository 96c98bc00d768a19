"""`limit_networks`, a limit on the size of the networks that a process builds, which stops a space with too large settings."""

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from hubserve.errors import SpaceError


@contextmanager
def limit_networks(*, modules: int | None, parameters: int | None) -> Iterator[None]:
    """Context manager that limits the modules and parameters of all networks built inside the block, counted together.

    Modules and parameters that have been garbage-collected are no longer counted. Networks on the meta device are counted as
    well, so a network that would not fit into memory can be detected without allocating it. So are networks that other threads
    build during the block.

    Args:
        modules: Largest number of modules; None sets no limit.
        parameters: Largest number of elements of all parameters; None sets no limit.

    Raises:
        SpaceError: Raised inside the block by the code that registers a module or parameter beyond the limit.
    """
    counted = [_Counter("modules", modules), _Counter("parameters", parameters)]
    hooks = [
        torch_module.register_module_module_registration_hook(counted[0].add_module),
        torch_module.register_module_parameter_registration_hook(counted[1].add_parameter),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Counter:
    """Adds up the sizes of objects that have not been garbage-collected, and raises SpaceError if the sum exceeds a limit.

    Args:
        what: Name of the counted objects for the error message.
        limit: Largest sum; None counts nothing.
    """

    def __init__(self, what: str, limit: int | None) -> None:
        self._what = what
        self._limit = limit
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._sum = 0

    def add_module(self, parent: nn.Module, name: str, child: nn.Module | None) -> None:
        """Counts `child`; a hook that torch calls before it registers a module."""
        if child is not None:
            self._add(child, 1)

    def add_parameter(self, parent: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        """Counts the elements of `parameter`; a hook that torch calls before it registers a parameter."""
        if parameter is not None:
            self._add(parameter, parameter.numel())

    def _add(self, thing: Any, size: int) -> None:
        if self._limit is None or id(thing) in self._alive:
            return
        self._alive[id(thing)] = weakref.ref(thing, partial(self._forget, id(thing))), size
        self._sum += size
        if self._sum > self._limit:
            gc.collect()  # Modules refer to each other in cycles.
        if self._sum > self._limit:
            raise SpaceError(
                f"the network has more than the {self._limit:,} {self._what} that are allowed here; choose smaller settings"
            )

    def _forget(self, identity: int, _: object) -> None:
        _, size = self._alive.pop(identity)
        self._sum -= size
