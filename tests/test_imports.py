"""The packages of hubserve and who may import whom: imports point one way."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hubserve"

SERVES = (
    "telemetry",
    "error_messages",
    "similar_names",
    "printable_streams",
    "errors",
    "weights_warning",
    "find_named",
    "typed_arguments",
    "module_files",
    "code_source",
    "image_file",
    "image_names",
    "validation_sentence",
    "bounded_files",
    "cgroup",
    "usable_resources",
    "storage_faults",
    "remote_errors",
    "remote_files",
    "failure_reason_file",
    "sequence_number",
    "atomic",
    "home",
    "process_tree",
    "background",
    "process_guard",
    "cuda_driver",
    "host",
    "timing",
    "preprocess",
    "cards",
    "package",
    "store",
    "jobs",
    "service",
    "client",
)
"""What serves, from the bottom up: each may import those before it, and none of these imports torch."""

MAKES = (
    "space",
    "blocks",
    "hub",
    "operations",
    "complexity",
    "last_layer",
    "data",
    "batch",
    "accuracy_from_logits",
    "accuracy",
    "http_classifiers",
    "training",
    "benchmarks",
    "evaluator",
    "supernet",
    "strategy",
    "experiment",
    "plot_style",
    "comparison",
    "export",
    "image_classifier",
    "load_classifier",
    "latency",
    "drawing",
    "pipeline",
    "workers",
)
"""What makes models, from the bottom up: each may import those before it, and of the others all but the service."""

ONLY_ABOVE = {"service": {"workers", "batch"}, "client": {"http_classifiers"}, "evaluator": {"pipeline"}}
"""Packages that only the named ones may import, besides the command line."""


def allowed(importer: str) -> set[str]:
    """The packages that `importer` may import."""
    if importer in SERVES:
        return set(SERVES[: SERVES.index(importer)]) - {"service"}
    below = set(MAKES[: MAKES.index(importer)]) | set(SERVES)
    return {name for name in below if importer in ONLY_ABOVE.get(name, {importer})}


LATE = {
    "client/image_bytes.py",
    "package/formats.py",
    "workers/describe_package.py",
    "pipeline/run.py",
    "service/api.py",
    "service/app.py",
    "service/launch.py",
    "training/distributed.py",
}
"""Modules that import another one only when it is needed.

It imports torch, an extra that may be absent, or circus, which workers do not need; or logging is configured before; or it
imports numpy, which a client needs for arrays only.
"""

ALONE = {
    "bentoml": {
        "store/bentoml_store.py",
        "service/app.py",
        "service/launch.py",
        "service/supervisor.py",
        "service/supervised_worker.py",
        "service/swagger/__init__.py",
    },
    "circus": {"service/supervisor.py"},
    "onnx": {
        "export/onnx.py",
        "export/onnx_for_timing.py",
        "export/onnx_precision.py",
        "latency/tables/operation_onnx.py",
        "latency/operator_times.py",
    },
    "onnxruntime": {
        "cli/commands/doctor.py",
        "package/onnx_runner.py",
        "export/onnx_precision.py",
        "export/run_onnx.py",
        "latency/tables/operation_onnx.py",
        "latency/operator_times.py",
    },
    "openvino": {"package/openvino_runner.py"},
    "onnxscript": {"export/onnx_for_timing.py"},
    "ray": {"experiment/ray_executor.py", "experiment/ray_nodes.py"},
    "loky": {"experiment/process_executor.py"},
    "cloudpickle": {"experiment"},
    "lightning_fabric": {"training/distributed.py", "training/local_processes.py"},
    "sklearn": {"data/digits.py", "strategy/bananas.py"},
    "fsspec": {"remote_files.py"},
    "tokenizers": {"package/text_tokenizer.py", "data/tokenizer_training.py"},
    "pyarrow": {"batch/parquet_file.py", "data/listing_rows.py"},
    "datasets": {"data/hub_dataset.py"},
    "optuna": {"strategy", "experiment", "comparison"},
    "prometheus_client": {
        "service/metrics.py",
        "service/metrics_files.py",
        "service/model_metrics.py",
        "service/run_observer.py",
    },
    "opentelemetry": {"service/tracing.py"},
    "grpc": {"service/grpc/calls.py", "service/grpc/server.py"},
    "google": {"service/grpc/messages.py", "service/grpc/infer_codec.py"},
    "matplotlib": {"drawing.py", "plot_style.py", "pipeline/plots.py", "pipeline/training_plots.py"},
    "networkx": {"drawing.py"},
    "jinja2": {"latency/svg_chart.py"},
}
"""Heavy libraries and the only places that may import them."""

STARTED = {
    "background.py": {"hubserve.process_guard"},
    "data/check_pool.py": {"hubserve.data.image_check"},
    "data/speech/make_corpus.py": {"hubserve.data.speech.make_corpus"},
    "jobs/process.py": {"hubserve.pipeline"},
    "service/exports.py": {"hubserve.workers.export"},
    "service/model_details.py": {"hubserve.workers.describe_package"},
    "service/definition_checker.py": {"hubserve.workers.check"},
    "service/local_cards.py": {"hubserve.workers.local_weights"},
    "service/launch.py": {"hubserve.service.app:HubServe"},
    "latency/memory.py": {"hubserve.latency.memory"},
    "package/first_load.py": {"hubserve.workers.first_load"},
}
"""Modules that are started by their name, in a process of their own, and the only places that may do so."""

LOADS_TORCH = {"package/torch_runners.py", "package/executorch_runner.py"}
"""The only module among those that serve that imports torch; `package/formats.py` imports it when a format needs it."""

MODULES = sorted(PACKAGE.rglob("*.py"))


@cache
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


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_down(path):
    here = package_of(path)
    if here in ("cli", "__init__", "__main__"):
        return
    assert here in (*SERVES, *MAKES), f"{path} lies in no known package: add it to SERVES or MAKES"
    for name, inside_a_function in imports(path):
        if not name.startswith("hubserve."):
            continue
        there = name.split(".")[1]
        if there == "__version__":
            continue
        assert there == here or there in allowed(here), f"{path} imports {name}: {here} may not import {there}"
        assert not inside_a_function or path.relative_to(PACKAGE).as_posix() in LATE, (
            f"{path} imports {name} inside a function: move it to the top"
        )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_place(path):
    relative = path.relative_to(PACKAGE).as_posix()
    for name, _ in imports(path):
        places = ALONE.get(name.split(".")[0])
        assert places is None or relative in places or relative.split("/")[0] in places, f"{relative} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_are_started_by_name_only_where_listed(path):
    """A name in a string passes by the test of imports."""
    relative, here = path.relative_to(PACKAGE).as_posix(), package_of(path)
    named = module_names_in_strings(path)
    if path.name == "__init__.py":  # A table of names that are imported when they are asked for.
        assert here in ("__init__", "cli") or {name.split(".")[1] for name in named} <= {here, *allowed(here)}
    else:
        assert named == STARTED.get(relative, set())


@pytest.mark.parametrize("path", [p for p in MODULES if package_of(p) in SERVES], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_serves_imports_no_torch(path):
    libraries = {name.split(".")[0] for name, _ in imports(path)}
    assert not libraries & {"torch", "torchvision"} or path.relative_to(PACKAGE).as_posix() in LOADS_TORCH


def module_names_in_strings(path: Path) -> set[str]:
    """The strings of a file that are the name of a module of hubserve; not those of loggers and of package data."""
    tree = ast.parse(path.read_text())
    named = {"getLogger", "files", "PackageLoader"}
    passed = {
        id(argument)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and {getattr(call.func, "attr", None), getattr(call.func, "id", None)} & named
        for argument in call.args
    }
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in passed}
    names = {text for text in texts if isinstance(text, str) and re.fullmatch(r"hubserve(\.\w+)+(:\w+)?", text)}
    return {name for name in names if is_module(name.partition(":")[0])}


def is_module(name: str) -> bool:
    place = PACKAGE.parent.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def test_no_cycle_of_imports():
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
