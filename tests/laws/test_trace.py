"""The trace of the formula is the formula: the same bits, each operation once, in plain text."""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable, Iterator
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from array_api_compat import numpy as compat

from portable_bce import _formula
from portable_bce._runners.trace import Trace, evaluated, traced

Formula = Callable[..., tuple[Any, ...]]

FORMULAS: dict[str, Formula] = {
    name: function
    for name, function in inspect.getmembers(_formula, inspect.isfunction)
    if list(inspect.signature(function).parameters)[:2] == ["xp", "outputs"]
}
OUTPUTS = ("loss", "grad", "hess", "grad_targets")
OPERATORS = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "negative": "neg",
    "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "equal": "eq", "not_equal": "ne", "logical_and": "and_", "logical_or": "or_",
}  # fmt: skip
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Return all of them, the empty one first."""
    return chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))


def presents(formula: Formula) -> list[tuple[str, ...]]:
    """Return which operands beside x and y may be there."""
    has_eps = "eps" in inspect.signature(formula).parameters
    return list(subsets(("w", "p", "u", "eps") if has_eps else ("w", "p", "u")))


CASES = [
    pytest.param(name, present, id=f"{name}-{''.join(present) or 'plain'}")
    for name, formula in FORMULAS.items()
    for present in presents(formula)
]


def operands(name: str, present: tuple[str, ...], dtype: Any) -> dict[str, Any]:
    """Return values of every kind, each with each."""
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    if name == "with_probabilities":
        x = [0.0, 1.0, tiny, 1e-30, 0.25, 0.5, 0.9, 1 - np.finfo(dtype).epsneg, -0.5, 1.5, np.nan]
    else:
        x = [0.0, -0.0, 1.5, -1.5, 17, -40, 104, -750, tiny, -huge, np.inf, -np.inf, np.nan]
    y = [0.0, 1.0, 0.25, 1e-7, np.nan]
    w, p = [0.0, 1.0, 0.3, 1e30, np.inf], [1.0, 2.5]
    grid = np.meshgrid(x, y, w, p, indexing="ij")
    arrays = {one: values.ravel().astype(dtype) for one, values in zip("xywp", grid, strict=True)}
    numbers = {"u": 0.1, "eps": 0.01}
    return {one: (arrays | numbers)[one] for one in ("x", "y", *present)}


def plainly(formula: Formula, outputs: tuple[str, ...], given: dict[str, Any]) -> tuple[Any, ...]:
    """Evaluate a formula by NumPy's operations."""
    eps = {"eps": given["eps"]} if "eps" in given else {}
    x, y, w, p = (given.get(one) for one in "xywp")
    return formula(compat, outputs, x, y, w, p, given.get("u", 0.0), **eps)


def bits(values: Any) -> Any:
    """Return an array as integers, so that -0 is not 0, and one NaN for all."""
    values = np.where(np.isnan(values), np.asarray(np.nan, values.dtype), values)
    return values.view(f"u{values.itemsize}")


def assert_same(got: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(bits(one), bits(other))


def test_every_formula_is_traced() -> None:
    assert {"with_logits", "with_probabilities"} <= set(FORMULAS)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "present"), CASES)
def test_trace_gives_the_bits_of_plain_operations(
    name: str, present: tuple[str, ...], dtype: Any
) -> None:
    formula, given = FORMULAS[name], operands(name, present, dtype)
    with np.errstate(all="ignore"):
        for outputs in subsets(OUTPUTS):
            trace = traced(formula, outputs, present, np.finfo, dtype)
            assert_same(evaluated(trace, compat, **given), plainly(formula, outputs, given))


@pytest.mark.parametrize(("name", "present"), CASES)
def test_no_operation_stands_in_a_trace_twice(name: str, present: tuple[str, ...]) -> None:
    trace = traced(FORMULAS[name], OUTPUTS, present, np.finfo, DTYPES[0])
    operations = list(trace.operations.values())
    assert len(operations) == len(set(operations))


@pytest.mark.parametrize(("name", "present"), CASES)
def test_every_operation_is_assigned_before_it_is_used_and_is_used(
    name: str, present: tuple[str, ...]
) -> None:
    for outputs in subsets(OUTPUTS):
        trace = traced(FORMULAS[name], outputs, present, np.finfo, DTYPES[0])
        known, used = {"x", "y", *present}, set(trace.outputs)
        for assigned, assignment in trace.operations.items():
            names = {one for one in assignment.arguments if isinstance(one, str)}
            assert names <= known, assignment
            known.add(assigned)
            used |= names
        assert set(trace.operations) <= used


def test_loss_gradient_and_hessian_share_one_exponential() -> None:
    """A call of the library is most of the work; the four outputs take one exp and one log1p."""
    for present in presents(_formula.with_logits):
        trace = traced(_formula.with_logits, OUTPUTS, present, np.finfo, DTYPES[1])
        names = [operation.name for operation in trace.operations.values()]
        assert (names.count("exp"), names.count("log1p")) == (1, 1)


@pytest.mark.parametrize("outputs", list(subsets(OUTPUTS)), ids="-".join)
def test_what_is_not_asked_for_is_not_computed(outputs: tuple[str, ...]) -> None:
    trace = traced(_formula.with_logits, outputs, (), np.finfo, DTYPES[1])
    names = {operation.name for operation in trace.operations.values()}
    assert ("log1p" in names) == bool({"loss", "grad_targets"} & set(outputs))
    assert ("divide" in names) == bool({"grad", "hess"} & set(outputs))


def of(function: Callable[..., Any]) -> Trace:
    """Trace a function of (xp, x, y) as a formula."""
    return traced(
        lambda xp, outputs, x, y, w, p, u: (function(xp, x, y),), (), (), np.finfo, DTYPES[1]
    )


@pytest.mark.parametrize(
    "branch",
    [
        lambda xp, x, y: x if x > 0 else -x,
        lambda xp, x, y: x if x == y else y,
        lambda xp, x, y: 1 / x if x else x,
        lambda xp, x, y: max(x, y),
        lambda xp, x, y: x if xp.isinf(x) and y > 0 else y,
        lambda xp, x, y: not x,
    ],
)
def test_a_formula_cannot_branch_on_a_value(branch: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="must not branch on the value"):
        of(branch)


def test_a_formula_cannot_take_a_value_out_of_the_trace() -> None:
    for leak in (lambda xp, x, y: float(x), lambda xp, x, y: math.exp(x)):
        with pytest.raises(TypeError):
            of(leak)


def test_numbers_stand_where_the_formula_wrote_them() -> None:
    def sides(xp: Any, x: Any, y: Any) -> Any:
        return (1 - x) + (x - 1) + 2 / x + x / 2 + 3 * x - -x

    x = np.asarray([0.75, 3.0])
    assert_same(evaluated(of(sides), compat, x=x, y=x), (sides(compat, x, x),))


def run(text: str, given: dict[str, Any]) -> tuple[Any, ...]:
    """Run the text of a trace as Python, whose operators keep a number a number."""
    lines = re.sub(r"^return (.*)$", r"results = (\1,)", text, flags=re.MULTILINE)
    operators = {name: getattr(operator, short) for name, short in OPERATORS.items()}
    known = vars(np) | {"astype": compat.astype} | operators | given
    exec(lines, known)
    return tuple(known["results"])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "present"), CASES)
def test_a_trace_can_be_read_and_says_all(name: str, present: tuple[str, ...], dtype: Any) -> None:
    """One assignment a line; run as Python, the text computes what the trace does."""
    given = operands(name, present, dtype)
    trace = traced(FORMULAS[name], OUTPUTS, present, np.finfo, dtype)
    text = str(trace)
    assert text.count("\n") == len(trace.operations)
    with np.errstate(all="ignore"):
        assert_same(run(text, given), evaluated(trace, compat, **given))
