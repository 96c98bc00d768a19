"""Measures the time of each operator in a call of a network, and sums it for each choice of the arch."""

import ast
import contextlib
import json
import os
import re
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from hubserve.error_messages import first_line
from hubserve.errors import ProfileError
from hubserve.latency.profile_report import ChoiceShare, OperatorShare
from hubserve.package.onnx_runner import session_options

WARM_UP, CALLS = 3, 20
WEIGHT = ".weight"
SCOPES = "pkg.torch.onnx.name_scopes"
"""Key in the metadata of an ONNX node under which torch's exporter writes the paths of the modules around the operation."""


def onnx_operators(path: Path, inputs: Mapping[str, NDArray[Any]], *, threads: int, calls: int = CALLS) -> list[OperatorShare]:
    """Returns the median time of each operation of an ONNX model, the slowest first.

    The times come from ONNX Runtime's profiler, on the CPU. The operations are those of the graph as ONNX Runtime optimised it.

    Args:
        path: ONNX file.
        inputs: Inputs of each call by their names.
        threads: Number of threads that a call may use.
        calls: Number of calls that are measured, after a warm-up; at least 1.

    Raises:
        ProfileError: ONNX Runtime cannot run the file.
    """

    def call(session: onnxruntime.InferenceSession) -> None:
        for _ in range(WARM_UP + calls):
            session.run(None, dict(inputs))

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


def eager_operators(model: nn.Module, inputs: Sequence[NDArray[Any]], *, calls: int = 5) -> list[OperatorShare]:
    """Returns the time of each kind of operator of a PyTorch module in one call, the slowest first.

    The times come from torch.profiler, on the CPU; those of all operators of one kind are added up.

    Args:
        model: Network on the CPU, in eval mode.
        inputs: Arguments of each call.
        calls: Number of calls over which the times are averaged, after a warm-up.
    """
    tensors = [torch.from_numpy(array) for array in inputs]
    with torch.inference_mode():
        for _ in range(WARM_UP):
            model(*tensors)
        with _quiet(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            for _ in range(calls):
                model(*tensors)
    found = {("", entry.key): entry.self_cpu_time_total / 1e3 / calls for entry in profiler.key_averages()}
    return _slowest_first({key: ms for key, ms in found.items() if ms > 0}, lambda name, operator: None)


def _slowest_first(times: Mapping[tuple[str, str], float], module_of: Callable[[str, str], str | None]) -> list[OperatorShare]:
    """Returns a row for each entry of `times`, (name, operator) -> milliseconds, sorted by descending time."""
    total = sum(times.values()) or 1.0
    rows = [
        OperatorShare(operator=operator, name=name, module=module_of(name, operator), ms=ms, share=ms / total)
        for (name, operator), ms in times.items()
    ]
    return sorted(rows, key=lambda row: -row.ms)


def by_choice(
    rows: Iterable[OperatorShare], owners: Mapping[str, frozenset[str]], arch: Mapping[str, object]
) -> list[ChoiceShare]:
    """Sums the times of the operations that depend on each choice of an arch, and returns the sums, the largest first.

    The time of an operation that depends on several choices is added to each of them.

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
    """Discards all that this process writes to file descriptor 2 in the block; torch's profiler does not use sys.stderr."""
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
    """Runs an ONNX model on the CPU with ONNX Runtime's profiler, and returns one event for each execution of an operation.

    Args:
        model: Path or content of an ONNX file.
        call: Function that gets the session of the model and runs it as often as needed.
        threads: Number of threads that a call may use.

    Returns:
        Events of the profiler in the order of execution: "name" is the name of the node with "_kernel_time" behind it, "dur"
        the duration in microseconds, and "args" has the operator as "op_name".

    Raises:
        Exception: ONNX Runtime cannot run the model; its exceptions have no common base.
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
    """Finds the path of the PyTorch module from which a node of ONNX Runtime's optimised graph was made.

    Called with the name and the operator of a node, it returns the path, or None if the module is not known.

    Args:
        path: ONNX file, as torch's exporter wrote it.
    """

    def __init__(self, path: Path) -> None:
        graph = onnx.load(str(path), load_external_data=False).graph
        self._by_name = {node.name: node for node in graph.node}
        self._by_output = {output: node for node in graph.node for output in node.output}

    def __call__(self, name: str, operator: str) -> str | None:
        node = self._node(name)
        if operator == "Conv":
            # A convolution that was fused with the nodes after it has the name of the last of them.
            while node is not None and node.op_type != "Conv":
                node = self._by_output.get(node.input[0]) if node.input else None
            # A convolution merged with a batch norm has the scope of the batch norm; the name of its weight is still its own.
            if node is not None and node.input[1].endswith(WEIGHT):
                return node.input[1].removesuffix(WEIGHT)
        return None if node is None else _path(node)

    def _node(self, name: str) -> onnx.NodeProto | None:
        """Returns the node in the file that has the name, or an output of that name, without suffixes of the optimiser."""
        for known in (name, re.sub(r"(_token_\d+)$|/.*$", "", name), re.sub(r"_nchwc(_token_\d+)?$", "", name)):
            node = self._by_name.get(known) or self._by_output.get(known)
            if node is not None:
                return node
        return None


def _path(node: onnx.NodeProto) -> str | None:
    """Returns the path of the innermost module around a node: its last scope but one, as the last is the node itself.

    Returns an empty path, that of the network, if there is one scope, and None if the node has no metadata about its scopes.
    """
    for prop in node.metadata_props:
        if prop.key == SCOPES:
            scopes = ast.literal_eval(prop.value)
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return None
