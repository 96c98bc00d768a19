"""The rooms of the package and who may import whom: arrows point down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hubserve"

MAY_IMPORT = {
    "errors": set(),
    "detached": set(),
    "files": set(),
    "home": set(),
    "jobs": {"errors", "detached", "files", "home"},
    "space": {"errors"},
    "preprocess": {"errors"},
    "blocks": {"errors", "space"},
    "hub": {"errors", "home", "space", "preprocess", "blocks"},
    "supernet": {"errors", "space", "preprocess", "blocks", "hub"},
    "evaluator": {"errors", "space", "preprocess", "blocks", "hub", "supernet"},
    "strategy": {"errors", "space", "preprocess", "blocks", "hub", "supernet", "evaluator"},
    "experiment": {"errors", "home", "jobs", "space", "preprocess", "blocks", "hub", "supernet", "evaluator", "strategy"},
    "export": {"errors", "home", "space", "preprocess", "blocks", "hub"},
    "latency": {"errors", "files", "home", "space", "preprocess", "blocks", "hub", "supernet", "evaluator", "export"},
    "drawing": {"errors", "space", "preprocess", "blocks", "hub"},
    "store": {"errors", "space", "preprocess", "blocks", "hub", "export"},
    "aliases": {"errors", "files", "store"},
    "search_job": {
        "errors",
        "files",
        "home",
        "jobs",
        "space",
        "preprocess",
        "blocks",
        "hub",
        "supernet",
        "evaluator",
        "strategy",
        "experiment",
        "export",
        "latency",
        "store",
    },
    "service": {
        "errors",
        "detached",
        "files",
        "home",
        "jobs",
        "space",
        "preprocess",
        "blocks",
        "hub",
        "export",
        "store",
        "aliases",
    },
}
ALONE = {
    "bentoml": {"store.py", "service/app.py", "service/launch.py"},
    "onnx": {"export/onnx.py", "export/onnx_variants.py", "latency/unit_onnx.py", "latency/operators.py"},
    "onnxruntime": {
        "export/onnx.py",
        "export/onnx_variants.py",
        "export/run_onnx.py",
        "latency/unit_onnx.py",
        "latency/operators.py",
    },
    "openvino": {"export/openvino.py"},
    "onnxscript": {"export/onnx.py"},
    "ray": {"experiment/ray.py"},
    "loky": {"experiment/processes.py"},
    "cloudpickle": {"experiment"},
    "lightning_fabric": {"evaluator/distributed.py"},
    "sklearn": {"evaluator/digits.py"},
    "optuna": {"strategy", "experiment"},
    "prometheus_client": {"service/metrics.py"},
    "matplotlib": {"drawing.py", "experiment/plots.py"},
    "networkx": {"drawing.py"},
}
"""Heavy libraries and the only places that may import them."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether it stands inside a function) for each import of a file."""
    tree = ast.parse(path.read_text())
    inner = {id(node) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(f)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write it in full"
            names = [node.module or ""]
            if node.module == "hubserve":
                names = [f"hubserve.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found.extend((name, id(node) in inner) for name in names)
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_down(path):
    here = room(path)
    if here in ("cli", "__init__", "__main__"):
        return
    assert here in MAY_IMPORT, f"{path} lies in no known room; DESIGN names them"
    for name, inside_a_function in imports(path):
        if not name.startswith("hubserve."):
            continue
        there = name.split(".")[1]
        if there == "__version__":
            continue
        assert there == here or there in MAY_IMPORT[here], f"{path} imports {name}: {here} may not know {there}"
        assert not inside_a_function, f"{path} imports {name} inside a function: a circle is hidden there"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_place(path):
    relative = path.relative_to(PACKAGE).as_posix()
    for name, _ in imports(path):
        places = ALONE.get(name.split(".")[0])
        assert places is None or relative in places or relative.split("/")[0] in places, f"{relative} imports {name}"


def test_no_circle_inside_a_room():
    graph = {module_name(path): {name for name, _ in imports(path) if name.startswith("hubserve.")} for path in MODULES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
