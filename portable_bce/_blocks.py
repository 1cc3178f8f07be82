"""NumPy: the formula in blocks that stay in a core's cache, whatever the layout.

Operation by operation over whole arrays, every intermediate result travels to memory and
back, and its fresh pages cost as much as the arithmetic. A block is a box of the array:
broadcasting, casting and strides are left to NumPy, and nothing but the results is as long
as the input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from portable_bce import _plain
from portable_bce._formula import with_logits
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula, masked, operands, quiet, settled
from portable_bce._reduce import Reduction, Total, counted, denominator, is_counted

# Of one operand in the working dtype; a dozen intermediate results share the cache with it.
BLOCK_BYTES = 2**18
# Elements up to which one evaluation of the whole costs less than the work around a block.
WHOLE = 2**14

Cut: TypeAlias = tuple[slice, ...]


def evaluate(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns: element by element to the last bit."""
    size = max(1, BLOCK_BYTES // np.dtype(inputs.work).itemsize)
    if inputs.x.size <= WHOLE:
        return _plain.evaluate(formula, inputs, reduction, wanted, rounded, total)
    xp, whole = inputs.xp, _spread(inputs)
    dtype = inputs.dtype if rounded else inputs.work
    summed = "loss" in wanted and reduction.name != "none"
    with quiet(xp):
        divisor = _denominator(whole, reduction, size, total)
        loss = _Sum(xp, whole, reduction, total) if summed else None
        results = {
            name: np.empty_like(whole.x, dtype=inputs.dtype if name == "loss" else dtype)
            for name in wanted
            if name != "loss" or loss is None
        }
        asked = _in_terms(wanted) if loss and _splits(formula, whole, reduction) else wanted
        for cut in _cuts(whole.x, size):
            for name, value in _block(formula, _part(whole, cut), asked, divisor, cut):
                if name == "loss" and loss is not None:
                    loss.add(cut, value)
                else:
                    results[name][cut] = value
        if loss is not None:
            results["loss"] = _divided(xp, loss, divisor, reduction, inputs.dtype)
        return tuple(results[name] for name in wanted)


def _block(
    formula: Formula, part: Inputs, asked: tuple[str, ...], divisor: Any, cut: Cut
) -> Iterator[tuple[str, Any]]:
    """Yield what is asked of a block, by name: losses to be summed, derivatives shared out."""
    zeroed = _zeroed(part)
    x, y, w, p = map(zeroed, operands(replace(part, where=None)))
    # The array is here and computed: a look costs less than six operations without one.
    known = {"finite": True} if formula is with_logits and np.isfinite(x).all() else {}
    values = formula(part.xp, asked, x, y, w, p, part.label_smoothing, **known)
    for name, value in zip(asked, values, strict=True):
        if name == "terms":
            yield "loss", zeroed(value[0])
            for odds in _products(zeroed(value[1])):
                yield "loss", np.log1p(odds)
        elif name == "loss":
            yield name, zeroed(value)
        else:
            yield name, zeroed(_shared(value, divisor, cut))


class _Sum:
    """A sum over some axes, kept with length 1: in pairs within a block, compensated across.

    Neumaier, Zeitschrift für Angewandte Mathematik und Mechanik 54, 39 (1974): what each
    addition rounds away is added up beside, so that the number of blocks does not matter.
    """

    def __init__(self, xp: Any, whole: Inputs, reduction: Reduction, total: Total) -> None:
        self._xp, self._axes, self._total = xp, reduction.axes, total
        shape = (1 if axis in self._axes else n for axis, n in enumerate(whole.x.shape))
        self._high = np.zeros(tuple(shape), dtype=np.result_type(whole.work, np.float64))
        self._low = np.zeros_like(self._high)

    def add(self, cut: Cut, terms: Any) -> None:
        """Add a block."""
        place = kept(cut, self._axes)
        if terms.ndim != self._high.ndim:  # all axes in one
            terms = np.reshape(terms, (-1,) + (1,) * (self._high.ndim - 1))
        part, high = self._total(self._xp, terms, self._axes), self._high[place]
        both = high + part
        larger = np.abs(high) >= np.abs(part)
        lost = np.where(larger, (high - both) + part, (part - both) + high)
        self._low[place] += lost
        self._high[place] = both

    def result(self) -> Any:
        """Return the sum; an infinite one is not compensated, by infinity minus infinity."""
        return np.where(np.isfinite(self._high), self._high + self._low, self._high)


def _splits(formula: Formula, whole: Inputs, reduction: Reduction) -> bool:
    """Tell whether the logarithms are only added up, each with a weight of one."""
    weighted = whole.weight is not None or whole.pos_weight is not None or whole.label_smoothing
    everything = len(reduction.axes) == whole.x.ndim
    return formula is with_logits and everything and not weighted


def _in_terms(wanted: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("terms" if name == "loss" else name for name in wanted)


def _products(odds: Any) -> Iterator[Any]:
    """Yield z with the same sum of log1p(z), an eighth as many: (1 + a)(1 + b) = 1 + (a + b + a b).

    Every term is positive, so nothing cancels. log1p is most of the time where NumPy has no
    vectorised one (without AVX-512).
    """
    odds = odds.ravel(order="K")
    for _ in range(3):
        if odds.size % 2:
            yield odds[-1:]
        half = odds.size // 2
        one, other = odds[:half], odds[half : 2 * half]
        odds = one * other
        odds += one
        odds += other
    yield odds


def kept(cut: Cut, axes: tuple[int, ...]) -> Cut:
    """Return where a block's sums over some axes lie in the sums of the whole."""
    return tuple(slice(None) if axis in axes else one for axis, one in enumerate(cut))


def _spread(inputs: Inputs) -> Inputs:
    """Give every operand the shape of the logits, without copying one."""

    def full(value: Any) -> Any:
        return np.broadcast_to(value, inputs.x.shape) if isinstance(value, np.ndarray) else value

    return replace(
        inputs,
        targets=full(inputs.targets),
        weight=full(inputs.weight),
        pos_weight=full(inputs.pos_weight),
        where=full(inputs.where),
    )


def _part(whole: Inputs, cut: Cut) -> Inputs:
    def of(value: Any) -> Any:
        return value[cut] if isinstance(value, np.ndarray) else value

    return replace(
        whole,
        x=whole.x[cut],
        targets=of(whole.targets),
        weight=of(whole.weight),
        pos_weight=of(whole.pos_weight),
        where=of(whole.where),
    )


def _zeroed(part: Inputs) -> Callable[[Any], Any]:
    """Return what sets arrays to zero where masked, before and after the formula.

    By their bits: np.where takes several times as long as an exp when it cannot foresee the
    mask, and a product with 0 would let NaN through.
    """
    if part.where is None:
        return lambda value: value
    integer = {4: np.int32, 8: np.int64}.get(np.dtype(part.work).itemsize)
    if integer is None:  # long double
        return lambda value: masked(part, value) if isinstance(value, np.ndarray) else value
    bits = -part.where.astype(integer)

    def zeroed(value: Any) -> Any:
        array = isinstance(value, np.ndarray)
        return (value.view(integer) & bits).view(value.dtype) if array else value

    return zeroed


def _cuts(x: Any, size: int) -> Iterator[Cut]:
    """Yield boxes of at most ``size`` elements, long where memory runs, in its order."""
    inwards = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    lengths = [1] * x.ndim
    for axis in reversed(inwards):
        pieces = -(-x.shape[axis] // max(size, 1))
        lengths[axis] = -(-x.shape[axis] // pieces)
        size //= lengths[axis]
    starts = (range(0, x.shape[axis], lengths[axis]) for axis in inwards)
    for corner in itertools.product(*starts):
        first = dict(zip(inwards, corner, strict=True))
        yield tuple(slice(first[axis], first[axis] + lengths[axis]) for axis in range(x.ndim))


def _denominator(whole: Inputs, reduction: Reduction, size: int, total: Total) -> Any:
    if not is_counted(reduction, whole.x.shape, whole.weight, whole.where):
        return denominator(reduction, whole.xp, whole.x, whole.weight, whole.where, total)
    found = _Sum(whole.xp, whole, reduction, total)
    for cut in _cuts(whole.x, size):
        part = _part(whole, cut)
        zeroed = _zeroed(part)
        x, _, weight, _ = operands(replace(part, targets=0.0, pos_weight=None, where=None))
        found.add(cut, zeroed(counted(reduction, whole.xp, x, weight, None)))
    return found.result()


def _shared(value: Any, divisor: Any, cut: Cut) -> Any:
    """Return a block's derivative divided by the denominator of the reduction."""
    if divisor is None:
        return value
    if isinstance(divisor, float):
        return value / divisor
    place = tuple(slice(None) if n == 1 else one for n, one in zip(divisor.shape, cut, strict=True))
    return value / divisor[place].astype(value.dtype, copy=False)


def _divided(xp: Any, loss: _Sum, divisor: Any, reduction: Reduction, dtype: Any) -> Any:
    summed = loss.result() if divisor is None else loss.result() / divisor
    return settled(xp, np.squeeze(summed, axis=reduction.axes), dtype)
