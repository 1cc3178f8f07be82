"""The formula as straight-line code: one assignment per operation, none of them twice.

The formula is called with symbols in place of arrays, and with a namespace whose functions
record what they are asked. What comes out is read by a printer (as C or CUDA) or evaluated
(by `evaluated`, in any array library). Nothing else is imported here, so that a build can
load this file alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Operation(NamedTuple):
    """One assignment: the function named, of values assigned before, numbers and inputs.

    ``kind`` is "bool" or "number". A cast to another dtype has the name "astype" and the
    dtype as its second argument.
    """

    name: str
    arguments: tuple[Any, ...]
    kind: str


@dataclass(frozen=True, eq=False)
class Symbol:
    """A value of the trace: an input by its name, or the result of an operation."""

    trace: Trace
    name: str
    kind: str
    dtype: Any
    # A symbol is one element, whatever the number of axes.
    ndim = None

    def __bool__(self) -> bool:
        if self.name in self.trace.options:
            return True  # label smoothing and eps are there, whatever their value
        raise TypeError(f"the formula must not branch on the value of {self.name}")

    def __neg__(self) -> Symbol:
        return self.trace.add("negative", self)

    def __add__(self, other: Any) -> Symbol:
        return self.trace.add("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.trace.add("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.trace.add("subtract", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.trace.add("subtract", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.trace.add("multiply", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.trace.add("multiply", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.trace.add("divide", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.trace.add("divide", other, self)

    def __ge__(self, other: Any) -> Symbol:
        return self.trace.add("greater_equal", self, other)

    def __le__(self, other: Any) -> Symbol:
        return self.trace.add("less_equal", self, other)

    def __gt__(self, other: Any) -> Symbol:
        return self.trace.add("greater", self, other)

    def __lt__(self, other: Any) -> Symbol:
        return self.trace.add("less", self, other)

    def __eq__(self, other: Any) -> Any:
        return self.trace.add("equal", self, other)

    def __ne__(self, other: Any) -> Any:
        return self.trace.add("not_equal", self, other)

    def __and__(self, other: Any) -> Symbol:
        return self.trace.add("logical_and", self, other)

    def __rand__(self, other: bool) -> Any:
        return self if other else False  # the formula knows a number, such as a mass of 1

    def __or__(self, other: Any) -> Symbol:
        return self.trace.add("logical_or", self, other)

    __hash__ = object.__hash__


class Number(Symbol, float):  # type: ignore[misc]  # whose operators return symbols
    """A Python number that is known when the code runs.

    Like any float, it is neither cast nor masked, and what is computed from numbers alone is
    computed in Python, once for all elements.
    """

    def __new__(cls, *_: Any) -> Number:
        return float.__new__(cls, "nan")  # for what is not recorded

    __hash__ = object.__hash__


_BOOLS = {
    "greater_equal", "less_equal", "greater", "less", "equal", "not_equal",
    "logical_and", "logical_or", "isinf",
}  # fmt: skip


@dataclass(eq=False)
class Trace:
    """Operations in their order, by the name of what each assigns.

    Those on numbers alone stand apart.
    """

    options: tuple[str, ...] = ()
    numbers: dict[str, Operation] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    outputs: tuple[Any, ...] = ()
    _seen: dict[Operation, Symbol] = field(default_factory=dict)

    def add(self, name: str, *arguments: Any, dtype: Any = None) -> Symbol:
        """Record an operation, unless it was recorded before, and return its result."""
        symbols = [one for one in arguments if isinstance(one, Symbol)]
        kind = "bool" if name in _BOOLS else "number"
        operation = Operation(name, tuple(map(_named, arguments)), kind)
        if operation not in self._seen:
            if dtype is None:
                dtypes = (one.dtype for one in symbols if one.kind == "number")
                dtype = next((one for one in dtypes if one is not None), None)
            is_number = all(isinstance(one, Number) for one in symbols)
            result = Number if is_number else Symbol
            assigned = result(self, f"v{len(self._seen)}", kind, dtype)
            (self.numbers if is_number else self.operations)[assigned.name] = operation
            self._seen[operation] = assigned
        return self._seen[operation]

    def drop_unused(self) -> None:
        """Forget what no output needs: the formula names some values before it is asked."""
        needed = set(self.outputs)
        for name, operation in reversed(self.operations.copy().items()):
            if name in needed:
                needed.update(operation.arguments)
            else:
                del self.operations[name]

    def __str__(self) -> str:
        lines = [
            f"{name} = {one.name}({', '.join(map(str, one.arguments))})"
            for name, one in {**self.numbers, **self.operations}.items()
        ]
        return "\n".join([*lines, f"return {', '.join(map(str, self.outputs))}"])


def _named(value: Any) -> Any:
    """Return a symbol by its name, and a number with its type, so that 1 is not True."""
    return value.name if isinstance(value, Symbol) else value


class Namespace:
    """The functions of the array API standard that the formula and the casts call."""

    def __init__(self, trace: Trace, finfo: Callable[[Any], Any]) -> None:
        self._trace, self.finfo = trace, finfo

    def astype(self, x: Symbol, dtype: Any, *, copy: bool = True) -> Symbol:
        if x.dtype == dtype and x.kind == "number":
            return x
        return self._trace.add("astype", x, dtype, dtype=dtype)

    def exp(self, x: Symbol) -> Symbol:
        return self._trace.add("exp", x)

    def log1p(self, x: Symbol) -> Symbol:
        return self._trace.add("log1p", x)

    def log(self, x: Symbol) -> Symbol:
        return self._trace.add("log", x)

    def abs(self, x: Symbol) -> Symbol:
        return self._trace.add("abs", x)

    def isinf(self, x: Symbol) -> Symbol:
        return self._trace.add("isinf", x)

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        if isinstance(condition, bool):
            return x if condition else y
        return self._trace.add("where", condition, x, y)


def traced(
    formula: Callable[..., tuple[Any, ...]],
    outputs: tuple[str, ...],
    present: Iterable[str],
    finfo: Callable[[Any], Any],
    dtype: Any = "number",
) -> Trace:
    """Return the trace of a formula.

    Parameters
    ----------
    formula : callable
        ``(xp, outputs, x, y, w, p, u)``, and ``eps`` if that is present.
    outputs : tuple of str
        What the formula is asked for.
    present : iterable of str
        Which of "w", "p", "u" and "eps" are there; x and y always are.
    finfo : callable
        What the namespace answers for the limits of ``dtype``.
    dtype : object
        The dtype of all inputs.
    """
    trace = Trace(options=("u", "eps"))
    xp = Namespace(trace, finfo)
    given = {name: Symbol(trace, name, "number", dtype) for name in ("x", "y", *present)}
    x, y, w, p = (given.get(name) for name in ("x", "y", "w", "p"))
    options = (given["eps"],) if "eps" in given else ()
    values = formula(xp, outputs, x, y, w, p, given.get("u", 0.0), *options)
    trace.outputs = tuple(map(_named, values))
    trace.drop_unused()
    return trace


def evaluated(trace: Trace, xp: Any, **inputs: Any) -> tuple[Any, ...]:
    """Evaluate a trace operation by operation in an array library."""
    operations = {**trace.numbers, **trace.operations}
    known = assigned(operations, xp, {"number": inputs["x"].dtype, **inputs})
    return tuple(known[one] if isinstance(one, str) else one for one in trace.outputs)


def assigned(operations: dict[str, Operation], xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs and the result of each operation, by name."""
    known = dict(inputs)
    for name, (function, arguments, _) in operations.items():
        values = [known.get(one, one) if isinstance(one, str) else one for one in arguments]
        known[name] = (_OPERATORS.get(function) or getattr(xp, function))(*values)
    return known


_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "greater_equal": operator.ge,
    "less_equal": operator.le,
    "greater": operator.gt,
    "less": operator.lt,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "logical_and": operator.and_,
    "logical_or": operator.or_,
    "negative": operator.neg,
}
