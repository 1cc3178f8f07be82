"""Exact values on the grid of special inputs, and errors of results, fast enough for many."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from mpmath import mp, mpf

from portable_bce.testing import reference, ulp
from tests.laws import grid
from tests.laws.test_accuracy import cancelling, quotients
from tests.strategies import Case

Array = np.ndarray[Any, Any]
OUTPUTS = ("loss", "grad", "hess")
REFERENCES = {
    "bce_with_logits": (reference.logit_loss, reference.logit_grad, reference.logit_hess),
    "bce": (reference.probability_loss, reference.probability_grad, reference.probability_hess),
}


class Exact(NamedTuple):
    """Exact values of an output: each as the sum of two doubles, and the size of its ULP."""

    values: list[mpf]
    high: Array
    low: Array
    unit: Array
    is_normal: Array
    dtype: str
    underflow: float

    def error(self, got: Array) -> float:
        """Return the largest error of results, in ULP."""
        assert got.dtype == np.dtype(self.dtype)
        assert got.shape == self.high.shape
        plain = self.is_normal & np.isfinite(got)
        with np.errstate(all="ignore"):
            errors = np.abs((got.astype(np.float64) - self.high) - self.low) / self.unit
        # The exception needs more care than two doubles can take.
        for index in np.flatnonzero(~plain):
            errors[index] = ulp.error(
                got[index], self.values[index], self.dtype, underflow=self.underflow
            )
        return float(errors.max())


@cache
def expected(name: str, dtype: str, options: str) -> tuple[Case, dict[str, Exact]]:
    """Return the grid of special inputs, and the exact values of each output."""
    of = grid.of_logits if name == "bce_with_logits" else grid.of_probabilities
    case = of(dtype, grid.OPTIONS[options], as_arrays=True)
    w, p = (np.max(np.abs(case.options.get(factor, 1.0))) for factor in ("weight", "pos_weight"))
    elements = [given for _, *given in case.elements()]
    return case, {
        output: _exact(name, output, exact_value, elements, dtype, float(w * (1 + p)), case)
        for output, exact_value in zip(OUTPUTS, REFERENCES[name], strict=True)
    }


def _exact(
    name: str,
    output: str,
    exact_value: Any,
    elements: list[Any],
    dtype: str,
    underflow: float,
    case: Case,
) -> Exact:
    scale: Callable[..., Any] | None = None
    if output == "grad" and name == "bce_with_logits":
        scale = cancelling
    elif output == "grad" and case.factors():
        scale = quotients
    values = [exact_value(*given) for given in elements]
    with mp.workprec(300):
        scales = [abs(scale(*given)) if scale else mpf(0) for given in elements]
        sizes = [max(abs(value), size) for value, size in zip(values, scales, strict=True)]
        smallest, largest = ulp.smallest_normal(dtype), ulp.largest(dtype)
        is_normal = np.asarray(
            [bool(size >= smallest and abs(value) <= largest)
             for value, size in zip(values, sizes, strict=True)]
        )  # fmt: skip
        high = np.asarray([float(value) for value in values])
        low = np.asarray(
            [float(value - mpf(head)) if np.isfinite(head) else 0.0
             for value, head in zip(values, high, strict=True)]
        )  # fmt: skip
        floor = ulp.spacing(0, dtype) * max(mpf(1), mpf(underflow))
        unit = np.asarray(
            [float(max(ulp.spacing(size, dtype), floor)) if normal else 1.0
             for size, normal in zip(sizes, is_normal, strict=True)]
        )  # fmt: skip
    return Exact(values, high, low, unit, is_normal, dtype, underflow)
