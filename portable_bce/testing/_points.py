"""Pairs that laws are tried on, chosen and drawn, and the smallest of them that breaks a law."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from portable_bce.testing._interface import Interface
from portable_bce.testing._law import Fault, Law, Shapes, Trial
from portable_bce.testing._library import Values
from portable_bce.testing.strategies import FORMATS, SOFT_EDGES, pairs, rounded

# Where the published formulas, in float32 and in float64, start to lose something.
_SIZES = [0.0, 1e-3, 1.0, 14.6, 16.6, 17.0, 20.0, 33.3, 37.0, 88.0, 100.0, 700.0]
_TARGETS = [0.0, 1.0, *SOFT_EDGES, 1 - 1e-3, 1 - 2.0**-23]
_SWEEP = np.arange(1, 161) / 4
# Pairs in an array that hypothesis draws and shrinks.
BATCH = 8
# Faults that are tried alone, and neighbours that are tried beside them.
_TRIED, _NEIGHBOURS = 16, 24
# Sizes at which a formula that is wrong only in the tails, or at 0, is right; and pairs there for
# laws of the interface: neighbours differ, and every one is a float of every dtype.
_BULK = (0.25, 8.0)
_LOGITS = np.array([2.0, -1.0, 0.5, -3.0, 1.0, 0.25, 4.0, -0.5, 6.0, -5.0, 1.5])
_LABELS = np.array([1.0, 0.0, 0.25, 1.0, 0.0, 0.5, 0.0, 1.0, 1.0, 0.75, 0.0])


class FoundError(Exception):
    """An array of pairs for hypothesis to shrink."""


def chosen_pairs(dtype: str, *, flushes: bool = False) -> tuple[Values, Values]:
    """Return special logits with special targets, and a sweep of plain ones."""
    largest, normal, subnormal, _ = FORMATS[dtype]
    sizes = [size for size in [*_SIZES, largest, normal, subnormal] if size <= largest]
    x = _in_dtype(np.array([sign * size for size in sizes for sign in (1, -1)]), dtype)
    y = [np.full(x.shape, one) for one in _TARGETS] + _next_to_sigmoid(x, dtype)
    sweep = np.concatenate([_SWEEP, -_SWEEP])
    mixed = [np.full(sweep.shape, one) for one in (0.0, 1.0, 0.3)]
    logits = np.concatenate([np.tile(x, len(y)), np.tile(sweep, len(mixed))])
    return _cleaned(logits, np.concatenate([*y, *mixed]), dtype, flushes)


def _next_to_sigmoid(x: Values, dtype: str) -> list[Values]:
    with np.errstate(over="ignore", under="ignore"):
        near = rounded(1 / (1 + np.exp(-x)), dtype)
        return [near, *(np.nextafter(near, near.dtype.type(end)) for end in (0, 1))]


def _in_dtype(values: Values, dtype: str) -> Values:
    with np.errstate(under="ignore"):
        return np.asarray(rounded(values, dtype), dtype=np.float64)


def _cleaned(x: Values, y: Values, dtype: str, flushes: bool) -> tuple[Values, Values]:
    """Round to the dtype, and where subnormal numbers are flushed do so."""
    least = FORMATS[dtype][1] if flushes else 0.0
    x, y = _in_dtype(x, dtype), _in_dtype(y, dtype)
    return np.where(np.abs(x) < least, 0.0 * x, x), np.where(y < least, 0.0, y)


@lru_cache(maxsize=64)
def drawn_pairs(dtype: str, examples: int, *, flushes: bool = False) -> tuple[Values, Values]:
    """Return the pairs of all arrays that hypothesis draws, in one."""
    batches: list[tuple[Values, Values]] = []
    search(dtype, examples, lambda x, y: batches.append((x, y)), flushes=flushes)
    x, y = (np.concatenate(one) for one in zip(*batches, strict=True))
    return x, y


def search(
    dtype: str, examples: int, visit: Callable[[Values, Values], None], *, flushes: bool = False
) -> None:
    """Show arrays of pairs to ``visit``, always the same, shrunk while it raises FoundError."""

    @settings(
        database=None,
        deadline=None,
        derandomize=True,
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(st.lists(pairs(dtype), min_size=BATCH, max_size=BATCH))
    def once(batch: Sequence[tuple[float, float]]) -> None:
        x, y = np.array(batch, dtype=np.float64).T
        visit(*_cleaned(x, y, dtype, flushes))

    try:
        once()
    except (FoundError, Flaky):  # flaky: what does not agree with itself; the visitor has seen it
        return


# What the kit computes on its own account may underflow, and is no error of a caller's.
@np.errstate(all="ignore")
def first_fault(law: Law, trial: Trial | Interface, examples: int) -> Fault | None:
    """Return the smallest example of a broken law, or None if it holds."""
    if isinstance(trial, Interface):
        if law._shapes is not None:
            return _first_of_shapes(law, trial, examples, law._shapes)
        trial = trial.elementwise()
    known = chosen_pairs(trial.dtype, flushes=trial.flushes)
    others = drawn_pairs(trial.dtype, examples, flushes=trial.flushes)
    x, y = (np.concatenate(one) for one in zip(known, others, strict=True))
    faults = law._faults(trial, x, y)
    if not faults:
        return None
    fixed = [one for one in faults if one.at is None or one.at < len(known[0])]
    shrunk = None if fixed else _shrunk(law, trial, examples)
    return shrunk or _smallest(law, trial, x, y, fixed or faults)


def _first_of_shapes(law: Law, trial: Interface, examples: int, shapes: Shapes) -> Fault | None:
    """Return the fault of the smallest shape, or else that of drawn pairs in its largest shape."""
    for shape in shapes:
        faults = law._faults(trial, np.resize(_LOGITS, shape), np.resize(_LABELS, shape))
        if faults:
            return faults[0]
    if len(shapes[-1]) < 2 or 0 in shapes[-1]:
        return None
    last: list[Fault] = []

    def visit(x: Values, y: Values) -> None:
        x = np.copysign(np.clip(np.abs(x), *_BULK), x)
        x = np.resize(x, (len(x) // BATCH, 2, BATCH // 2))
        faults = law._faults(trial, x, np.resize(y, x.shape))
        if faults:
            last[:] = faults[:1]
            raise FoundError

    try:
        visit(*drawn_pairs(trial.dtype, examples, flushes=trial.flushes))
    except FoundError:
        search(trial.dtype, examples, visit, flushes=trial.flushes)
    return last[0] if last else None


def _shrunk(law: Law, trial: Trial, examples: int) -> Fault | None:
    """Return the fault of the smallest array that hypothesis finds, which it shows last."""
    last: list[tuple[Values, Values, list[Fault]]] = []

    def visit(x: Values, y: Values) -> None:
        faults = law._faults(trial, x, y)
        if faults:
            last[:] = [(x, y, faults)]
            raise FoundError

    search(trial.dtype, examples, visit, flushes=trial.flushes)
    return _smallest(law, trial, *last[0]) if last else None


def _smallest(law: Law, trial: Trial, x: Values, y: Values, faults: list[Fault]) -> Fault:
    """Return the fault of the simplest pair that breaks the law alone, or beside one other."""
    for part in _parts(trial, x, y, faults):
        found = law._faults(trial, x[part], y[part])
        if found:
            return found[0]
    return faults[0]


def _parts(trial: Trial, x: Values, y: Values, faults: list[Fault]) -> Iterator[list[int]]:
    """Yield the indices of ever more pairs, the simplest first."""

    def simple(i: int) -> tuple[int, int, float, bool, int]:
        soft = 0 if y[i] in (0, 1) else len(trial.written(y[i]))
        return soft, len(trial.written(abs(x[i]))), abs(x[i]), bool(np.signbit(x[i])), i

    at = {fault.at for fault in faults if fault.at is not None and fault.at < len(x)}
    suspects = sorted(at or range(len(x)), key=simple)[: _TRIED if at else len(x)]
    yield from ([i] for i in suspects)
    beside = sorted(range(len(x)), key=lambda i: -abs(x[i]))[:_NEIGHBOURS]
    for i in islice(suspects, 3):
        yield from ([i, j] for j in beside if i != j)
