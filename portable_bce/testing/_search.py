"""Find where a law is broken, and the smallest example of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from portable_bce.testing import _points
from portable_bce.testing._law import Fault, Law, Trial
from portable_bce.testing._library import Values

# Faults that are tried alone, and neighbours that are tried beside them.
_TRIED, _NEIGHBOURS = 16, 24


def first_fault(law: Law, trial: Trial, examples: int) -> Fault | None:
    """Return the smallest example of a broken law, or None if it holds."""
    known = _points.fixed(trial.dtype, flushes=trial.flushes)
    others = _points.drawn(trial.dtype, examples, flushes=trial.flushes)
    x, y = (np.concatenate(one) for one in zip(known, others, strict=True))
    faults = law._faults(trial, x, y)
    if not faults:
        return None
    fixed = [one for one in faults if one.at is None or one.at < len(known[0])]
    shrunk = None if fixed else _shrunk(law, trial, examples)
    return shrunk or _smallest(law, trial, x, y, fixed or faults)


def _shrunk(law: Law, trial: Trial, examples: int) -> Fault | None:
    """Return the fault of the smallest array that hypothesis finds, which it shows last."""
    last: list[tuple[Values, Values, list[Fault]]] = []

    def visit(x: Values, y: Values) -> None:
        faults = law._faults(trial, x, y)
        if faults:
            last[:] = [(x, y, faults)]
            raise _points.FoundError

    _points.search(trial.dtype, examples, visit, flushes=trial.flushes)
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
