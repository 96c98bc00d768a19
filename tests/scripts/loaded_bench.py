"""`loaded_bench`: a bench of scripts/benchmarks as a module."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

BENCHES = Path(__file__).parent.parent.parent / "scripts" / "benchmarks"


@contextmanager
def loaded_bench(name: str) -> Iterator[ModuleType]:
    """Loads the bench `name`, which may import others; afterwards none of them is left among the modules."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCHES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks for its module there.
    sys.modules[spec.name] = module
    sys.path.insert(0, str(BENCHES))
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHES))
        for other in [spec.name, *(file.stem for file in BENCHES.glob("*.py"))]:
            if str(getattr(sys.modules.get(other), "__file__", "")).startswith(str(BENCHES)):
                del sys.modules[other]
