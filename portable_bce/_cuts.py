"""Blocks of any library: how an array is cut, and what may be done with one block at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from portable_bce._formula import with_logits
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula

Cut: TypeAlias = tuple[slice, ...]  # () for the whole


def cuts(shape: Sequence[int], strides: Sequence[int], size: int) -> Iterator[Cut]:
    """Yield boxes of at most ``size`` elements, long where memory runs, in its order."""
    inwards = sorted(range(len(shape)), key=lambda axis: -abs(strides[axis]))
    lengths = [1] * len(shape)
    for axis in reversed(inwards):
        pieces = -(-shape[axis] // max(size, 1))
        lengths[axis] = -(-shape[axis] // pieces)
        size //= lengths[axis]
    starts = (range(0, shape[axis], lengths[axis]) for axis in inwards)
    for corner in itertools.product(*starts):
        first = dict(zip(inwards, corner, strict=True))
        yield tuple(slice(first[axis], first[axis] + lengths[axis]) for axis in range(len(shape)))


def known(
    formula: Formula, asked: tuple[str, ...], is_finite: Callable[[], bool]
) -> dict[str, bool]:
    """Return what tells the formula that it need not guard against 0 times infinity.

    Where an array is on the host and computed, a look at it costs less than the guard: one
    whose sum is finite holds no infinity. (A sum that overflows brings the guard, which
    harms nothing.) What has no such product needs neither.
    """
    if formula is not with_logits:
        return {}
    return {"finite": _GUARDED.isdisjoint(asked) or is_finite()}


_GUARDED = {"loss", "terms", "grad_targets"}


def in_terms(formula: Formula, inputs: Inputs, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Ask for the parts of a loss that is summed, if its logarithms all have a weight of one.

    Then they may be added up as products: see ``logarithms``.
    """
    weighted = inputs.weight is not None or inputs.pos_weight is not None or inputs.label_smoothing
    if formula is not with_logits or weighted:
        return wanted
    return tuple(["terms" if name == "loss" else name for name in wanted])


def logarithms(xp: Any, odds: Any, worthwhile: int) -> Iterator[Any]:
    """Yield terms with the sum of log1p(odds), down to an eighth as many; odds have one axis.

    (1 + a) (1 + b) = 1 + (a + b + a b): every term is positive, so nothing cancels. log1p is
    most of the time where it is not vectorised (NumPy without AVX-512). Fewer odds than
    are ``worthwhile`` cost more to multiply than their logarithms.
    """
    for _ in range(3):
        if len(odds) < worthwhile:
            break
        if len(odds) % 2:
            yield xp.log1p(odds[-1:])
        half = len(odds) // 2
        one, other = odds[:half], odds[half : 2 * half]
        odds = one * other
        odds += one
        odds += other
    yield xp.log1p(odds)
