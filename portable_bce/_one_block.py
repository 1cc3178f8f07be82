"""NumPy: arrays that fit into one block, all kept, reduced to one number or not at all.

What `_blocks` would do, without what only several blocks or a mask need: at a thousand
elements that would be most of the time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from portable_bce._cuts import in_terms, known, logarithms
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula
from portable_bce._reduce import Reduction
from portable_bce._sums import WORTHWHILE, total, wide

_LOSS = ("loss", "terms")


def takes(inputs: Inputs, reduction: Reduction) -> bool:
    """Tell whether no element is masked, none counts more, and one sum is asked at most."""
    counted = reduction.name == "weighted_mean" and inputs.weight is not None
    one = reduction.name == "none" or len(reduction.axes) == inputs.x.ndim
    return one and inputs.where is None and not counted


def evaluate(
    formula: Formula, inputs: Inputs, reduction: Reduction, wanted: tuple[str, ...], rounded: bool
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns, where ``takes`` says so."""
    xp, x, targets, weight, pos_weight, _, smoothing, _, dtype, work, _ = inputs
    operands = [
        one if one is None or isinstance(one, float) else one.astype(work, copy=False)
        for one in (x, targets, weight, pos_weight)
    ]
    summed, wider = reduction.name != "none", wide(work)
    asked = in_terms(formula, inputs, wanted) if summed and x.size >= WORTHWHILE else wanted
    values = formula(xp, asked, *operands, smoothing, **finite(formula, asked, operands[0]))

    def settled(name: str, value: Any) -> Any:
        if name == "terms":
            along, odds = value
            logs = logarithms(np, odds.ravel(order="K"), WORTHWHILE)
            value = total(along, wider) + sum([total(one, wider) for one in logs])
        elif name == "loss" and summed:
            value = total(value, wider)
        if summed and reduction.name != "sum":
            value = value / float(x.size)
        return value.astype(dtype if rounded or name in _LOSS else work, copy=False)

    return tuple([settled(name, value) for name, value in zip(asked, values, strict=True)])


def finite(formula: Formula, asked: tuple[str, ...], x: Any) -> dict[str, bool]:
    """Return what tells the formula that no logit is infinite, if it is so."""
    return known(formula, asked, lambda: math.isfinite(np.add.reduce(x, axis=None)))
