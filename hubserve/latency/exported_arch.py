"""Exports an arch to ONNX and times it as it will be served, in ONNX Runtime on the CPU."""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.latency.format_latency import FormatLatency, measure_formats
from hubserve.package.formats import FORMATS
from hubserve.package.parity import random_batches
from hubserve.package.runner import Runner
from hubserve.space import ModelSpace
from hubserve.timing import Clock, TimingProtocol


def time_arch(
    space: ModelSpace,
    arch: Mapping[str, Any],
    *,
    input_size: int,
    batch_size: int,
    threads: int,
    protocol: TimingProtocol,
    clock: Clock = time.perf_counter,
) -> FormatLatency:
    """Latency of an arch with random weights, on which the time of a kernel does not depend.

    Args:
        space: Model space of the arch.
        arch: Chosen value of each choice, by label.
        input_size: Side of the images, in pixels.
        batch_size: Images of a call.
        threads: Threads that a call may use.
        protocol: How long to measure.
        clock: Clock to measure by.

    Raises:
        ArchError: The arch is not of the space.
        ExportError: The network cannot be exported.
    """
    with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        torch.manual_seed(0)
        path = Path(folder) / FORMATS["onnx"].file
        WRITERS["onnx"](ExportableModel(space.freeze(arch), torch.zeros(2, 3, input_size, input_size)), path)
        load = partial(FORMATS["onnx"].load, path, threads, "cpu")
        return time_onnx(load, input_size=input_size, batch_size=batch_size, threads=threads, protocol=protocol, clock=clock)


def time_onnx(
    load: Callable[[], Runner],
    *,
    input_size: int,
    batch_size: int,
    threads: int,
    protocol: TimingProtocol,
    clock: Clock = time.perf_counter,
) -> FormatLatency:
    """Latency of an exported model that `load` loads; the other arguments are those of `time_arch`."""
    (batch,) = random_batches((3, input_size, input_size), sizes=(batch_size,))
    (found,) = measure_formats({"onnx": load}, batch, threads=threads, protocol=protocol, clock=clock)
    return found
