"""The lookup table of a model space: the latency of any arch, from the latencies of its operations, each measured once.

The latency of a network is close to the sum of those of its operations (93 to 94 % of networks within 10 % on server CPUs in
the literature). What the sum leaves out, layout changes and the steps between operations, is fitted to some whole networks
(`Calibration`), and the error of the result is measured on others and kept with the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from hubserve.atomic import write_atomic
from hubserve.bounded_files import read_bounded_text
from hubserve.errors import HubserveError, ProfileError
from hubserve.host import Host, describe_host
from hubserve.latency.tables.interpolation import OperationEstimator, fit_costs
from hubserve.latency.tables.records import Calibration, LatencyPrediction, NetworkTime, OperationTime, TableError
from hubserve.operations import Operation, arch_operations
from hubserve.space import Arch, ModelSpace


class LatencyTable(BaseModel):
    """Lookup table of one space, for one image size, batch size and number of threads on one machine.

    Attributes:
        format_version: Version of this record.
        space: Class name of the space.
        settings: Settings of the space, by name.
        input_size: Side of the images, in pixels.
        batch_size: Images of a call.
        threads: Threads that a call may use.
        runtime: What runs the networks; always "onnx".
        host: Machine on which it was measured.
        operations: Key of an operation -> its time.
        networks: Whole networks that were measured.
        calibration: How the latency of a network follows from the sums over its operations.
        error: Error of the predictions; None until networks were measured for it.
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
    operations: dict[str, OperationTime] = Field(default={}, validation_alias=AliasChoices("operations", "units"))
    networks: list[NetworkTime] = Field(default=[], validation_alias=AliasChoices("networks", "nets"))
    calibration: Calibration = Calibration()
    error: TableError | None = None
    _estimator: OperationEstimator | None = PrivateAttr(None)
    _known: dict[str, LatencyPrediction] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """The table in a file. Raises ProfileError where the file is missing or holds none."""
        try:
            return cls.model_validate_json(read_bounded_text(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"no latency table at {path}: {error}; `hubserve latency-table build` makes one") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ProfileError(f"{path} is not a latency table that this version reads: {where}: {first['msg']}") from error

    def check_fit(self, path: Path, space: ModelSpace, *, input_size: int, threads: int, batch_size: int) -> None:
        """Checks that the table is for what it is to predict.

        Args:
            path: File of the table, for the message.
            space: Model space with its settings.
            input_size: Side of the images, in pixels.
            threads: Threads that a call may use.
            batch_size: Images of a call.

        Raises:
            ProfileError: It is of another space, of other settings, or for other calls; the message says what differs.
        """
        wanted = {"space": type(space).__name__, "input_size": input_size, "threads": threads, "batch_size": batch_size}
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ProfileError(
                    f"{path} is a table for {name} = {getattr(self, name)!r}, and {value!r} was asked for; "
                    "`hubserve latency-table build` makes one that fits, or choose another file with --table"
                )
        self._check_settings(space, str(path))

    def difference_to_host(self, host: Host | None = None) -> str | None:
        """How the machine, or its ONNX Runtime, differs from the one that was measured; None where neither does.

        Args:
            host: Machine to compare with; this one where None.
        """
        measured, here = _machine(self.host), _machine(host or describe_host())
        return None if measured == here else f"measured on {measured}, and this is {here}"

    def save(self, path: Path) -> None:
        """Writes the file in one step: a reader sees the old table or the new one, never a part."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=1) + "\n")

    def predict(self, space: ModelSpace, arch: Mapping[str, Any]) -> float:
        """Predicted latency of an arch, in ms for one call.

        Raises:
            ProfileError: The table is empty, or of another space or other settings.
            ArchError: The arch is not of the space.
        """
        return self.explain(space, arch).ms

    def explain(self, space: ModelSpace, arch: Mapping[str, Any]) -> LatencyPrediction:
        """Predicted latency of an arch, and how much of it was measured. Raises what `predict` raises."""
        self._check(space)
        arch = space.canonical(arch)
        key = json.dumps(arch, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._sum(self.operations_of(space, arch))
        return self._known[key]

    def operations_of(self, space: ModelSpace, arch: Mapping[str, Any]) -> list[Operation]:
        """The operations of an arch, for the batch size and image size of this table."""
        return arch_operations(space, arch, (self.batch_size, 3, self.input_size, self.input_size))

    def features(self, operations: Sequence[Operation]) -> np.ndarray:
        """Factors of the fields of `Calibration`: ms of convolutions and products, ms of the rest, million weights, number of
        operations, and 1.
        """
        heavy = sum(self._time(operation) for operation in operations if operation.macs)
        light = sum(self._time(operation) for operation in operations if not operation.macs)
        return np.array([heavy, light, sum(operation.weights for operation in operations) / 1e6, len(operations), 1.0])

    def recalibrated(self, space: ModelSpace) -> LatencyTable:
        """A table with calibration and error computed from its networks; without networks, predictions are the plain sum."""
        rows = {role: [net for net in self.networks if net.role == role] for role in ("fit", "check")}
        table = self.model_copy(update={"calibration": Calibration(), "error": None})
        if rows["fit"]:
            features = np.stack([table.features(table.operations_of(space, net.arch)) for net in rows["fit"]])
            found = fit_costs(features, np.array([net.ms for net in rows["fit"]]))
            table.calibration = Calibration(**dict(zip(Calibration.model_fields, map(float, found), strict=True)))
        if rows["check"]:
            table.error = TableError.of([(table.predict(space, net.arch), net.ms) for net in rows["check"]])
        return table

    def _sum(self, operations: Sequence[Operation]) -> LatencyPrediction:
        ms = float(self.features(operations) @ np.array(list(self.calibration.model_dump().values())))
        total = sum(self._time(operation) for operation in operations)
        measured = sum(self._time(operation) for operation in operations if operation.key in self.operations)
        return LatencyPrediction(ms=ms, operations=len(operations), measured=measured / total if total else 1.0)

    def _time(self, operation: Operation) -> float:
        known = self.operations.get(operation.key)
        if known is not None:
            return known.ms
        if self._estimator is None or self._estimator.size != len(self.operations):
            self._estimator = OperationEstimator({key: time.ms for key, time in self.operations.items()})
        return self._estimator.estimate(operation)

    def _check(self, space: ModelSpace) -> None:
        if type(space).__name__ != self.space:
            raise ProfileError(f"the latency table is of {self.space}, not of {type(space).__name__}: build one for that space")
        self._check_settings(space, "the latency table")
        if not self.operations:
            raise ProfileError("this latency table is empty; `hubserve latency-table build` measures its operations")

    def _check_settings(self, space: ModelSpace, table: str) -> None:
        try:
            fits = _settings_as_json(type(space)(**self.settings)) == _settings_as_json(space)
        except (TypeError, HubserveError):  # Settings that this version of the space does not have.
            fits = False
        if not fits:
            raise ProfileError(
                f"{table} is of {self.space} with settings {self.settings}, not of {space}; build one for these settings "
                "(--settings)"
            )


def _settings_as_json(space: ModelSpace) -> str:
    """The settings of a space as JSON, in which a tuple and a list are the same."""
    return json.dumps({field.name: getattr(space, field.name) for field in fields(space)}, default=str)  # type: ignore[arg-type]


def _machine(host: Host) -> str:
    """What the times depend on."""
    runtime = host.versions.get("onnxruntime-gpu", host.versions.get("onnxruntime"))
    return f"{host.cpu} with {host.cores} cores and ONNX Runtime {runtime}"


def same_arch(a: Arch, b: Arch) -> bool:
    """Whether two canonical archs are the same network."""
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)
