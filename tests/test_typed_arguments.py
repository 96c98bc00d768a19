"""Arguments from YAML and JSON: typed by the signature that they go to, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import JobError
from hubserve.typed_arguments import typed_arguments


@dataclass(frozen=True)
class Cost:
    name: str
    bound: float = 1.0


class Own:
    def __init__(
        self,
        rate: float = 0.1,
        size: int | None = None,
        augment: bool = True,
        widths: tuple[int, ...] = (),
        factors: Sequence[float] = (),
        mode: Literal["a", "b"] = "a",
        cost: Cost | None = None,
        act: Callable[[float], float] | None = None,
        text: str = "",
        anything: Any = None,
        untyped=None,
        untyped_rate=0.5,
        untyped_flag=False,
    ) -> None: ...


def typed(function=Own, **arguments):
    return typed_arguments(function, arguments, where="strategy.arguments.", error=JobError)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rate: 1e-2", 0.01),
        ("rate: 1.5e3", 1500.0),
        ("rate: '0.5'", 0.5),
        ("size: '16'", 16),
        ("size: 16.0", 16),
        ("size: null", None),
        ("augment: 'false'", False),
        ("augment: off", False),
        ("widths: [8, '16']", (8, 16)),
        ("factors: ['1e-2', 1]", [0.01, 1]),
        ("mode: b", "b"),
        ("cost: {name: macs, bound: 3e8}", Cost("macs", 3e8)),
        ("text: 1e-2", "1e-2"),
        ("untyped_rate: 1e-2", 0.01),
        ("untyped_rate: auto", "auto"),
        ("untyped_flag: 'no'", False),
        ("untyped: plain", "plain"),
        ("anything: [1, a]", [1, "a"]),
        ("other: 1", 1),
    ],
)
def test_a_value_gets_the_type_of_the_parameter(text, value):
    (found,) = typed(**yaml.safe_load(text)).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: fast", "^strategy.arguments.rate = 'fast': Input should be a valid number"),
        ("rate: yes", "^strategy.arguments.rate = True: a number is asked for, and YAML reads yes"),
        ("size: 1.5", "^strategy.arguments.size = 1.5: .*fractional"),
        ("size: on", "^strategy.arguments.size = True: a number is asked for"),
        ("augment: maybe", "^strategy.arguments.augment = 'maybe': .*boolean"),
        ("widths: [8, wide]", r"^strategy.arguments.widths.1 = 'wide': "),
        ("widths: '16'", "^strategy.arguments.widths = '16': "),
        ("mode: c", "^strategy.arguments.mode = 'c': Input should be 'a' or 'b'"),
        ("cost: {name: macs, bound: x}", "^strategy.arguments.cost.bound = 'x': "),
        ("act: relu", "^strategy.arguments.act = 'relu': Input should be callable"),
        ("text: 5", "^strategy.arguments.text = 5: Input should be a valid string"),
        ("untyped: 1e-2", "^strategy.arguments.untyped = '1e-2' is text: .* Write 0.01 for the number"),
        ("anything: 1.5e3", "^strategy.arguments.anything = '1.5e3' is text: "),
        ("other: 1e-2", "^strategy.arguments.other = '1e-2' is text: "),
    ],
)
def test_what_does_not_fit_is_named(text, message):
    with pytest.raises(JobError, match=message):
        typed(**yaml.safe_load(text))


def test_ints_stay_ints_where_a_float_is_asked_for():
    """Settings of a study are compared as text when it is resumed: an earlier one has 1 and not 1.0."""
    found = typed(rate=1, factors=[1, 2.5])
    assert [repr(found["rate"]), repr(found["factors"])] == ["1", "[1, 2.5]"]


def test_functions_partials_and_signatures_that_are_not_known():
    def load(folder: str, *, size: int = 1) -> None: ...

    assert typed(load, size="16") == {"size": 16}
    assert typed(partial(load, "here"), size="16") == {"size": 16}
    assert typed(print, sep="16") == {"sep": "16"}
    assert typed(Cost, bound="16") == {"bound": 16.0}

    def unknown(rate: NotImported = 0.1) -> None: ...  # noqa: F821

    assert typed(unknown, rate="1e-2") == {"rate": 0.01}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
def test_numbers_that_are_written_as_text(number, whole):
    found = typed(rate=repr(number), size=str(whole), untyped_rate=f"{whole}e0")
    assert found == {"rate": number, "size": whole, "untyped_rate": whole}
