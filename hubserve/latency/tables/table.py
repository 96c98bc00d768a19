"""Lookup tables: the latency of any arch of a space, from the latencies of its operations, each measured once.

A network's latency is close to the sum of those of its operations (93 to 94 % of networks within 10 % on server CPUs in the
literature). What the sum leaves out, layout changes and the steps between operations, is learned from some whole networks
(`Calibration`), and the error of the result is measured on others and kept with the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from hubserve.atomic import write_atomic
from hubserve.errors import HubserveError, ProfileError
from hubserve.host import Host, describe_host
from hubserve.latency.tables.fit import fit_without_negatives, spearman
from hubserve.latency.tables.interpolation import Estimator
from hubserve.operations import Operation, arch_operations
from hubserve.space import Arch, ModelSpace


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OperationTime(_Record):
    """One operation, measured.

    Attributes:
        n: calls.
        mean_ms: of all.
        sd_ms: standard deviation.
        p50_ms: median.
        ms: mean of the fastest three quarters: what predictions add up. Steadier than the median, as the profiler of ONNX
            Runtime counts whole microseconds, and deaf to whatever else ran.
    """

    n: int
    mean_ms: float
    sd_ms: float
    p50_ms: float
    ms: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> OperationTime:
        """From the raw times of some calls, in ms. Raises ProfileError where there are none."""
        if not samples:
            raise ProfileError("an operation was measured in no call")
        ordered = np.sort(np.asarray(samples, np.float64))
        kept = ordered[: max(1, len(ordered) * 3 // 4)]
        return cls(
            n=len(ordered),
            mean_ms=float(ordered.mean()),
            sd_ms=float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0,
            p50_ms=float(np.median(ordered)),
            ms=float(kept.mean()),
        )


class Calibration(_Record):
    """From sums to a network.

    An operation on its own finds its weights in the cache, where the last call left them; in a network other operations have
    pushed them out. So a network takes longer than the sum, by the more the more weights it has.

    Attributes:
        conv: factor of the sum of convolutions and products.
        other: factor of the sum of all else.
        weight_ms: of reading a million weights that are not in the cache.
        step_ms: between two operations.
        offset_ms: of every call.
    """

    conv: float = 1.0
    other: float = 1.0
    weight_ms: float = 0.0
    step_ms: float = 0.0
    offset_ms: float = 0.0


class NetworkTime(_Record):
    """One whole network, measured as it is served.

    Attributes:
        arch: label -> value.
        ms: median of its calls, as if nothing else ran.
        n: calls.
        role: "fit" where the calibration was learned from it, "check" where the error was.
    """

    arch: dict[str, Any]
    ms: float
    n: int
    role: Literal["fit", "check"]


class TableError(_Record):
    """How good the predictions are, on networks that the table never saw.

    Attributes:
        nets: how many.
        spearman: correlation of the ranks; None where there are fewer than three.
        within_10: share of networks whose prediction is at most 10 % off.
        mean_error: mean of the relative errors, signs left out.
        worst_error: largest of them.
    """

    nets: int
    spearman: float | None
    within_10: float
    mean_error: float
    worst_error: float


@dataclass(frozen=True)
class LatencyPrediction:
    """A predicted latency.

    Attributes:
        ms: for one call.
        units: operations of the network.
        measured: share of the summed time that was measured; the rest is estimated from similar operations.
    """

    ms: float
    units: int
    measured: float


class LatencyTable(BaseModel):
    """See the module.

    Attributes:
        format_version: of this record.
        space: class name of the space.
        settings: of the space.
        input_size: side of the pictures, in pixels.
        batch_size: pictures of a call.
        threads: that a call may use.
        runtime: what runs the networks.
        host: the machine.
        units: key of an operation -> its time.
        nets: whole networks.
        calibration: from sums to networks.
        error: of the predictions; None until networks were measured.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = 1
    space: str
    settings: dict[str, Any]
    input_size: int
    batch_size: int = 1
    threads: int = 1
    runtime: str = "onnx"
    host: Host
    units: dict[str, OperationTime] = {}
    nets: list[NetworkTime] = []
    calibration: Calibration = Calibration()
    error: TableError | None = None
    _estimator: Estimator | None = PrivateAttr(None)
    _known: dict[str, LatencyPrediction] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """The table of a file. Raises ProfileError where it is none."""
        try:
            return cls.model_validate_json(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"no latency table at {path}: {error}; `hubserve latency-table build` makes one") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ProfileError(f"{path} is not a latency table that this version reads: {where}: {first['msg']}") from error

    def check_fit(self, path: Path, space: ModelSpace, *, input_size: int, threads: int, batch_size: int) -> None:
        """Holds the table to what it is to predict.

        Args:
            path: of the table, for the error.
            space: with its settings.
            input_size: side of the pictures, in pixels.
            threads: that a call may use.
            batch_size: pictures of a call.

        Raises:
            ProfileError: it is of another space, of other settings, or for other calls; the message says what differs.
        """
        wanted = {"space": type(space).__name__, "input_size": input_size, "threads": threads, "batch_size": batch_size}
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ProfileError(
                    f"{path} is a table for {name} = {getattr(self, name)!r}, and {value!r} was asked for; "
                    "`hubserve latency-table build` makes one that fits, or choose another file with --table"
                )
        self._check_settings(space, str(path))

    def foreign(self, host: Host | None = None) -> str | None:
        """How the machine, or its ONNX Runtime, differs from the one that was measured; None where neither does.

        Args:
            host: the machine; this one unless given.
        """
        here = host or describe_host()
        if _telling(self.host) == _telling(here):
            return None
        return f"measured on {_machine(self.host)}, and this is {_machine(here)}"

    def save(self, path: Path) -> None:
        """Written in one step, so that a reader never sees half of it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=1) + "\n")

    def predict(self, space: ModelSpace, arch: Mapping[str, Any]) -> float:
        """Predicted latency of an arch, in ms for one call.

        Raises:
            ProfileError: the table is of another space or other settings, or empty.
            ArchError: the arch is not of the space.
        """
        return self.explain(space, arch).ms

    def explain(self, space: ModelSpace, arch: Mapping[str, Any]) -> LatencyPrediction:
        """The same, and how much of it was measured."""
        self._check(space)
        arch = space.canonical(arch)
        key = json.dumps(arch, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._sum(self.units_of(space, arch))
        return self._known[key]

    def units_of(self, space: ModelSpace, arch: Mapping[str, Any]) -> list[Operation]:
        """The operations of an arch, in the size that this table is for."""
        return arch_operations(space, arch, (self.batch_size, 3, self.input_size, self.input_size))

    def features(self, units: Sequence[Operation]) -> np.ndarray:
        """What the calibration weighs: ms of convolutions and products, ms of the rest, million weights, operations, and 1."""
        heavy = sum(self._time(unit) for unit in units if unit.macs)
        light = sum(self._time(unit) for unit in units if not unit.macs)
        return np.array([heavy, light, sum(unit.weights for unit in units) / 1e6, len(units), 1.0])

    def recalibrated(self, space: ModelSpace) -> LatencyTable:
        """The table with calibration and error anew, from its networks; one without networks keeps the plain sum."""
        rows = {role: [net for net in self.nets if net.role == role] for role in ("fit", "check")}
        table = self.model_copy(update={"calibration": Calibration(), "error": None})
        if rows["fit"]:
            features = np.stack([table.features(table.units_of(space, net.arch)) for net in rows["fit"]])
            found = fit_without_negatives(features, np.array([net.ms for net in rows["fit"]]))
            table.calibration = Calibration(**dict(zip(Calibration.model_fields, map(float, found), strict=True)))
        if rows["check"]:
            table.error = error_of([(table.predict(space, net.arch), net.ms) for net in rows["check"]])
        return table

    def _sum(self, units: Sequence[Operation]) -> LatencyPrediction:
        ms = float(self.features(units) @ np.array(list(self.calibration.model_dump().values())))
        total = sum(self._time(unit) for unit in units)
        measured = sum(self._time(unit) for unit in units if unit.key in self.units)
        return LatencyPrediction(ms=ms, units=len(units), measured=measured / total if total else 1.0)

    def _time(self, unit: Operation) -> float:
        known = self.units.get(unit.key)
        if known is not None:
            return known.ms
        if self._estimator is None or self._estimator.size != len(self.units):
            self._estimator = Estimator({key: time.ms for key, time in self.units.items()})
        return self._estimator.estimate(unit)

    def _check(self, space: ModelSpace) -> None:
        if type(space).__name__ != self.space:
            raise ProfileError(f"the latency table is of {self.space}, not of {type(space).__name__}: build one for that space")
        self._check_settings(space, "the latency table")
        if not self.units:
            raise ProfileError("this latency table is empty; `hubserve latency-table build` measures its operations")

    def _check_settings(self, space: ModelSpace, table: str) -> None:
        try:
            fits = _said(type(space)(**self.settings)) == _said(space)
        except (TypeError, HubserveError):  # Settings that this version of the space does not have.
            fits = False
        if not fits:
            raise ProfileError(
                f"{table} is of {self.space} with settings {self.settings}, not of {space}; build one for these settings "
                "(--settings)"
            )


def _said(space: ModelSpace) -> str:
    """The settings of a space, as JSON would have them."""
    return json.dumps({field.name: getattr(space, field.name) for field in fields(space)}, default=str)  # type: ignore[arg-type]


def _runtime(host: Host) -> str:
    found = next((host.versions[name] for name in ("onnxruntime-gpu", "onnxruntime") if name in host.versions), None)
    return f"ONNX Runtime {found}"


def _telling(host: Host) -> tuple[object, ...]:
    """What times depend on."""
    return host.cpu, host.cores, _runtime(host)


def _machine(host: Host) -> str:
    return f"{host.cpu} with {host.cores} cores and {_runtime(host)}"


def error_of(pairs: Sequence[tuple[float, float]]) -> TableError:
    """The error of (predicted, measured) ms of some networks."""
    predicted, measured = np.array(pairs, np.float64).T
    relative = np.abs(predicted / measured - 1)
    rank = spearman(predicted, measured) if len(measured) > 2 else float("nan")
    return TableError(
        nets=len(measured),
        spearman=None if np.isnan(rank) else rank,
        within_10=float((relative <= 0.1).mean()),
        mean_error=float(relative.mean()),
        worst_error=float(relative.max()),
    )


def same_arch(a: Arch, b: Arch) -> bool:
    """Whether two canonical archs are the same network."""
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)
