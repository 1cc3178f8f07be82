"""The largest errors of an implementation over a chunk of points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from portable_bce._verify.exact import Exact, errors
from portable_bce._verify.points import BLOCK, Chunk, Points
from portable_bce._verify.subjects import Subject

VALUES = ("loss", "grad", "hess")
# Enough to fill a GPU.
_GPU_BLOCK = 2**22
# class of target, class of logit, value
Cell: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Worst:
    """The largest error of a cell, the arguments that gave it, and how many were tried."""

    ulps: float
    count: int
    x: float
    y: float
    w: float | None
    p: float | None
    u: float
    got: float

    def merged(self, other: Worst) -> Worst:
        """Return the worse of two, over the points of both."""
        worse = max(self, other, key=lambda one: one.ulps)
        count = self.count + other.count
        return Worst(worse.ulps, count, *(getattr(worse, name) for name in _ARGUMENTS))


_ARGUMENTS = ("x", "y", "w", "p", "u", "got")


def merge(into: dict[Cell, Worst], found: dict[Cell, Worst]) -> None:
    """Add the worst cases of a chunk to those of a run."""
    for cell, worst in found.items():
        into[cell] = into[cell].merged(worst) if cell in into else worst


def measure(subject: Subject, chunk: Chunk) -> dict[Cell, Worst]:
    """Return the worst case of each value over a chunk."""
    found: dict[Cell, Worst] = {}
    with np.errstate(all="ignore"), subject.opened():
        for points in chunk.blocks(
            subject.spec.form, _GPU_BLOCK if subject.xp is not np else BLOCK
        ):
            for name, worst in _of_block(subject, points).items():
                merge(found, {(chunk.targets, chunk.region, name): worst})
    # Not what was evaluated: a block may repeat its last logit.
    return {cell: replace(worst, count=chunk.count) for cell, worst in found.items()}


def _of_block(subject: Subject, points: Points) -> dict[str, Worst]:
    form, xp = subject.spec.form, subject.xp
    if subject.flushes:
        points = points.without_subnormals(form)
    if xp is not np:
        points = points.moved(xp)
    got = subject.evaluate(points)
    x, y, w, p = (
        None if one is None else one.astype(form.wide)
        for one in (points.x, points.y, points.w, points.p)
    )
    exact = Exact.of(xp, x).values(xp, y, w, p, form.wide(points.u))
    # What the smallest subnormal is multiplied by on the way: a weight, and the logit if
    # the target was scaled before.
    lift: Any = 1.0
    if w is not None or p is not None:
        w, p = (1.0 if factor is None else factor for factor in (w, p))
        lift = xp.maximum(w * (1 + p) * xp.maximum(xp.abs(x), 1), 1)
    lost = form.smallest_normal * lift if subject.flushes else None
    floor = form.smallest * lift
    return {
        name: _worst(xp, points, value, errors(xp, value, *exact[name], floor, form, lost))
        for name, value in got.items()
    }


def _worst(xp: Any, points: Points, got: Any, off: Any) -> Worst:
    index = np.unravel_index(int(xp.argmax(off)), off.shape)

    def at(array: Any) -> float | None:
        return None if array is None else float(xp.broadcast_to(array, off.shape)[index])

    x, y, w, p = (at(one) for one in (points.x, points.y, points.w, points.p))
    return Worst(float(off[index]), 0, x or 0.0, y or 0.0, w, p, points.u, float(got[index]))
