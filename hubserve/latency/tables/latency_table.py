"""The lookup table of a model space, which predicts the latency of any arch from the times of its operations.

The latency of a network is close to the sum of the times of its operations: within 10 % for 93 to 94 % of networks on server
CPUs in the literature. The rest, such as changes of the memory layout and the time between operations, is fitted to some
whole networks (`Calibration`). The error of the predictions is measured on further networks and saved with the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from hubserve.atomic import write_atomic
from hubserve.bounded_files import read_bounded_text
from hubserve.errors import HubserveError, ProfileError
from hubserve.host import Host, describe_host
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.registry import space_name
from hubserve.latency.lengths import space_lengths
from hubserve.latency.tables.interpolation import OperationEstimator, fit_costs
from hubserve.latency.tables.records import Calibration, LatencyPrediction, NetworkTime, OperationTime, TableError
from hubserve.operations import Operation, arch_operations
from hubserve.space import Arch, ModelSpace
from hubserve.validation_sentence import first_mistake


class LatencyTable(BaseModel):
    """Lookup table of one space, for one image size or other lengths, batch size and number of threads on one machine.

    Attributes:
        format_version: Version of this record.
        space: Name of the space, as `hubserve.hub.registry.space_name` returns it.
        settings: Settings of the space, by name.
        input_size: Height and width of the images, in pixels; None if the networks of the space take other inputs.
        lengths: Length of each named axis, besides "batch", of other inputs than images; see
            `hubserve.latency.lengths.space_lengths`. It is empty, and left out of the file, for images.
        batch_size: Number of images, or rows of inputs, in a call.
        threads: Number of threads that a call may use.
        runtime: Name of the runtime; always "onnx", which is ONNX Runtime.
        host: Machine on which the table was measured.
        operations: Time of each operation, by `Operation.key`.
        networks: Times of whole networks.
        calibration: Coefficients with which the latency of a network is computed from sums over its operations.
        error: Error of the predictions; None until networks with the role "check" were measured.
    """

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = 1
    space: str
    settings: dict[str, Any]
    input_size: int | None
    lengths: dict[str, int] = {}
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
        """Reads a table from a file.

        Raises:
            ProfileError: The file does not exist, cannot be read, or is not a latency table.
        """
        try:
            return cls.model_validate_json(read_bounded_text(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"no latency table at {path}: {error}; `hubserve latency-table build` makes one") from error
        except ValidationError as error:
            raise ProfileError(f"{path} is not a latency table that this version reads: {first_mistake(error)}") from error

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out `lengths` where there are none, so that earlier versions read the tables of images."""
        written: dict[str, Any] = write(self)
        return written if self.lengths else {name: value for name, value in written.items() if name != "lengths"}

    def check_fit(
        self,
        path: Path,
        space: ModelSpace,
        *,
        input_size: int | None,
        threads: int,
        batch_size: int,
        lengths: Mapping[str, int] | None = None,
    ) -> None:
        """Checks that the table is of the given space and settings, and for calls of the given size.

        Args:
            path: File of the table, for the message.
            space: Model space with its settings.
            input_size: Height and width of the images, in pixels; None for a space whose networks take other inputs.
            threads: Number of threads that a call may use.
            batch_size: Number of images, or rows of inputs, in a call.
            lengths: Lengths of named axes of other inputs than images, as for `space_lengths`; None gives none.

        Raises:
            ProfileError: One of them differs, and the message says which; or a length is not allowed.
        """
        wanted: dict[str, Any] = {
            "space": space_name(space),
            "input_size": input_size,
            "lengths": space_lengths(space, lengths),
            "threads": threads,
            "batch_size": batch_size,
        }
        for name, value in wanted.items():
            if getattr(self, name) != value:
                raise ProfileError(
                    f"{path} is a table for {name} = {getattr(self, name)!r}, and {value!r} was asked for; "
                    "`hubserve latency-table build` makes one that fits, or choose another file with --table"
                )
        self._check_settings(space, str(path))

    def difference_to_host(self, host: Host | None = None) -> str | None:
        """Compares a machine with the one on which the table was measured: processor, number of cores, ONNX Runtime's version.

        Args:
            host: Machine to compare with; None takes this machine.

        Returns:
            A phrase with both machines, "measured on A, and this is B"; None if they are the same.
        """
        measured, here = _machine(self.host), _machine(host or describe_host())
        return None if measured == here else f"measured on {measured}, and this is {here}"

    def save(self, path: Path) -> None:
        """Writes the table to a file in one step, so that readers see the old table or the new one, never a part of it.

        Raises:
            OSError: The file cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.model_dump_json(indent=1) + "\n")

    def predict(self, space: ModelSpace, arch: Mapping[str, Any]) -> float:
        """Returns the predicted latency of a call of an arch, in milliseconds; each arch is computed once, see `explain`.

        Raises:
            ProfileError: The table is empty, of another space or other settings, or has no operation of a kind that is needed
                or no size of the images.
            ArchError: The arch does not belong to the space.
        """
        return self.explain(space, arch).ms

    def explain(self, space: ModelSpace, arch: Mapping[str, Any]) -> LatencyPrediction:
        """Returns the predicted latency of a call of an arch, with the share of it that was measured.

        The first prediction for an arch is kept, and returned even if the table is changed afterwards.

        Raises:
            ProfileError: The table is empty, of another space or other settings, or has no operation of a kind that is needed
                or no size of the images.
            ArchError: The arch does not belong to the space.
        """
        self._check(space)
        arch = space.canonical(arch)
        key = json.dumps(arch, sort_keys=True, default=str)
        if key not in self._known:
            self._known[key] = self._sum(self.operations_of(space, arch))
        return self._known[key]

    def operations_of(self, space: ModelSpace, arch: Mapping[str, Any]) -> list[Operation]:
        """Returns the operations of an arch, with the batch size and the image size or the lengths of this table.

        Raises:
            ProfileError: The networks of the space take images, and the table has no image size.
            ArchError: The arch does not belong to the space.
        """
        if isinstance(space, HubSpace) and not space.takes_images:
            return arch_operations(space, arch, space.cost_inputs(self.lengths, batch=self.batch_size))
        if self.input_size is None:
            raise ProfileError(f"the latency table of {self.space} has no input_size, the size of the images; build it anew")
        return arch_operations(space, arch, (self.batch_size, 3, self.input_size, self.input_size))

    def features(self, operations: Sequence[Operation]) -> np.ndarray:
        """Returns the five numbers by which the fields of `Calibration` are multiplied, in their order, for a prediction.

        They are the milliseconds of convolutions and matrix products, the milliseconds of the other operations, the millions of
        weights, the number of operations, and 1.

        Raises:
            ProfileError: An operation was not measured, nor any of its kind.
        """
        heavy = sum(self._time(operation) for operation in operations if operation.macs)
        light = sum(self._time(operation) for operation in operations if not operation.macs)
        return np.array([heavy, light, sum(operation.weights for operation in operations) / 1e6, len(operations), 1.0])

    def recalibrated(self, space: ModelSpace) -> LatencyTable:
        """Returns a copy of the table with calibration and error computed anew from `networks`.

        Without networks of the role "fit", a prediction is the sum of the times of the operations; without any of the role
        "check", the error is None.

        Raises:
            ProfileError: As `predict`.
            ArchError: The arch of a network does not belong to the space.
        """
        rows = {role: [net for net in self.networks if net.role == role] for role in ("fit", "check")}
        table = self.model_copy(update={"calibration": Calibration(), "error": None})
        table._known = {}  # Of this table: predictions depend on the calibration.
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
        if space_name(space) != self.space:
            raise ProfileError(f"the latency table is of {self.space}, not of {space_name(space)}: build one for that space")
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
    """Returns the settings of a space as JSON, so that a tuple and a list with the same elements compare as equal."""
    return json.dumps({field.name: getattr(space, field.name) for field in fields(space)}, default=str)  # type: ignore[arg-type]


def _machine(host: Host) -> str:
    """Returns a phrase with the properties of a machine on which a table depends."""
    runtime = host.versions.get("onnxruntime-gpu", host.versions.get("onnxruntime"))
    return f"{host.cpu} with {host.cores} cores and ONNX Runtime {runtime}"


def same_arch(a: Arch, b: Arch) -> bool:
    """Returns whether two canonical archs are equal, with tuples and lists of the same elements counted as equal."""
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)
