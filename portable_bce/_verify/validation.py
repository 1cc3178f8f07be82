"""How far the reference itself is from mpmath's, in ULP of the format that it judges."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_bce._verify.exact import Exact, Format
from portable_bce._verify.points import TARGETS, numbers, regions

_POINTS = 12


def against_mpmath(form: Format, seed: int = 0) -> float:
    """Return the largest error of the reference over random points of every class.

    Raises
    ------
    ModuleNotFoundError
        mpmath is not installed.
    """
    from mpmath import mp  # noqa: PLC0415 (an extra; sweeps work without it)

    from portable_bce.testing import reference, ulp  # noqa: PLC0415

    exact_value: dict[str, Any] = {
        "loss": reference.logit_loss,
        "grad": reference.logit_grad,
        "hess": reference.logit_hess,
    }
    rng, worst = np.random.default_rng(seed), 0.0
    for targets in TARGETS.values():
        for start, stop in regions(form).values():
            bits = rng.integers(start, stop, _POINTS, dtype=np.uint64)
            x = numbers(bits, rng.integers(0, 2, _POINTS), form)
            y, w, p, u = targets.draw(rng, form, x)
            xx, yy, ww, pp = (
                None if one is None else one.astype(form.wide) for one in (x, y, w, p)
            )
            with np.errstate(all="ignore"):
                got = Exact.of(np, xx).values(np, yy, ww, pp, form.wide(u))
            for name, (values, scales) in got.items():
                for i in range(_POINTS):
                    weights = [1 if one is None else one[i] for one in (w, p)]
                    with mp.workprec(reference.BITS):
                        exact = exact_value[name](x[i], y[i], *weights, u)
                        reach = max(abs(exact), 0 if scales is None else exactly(scales[i]))
                        off = abs(exactly(values[i]) - exact) / ulp.spacing(reach, form.name)
                        worst = max(worst, float(off))
    return worst


def exactly(value: Any) -> Any:
    """Return a NumPy number as mpmath's, a long double as well, which float() would round."""
    from mpmath import mp, mpf  # noqa: PLC0415

    if not np.isfinite(value):
        return mpf(float(value))
    part, exponent = np.frexp(value)
    high = np.float64(part)
    with mp.workprec(128):
        return mp.ldexp(mpf(float(high)) + mpf(float(part - high)), int(exponent))
