"""Compares the outputs of exported models of any inputs with those of eager PyTorch, in batches and row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.errors import ParityError
from hubserve.package.parity import FLOAT32, Bounds, ParityReport
from hubserve.package.runner import TensorRunner
from hubserve.package.signature import Array, ModelSignature


class OutputParity(BaseModel):
    """How far one output of an exported model is from that of eager PyTorch.

    Attributes:
        max_abs_error: Largest absolute difference of two elements; 0 for whole numbers, which must be equal.
        scale: Standard deviation of eager PyTorch's elements, to which the allowed difference is relative.
    """

    model_config = ConfigDict(frozen=True)

    max_abs_error: float
    scale: float


class TensorParityReport(ParityReport):
    """The result of a comparison of a model of any inputs with eager PyTorch.

    The attributes of ParityReport are those of the first output; its `top1_agreement` is 1 if that has no logits. `alone_error`
    is the largest difference of all outputs, as a share of the standard deviation of the output.

    Attributes, besides those of ParityReport:
        lengths: Length of each named axis of the inputs besides "batch", in each batch.
        outputs: Comparison of each output, by its name.
    """

    lengths: tuple[dict[str, int], ...]
    outputs: dict[str, OutputParity]


def check_outputs(
    reference: TensorRunner,
    candidate: TensorRunner,
    signature: ModelSignature,
    batches: Sequence[Sequence[Array]],
    *,
    bounds: Bounds = FLOAT32,
) -> TensorParityReport:
    """Compares the outputs of two runners on several batches; returns the report if the comparison has passed.

    Args:
        reference: Runner whose outputs count as correct.
        candidate: Runner that is compared with it.
        signature: Inputs and outputs of the model.
        batches: Batches of inputs, in the order of the signature, at least one.
        bounds: How far floating point outputs of `candidate` may differ: elements by `bounds.error` as a share of the standard
            deviation (None allows no difference), best classes as `bounds.agreement` and `bounds.near` say. `bounds.rms` is not
            checked. Whole numbers must be equal.

    Raises:
        ParityError: The outputs differ by more than `bounds` allows, or in type or shape, or are not finite; or all elements of
            the first output are one number, which proves nothing.
        HubserveError: A runner failed; see the runners.
    """
    pairs = [(reference.run(batch), candidate.run(batch)) for batch in batches]
    found: dict[str, OutputParity] = {}
    for place, entry in enumerate(signature.outputs):
        columns = []
        for batch, (expected, given) in zip(batches, pairs, strict=True):
            if _kinds(given) != _kinds(expected):
                raise ParityError(
                    f"{candidate.name} answers inputs {_kinds(batch)} with {_kinds(given)}, and {reference.name} with "
                    f"{_kinds(expected)}"
                )
            columns.append((expected[place], given[place]))
        found[entry.name] = _compare(entry.name, reference.name, candidate.name, columns, bounds)
    logits = [(expected[0], given[0]) for expected, given in pairs]
    report = _report(candidate.name, signature, batches, logits, found, bounds)
    if report.scale == 0:
        raise ParityError(f"{reference.name} answers with one number everywhere, which proves nothing about {candidate.name}")
    if not report.passed:
        raise ParityError(
            f"the best class of {candidate.name} is that of {reference.name} for {report.top1_agreement:.1%} of the rows only",
            report,
        )
    return report


def check_rows_alone(
    runner: TensorRunner, signature: ModelSignature, batches: Sequence[Sequence[Array]], *, bounds: Bounds = FLOAT32
) -> float:
    """Compares the outputs for each row alone, without its padding, with those for the same row in a batch of others.

    The outputs are compared where both have elements: those of the padding are not.

    Args:
        runner: Runner that is checked.
        signature: Inputs and outputs of the model.
        batches: Batches of inputs; those of one row are skipped.
        bounds: Floating point outputs may differ by `bounds.error` as a share of their standard deviation in the batch; None
            allows no difference. Whole numbers must be equal.

    Returns:
        The largest difference as a share of the standard deviation of the output; 0 if all batches were skipped.

    Raises:
        ParityError: The outputs differ by more, are no rows of the batch, or an output alone is longer than in the batch.
        HubserveError: The runner failed; see the runners.
    """
    worst = 0.0
    for batch in batches:
        together = runner.run(batch)
        rows = len(batch[0])
        for row in range(rows if rows > 1 else 0):
            alone = runner.run(signature.cut(batch, row))
            for entry, whole, part in zip(signature.outputs, together, alone, strict=True):
                same = part.shape[0] == 1 and len(whole) == rows and part.ndim == whole.ndim
                if not same or any(mine > theirs for mine, theirs in zip(part.shape[1:], whole.shape[1:], strict=True)):
                    raise ParityError(
                        f"{runner.name} answers a row alone with {entry.name} of shape {part.shape}, and {rows} rows with "
                        f"{whole.shape}"
                    )
                overlap = whole[(slice(row, row + 1), *map(slice, part.shape[1:]))]
                worst = max(worst, _difference(entry.name, runner.name, overlap, part, _scale([whole]), bounds))
    return worst


def _difference(output: str, name: str, together: Array, alone: Array, scale: float, bounds: Bounds) -> float:
    """Returns the difference of a row in a batch and alone, as a share of `scale`. Raises ParityError if it is too large."""
    if alone.dtype.kind != "f":
        error, allowed = float((together != alone).any()), 0.0
    else:
        error = float(np.abs(together.astype(np.float64) - alone.astype(np.float64)).max(initial=0.0)) / (scale or 1.0)
        allowed = bounds.error or 0.0
    if not error <= allowed:  # NaN is not, either.
        raise ParityError(
            f"{name} answers a row otherwise alone than in a batch of others: {output} differs by {error:.3g} of its standard "
            f"deviation where {allowed:.3g} is allowed. The answer to a row may depend neither on other rows nor on the "
            "padding behind it: mask the padding in every attention, convolution, mean and normalisation over it, or leave out "
            "`padding` in the description of the input"
        )
    return error


def _compare(
    output: str, reference: str, candidate: str, columns: Sequence[tuple[Array, Array]], bounds: Bounds
) -> OutputParity:
    """Compares one output over all batches and returns the result. Raises ParityError if it differs by too much."""
    scale = _scale([expected for expected, _ in columns])
    if columns[0][0].dtype.kind != "f":
        different = sum(int((expected != given).sum()) for expected, given in columns)
        if different:
            raise ParityError(f"{candidate} differs from {reference} in {different} whole numbers of the output {output!r}")
        return OutputParity(max_abs_error=0.0, scale=scale)
    error = max(
        float(np.abs(expected.astype(np.float64) - given.astype(np.float64)).max(initial=0.0)) for expected, given in columns
    )
    allowed = (bounds.error or 0.0) * (scale or 1.0)
    if not error <= allowed:  # NaN is not, either.
        raise ParityError(
            f"{candidate} differs from {reference} in the output {output!r}: largest error {error:.3g} where {allowed:.3g} is "
            "allowed"
        )
    return OutputParity(max_abs_error=error, scale=scale)


def _scale(arrays: Sequence[Array]) -> float:
    """Returns the standard deviation of all elements."""
    return float(np.concatenate([array.ravel() for array in arrays]).astype(np.float64).std())


def _report(
    name: str,
    signature: ModelSignature,
    batches: Sequence[Sequence[Array]],
    first: Sequence[tuple[Array, Array]],
    outputs: dict[str, OutputParity],
    bounds: Bounds,
) -> TensorParityReport:
    """Returns the report on outputs that are within `bounds`; `first` has the first output of both, in each batch."""
    pairs = [tuple(array.reshape(len(array), -1).astype(np.float64) for array in pair) for pair in first]
    scale = outputs[signature.outputs[0].name].scale
    squares = np.concatenate([(expected - given).ravel() ** 2 for expected, given in pairs])
    agreement = _agreement(pairs, bounds.near * scale) if signature.classes else 1.0
    return TensorParityReport(
        format=name,
        batches=tuple(len(batch[0]) for batch in batches),
        lengths=tuple(_lengths(signature, batch) for batch in batches),
        max_abs_error=outputs[signature.outputs[0].name].max_abs_error,
        rms_error=float(np.sqrt(squares.mean())),
        cosine=min(_cosine(expected, given) for expected, given in pairs),
        scale=scale,
        tolerance=bounds.error,
        rms_tolerance=bounds.rms,
        top1_agreement=agreement,
        agreement_needed=bounds.agreement,
        outputs=outputs,
        passed=scale > 0 and agreement >= bounds.agreement,
    )


def _agreement(pairs: Sequence[tuple[NDArray[np.float64], ...]], near: float) -> float:
    """Returns the share of rows whose best class has, in the first of a pair, a logit at most `near` below the largest."""
    agrees = [
        expected.max(1) - np.take_along_axis(expected, given.argmax(1)[:, None], 1)[:, 0] <= near for expected, given in pairs
    ]
    return float(np.concatenate(agrees).mean())


def _cosine(expected: NDArray[np.float64], given: NDArray[np.float64]) -> float:
    """Returns the smallest cosine similarity of two rows."""
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(given, axis=1)
    return float(((expected * given).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)).min())


def _lengths(signature: ModelSignature, batch: Sequence[Array]) -> dict[str, int]:
    return {
        axis: array.shape[entry.shape.index(axis)]
        for entry, array in zip(signature.inputs, batch, strict=True)
        for axis in signature.axes
        if axis in entry.shape
    }


def _kinds(arrays: Sequence[Array]) -> str:
    kinds: list[Any] = [f"{array.dtype} {array.shape}" for array in arrays]
    return ", ".join(kinds) or "nothing"
