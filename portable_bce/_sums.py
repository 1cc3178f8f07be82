"""Sums over blocks, as exact as if nothing had been cut."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_bce._cuts import Cut
from portable_bce._inputs import Inputs
from portable_bce._reduce import Reduction, Total

# Odds from which a product of halves costs less than the logarithms that it spares.
WORTHWHILE = 2**10


class Sum:
    """A sum over some axes: in pairs within a block, compensated across blocks.

    What each addition rounds away is added up beside, so that the number of blocks does
    not matter.
    """

    def __init__(self, inputs: Inputs, reduction: Reduction, total: Total) -> None:
        self._xp, self._axes, self._total = inputs.xp, reduction.axes, total
        self._dtype = wide(inputs.work)
        shape = inputs.x.shape
        self.everything = len(self._axes) == len(shape)
        self._high: Any = 0.0
        self._low: Any = 0.0
        if not self.everything:
            lengths = [1 if axis in self._axes else n for axis, n in enumerate(shape)]
            self._high, self._low = np.zeros((2, *lengths), self._dtype)

    def add(self, cut: Cut, terms: Any) -> None:
        """Add a block."""
        if self.everything:
            self._high, lost = two_sum(self._high, total(terms, self._dtype))
            self._low += lost
        else:
            place = kept(cut, self._axes)
            part = self._total(self._xp, terms, self._axes)
            self._high[place], lost = two_sum(self._high[place], part)
            self._low[place] += lost

    def result(self) -> Any:
        """Return the sum."""
        return compensated(np, self._high, self._low)[()]

    def divided(self, divisor: Any, dtype: Any) -> Any:
        """Return the sum by the denominator, rounded, without the axes that were summed over."""
        summed = self.result() if divisor is None else self.result() / divisor
        summed = summed.astype(dtype)
        return summed if self.everything else np.squeeze(summed, axis=self._axes)


def wide(work: Any) -> Any:
    """Return the dtype to add up in."""
    return work if np.dtype(work).itemsize > 8 else np.float64


def total(terms: Any, dtype: Any) -> Any:
    """Return the sum of a whole block, which NumPy adds in pairs because it is dense."""
    return np.add.reduce(terms, axis=None, dtype=dtype)


def two_sum(one: Any, other: Any) -> tuple[Any, Any]:
    """Return a sum and what rounding took from it, in arrays or numbers of any library.

    Knuth, The Art of Computer Programming 2, section 4.2.2, theorem B.
    """
    both = one + other
    added = both - one
    return both, (one - (both - added)) + (other - added)


def compensated(xp: Any, high: Any, low: Any) -> Any:
    """Give a sum back what rounding took; not an infinite one, by infinity minus infinity."""
    return xp.where(xp.isfinite(high), high + low, high)


def kept(cut: Cut, axes: tuple[int, ...]) -> Cut:
    """Return where a block's sums over some axes lie in the sums of the whole."""
    return tuple([slice(None) if axis in axes else one for axis, one in enumerate(cut)])
