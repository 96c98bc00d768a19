"""The time of each operator in one call, and of each choice of the arch."""

import ast
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from torch import nn

from hubserve.errors import ProfileError, first_line
from hubserve.latency.profile_report import ChoiceShare, OperatorShare
from hubserve.package.onnx_runner import session_options
from hubserve.package.runner import Batch

WARM_UP, CALLS = 3, 20
WEIGHT = ".weight"
SCOPES = "pkg.torch.onnx.name_scopes"
"""Key of a node's metadata where torch's exporter writes the modules that the operation was in."""


def onnx_operators(path: Path, batch: Batch, *, threads: int, calls: int = CALLS) -> list[OperatorShare]:
    """Times of the operations in the graph that ONNX Runtime optimised, by its own profiler, the slowest first.

    Args:
        path: ONNX file.
        batch: Prepared images, (n, 3, height, width) float32.
        threads: Threads that a call may use.
        calls: Calls that are measured, after a warm-up.

    Raises:
        ProfileError: ONNX Runtime cannot run the file.
    """

    def call(session: onnxruntime.InferenceSession) -> None:
        name = session.get_inputs()[0].name
        for _ in range(WARM_UP + calls):
            session.run(None, {name: batch})

    try:
        events = kernel_events(str(path), call, threads=threads)
    except Exception as error:  # ONNX Runtime has its own exceptions, without a common base.
        raise ProfileError(f"ONNX Runtime cannot profile {path}: {first_line(error)}") from error
    module_of = _Modules(path)
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        times[name, event["args"]["op_name"]].append(event["dur"] / 1e3)
    medians = {key: statistics.median(values[WARM_UP:]) for key, values in times.items()}
    return _slowest_first(medians, module_of)


def eager_operators(model: nn.Module, batch: Batch, *, calls: int = 5) -> list[OperatorShare]:
    """Times of the operators of eager PyTorch by torch.profiler, those of one kind together, the slowest first."""
    images = torch.from_numpy(batch)
    with torch.inference_mode():
        for _ in range(WARM_UP):
            model(images)
        with _quiet(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(calls):
                model(images)
    found = {("", entry.key): entry.self_cpu_time_total / 1e3 / calls for entry in profiler.key_averages()}
    return _slowest_first({key: ms for key, ms in found.items() if ms > 0}, lambda name, operator: None)


def _slowest_first(times: Mapping[tuple[str, str], float], module_of: Callable[[str, str], str | None]) -> list[OperatorShare]:
    """A row for each (name, operator) with its time in ms."""
    total = sum(times.values()) or 1.0
    rows = [
        OperatorShare(operator=operator, name=name, module=module_of(name, operator), ms=ms, share=ms / total)
        for (name, operator), ms in times.items()
    ]
    return sorted(rows, key=lambda row: -row.ms)


def by_choice(
    rows: Iterable[OperatorShare], owners: Mapping[str, frozenset[str]], arch: Mapping[str, object]
) -> list[ChoiceShare]:
    """Time that depends on each choice, the largest first; an operation that depends on several choices counts for each.

    Args:
        rows: Times of the operations, from `onnx_operators`.
        owners: Path of a module -> labels of the choices that it depends on, from `labels_of_modules`.
        arch: Chosen value of each choice, by label.
    """
    times: dict[str, float] = defaultdict(float)
    total = 0.0
    for row in rows:
        total += row.ms
        for label in owners.get(row.module or "", frozenset()):
            times[label] += row.ms
    found = [ChoiceShare(label=label, value=arch.get(label), ms=ms, share=ms / (total or 1.0)) for label, ms in times.items()]
    return sorted(found, key=lambda row: (-row.ms, row.label))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the profiler of torch, which writes notes to file descriptor 2, past sys.stderr."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def kernel_events(
    model: str | bytes, call: Callable[[onnxruntime.InferenceSession], None], *, threads: int
) -> list[dict[str, Any]]:
    """The executions of operations that ONNX Runtime's profiler records while `call` runs a model on the CPU, in order.

    Args:
        model: Path or content of an ONNX file.
        call: Function that runs a session of the model.
        threads: Threads that a call may use.
    """
    options = session_options(threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        options.profile_file_prefix = str(Path(folder) / "calls")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        call(session)
        events = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]


class _Modules:
    """Finds the path of the module that a node of ONNX Runtime's optimised graph came from."""

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path), load_external_data=False).graph
        self._by_name = {node.name: node for node in graph.node}
        self._by_output = {output: node for node in graph.node for output in node.output}

    def __call__(self, name: str, operator: str) -> str | None:
        node = self._node(name)
        if operator == "Conv":
            # Fused with what follows, it is named after the last of it.
            while node is not None and node.op_type != "Conv":
                node = self._by_output.get(node.input[0]) if node.input else None
            # One with a batch norm in it notes the batch norm's module; its weight is still called after its own.
            if node is not None and node.input[1].endswith(WEIGHT):
                return node.input[1].removesuffix(WEIGHT)
        return None if node is None else _path(node)

    def _node(self, name: str) -> onnx.NodeProto | None:
        """The node in the file: by its name, or by that of its output, without the suffixes that the optimiser appends."""
        for known in (name, re.sub(r"(_token_\d+)$|/.*$", "", name), re.sub(r"_nchwc(_token_\d+)?$", "", name)):
            node = self._by_name.get(known) or self._by_output.get(known)
            if node is not None:
                return node
        return None


def _path(node: onnx.NodeProto) -> str | None:
    """Path of the innermost module, the last scope but one; the last scope is the operation itself."""
    for prop in node.metadata_props:
        if prop.key == SCOPES:
            scopes = ast.literal_eval(prop.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return None
