"""Binary cross-entropy and its derivatives in arbitrary precision, from the definition."""

from __future__ import annotations

from typing import Any

import mpmath
from mpmath import mp, mpf

# Twice the 53 bits of the inputs, for what cancels between two of them, and room.
BITS = 300


def softplus(x: mpf) -> mpf:
    """log(1 + exp(x)), by its definition where exp does not overflow the patience of mpmath."""
    if mpmath.isinf(x):
        return x if x > 0 else mpf(0)
    return (x if x > 0 else mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def sigmoid(x: mpf) -> mpf:
    if mpmath.isinf(x):
        return mpf(1) if x > 0 else mpf(0)
    return 1 / (1 + mp.exp(-x)) if x >= 0 else mp.exp(x) / (1 + mp.exp(x))


def times(mass: mpf, value: mpf) -> mpf:
    """Zero times infinity is zero here: no mass, no loss."""
    return mpf(0) if mass == 0 else mass * value


def masses(y: Any, p: Any, u: Any) -> tuple[mpf, mpf]:
    y, p, u = mpf(float(y)), mpf(float(p)), mpf(float(u))
    return p * (y * (1 - u) + u / 2), (1 - y) * (1 - u) + u / 2


def logit_loss(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        x, (a, b) = mpf(float(x)), masses(y, p, u)
        return times(mpf(float(w)), times(a, softplus(-x)) + times(b, softplus(x)))


def logit_grad(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        x, (a, b) = mpf(float(x)), masses(y, p, u)
        if abs(x) < 1:  # at a = b nothing may be left of one half
            return mpf(float(w)) * ((b - a) + (a + b) * mp.tanh(x / 2)) / 2
        return mpf(float(w)) * (b * sigmoid(x) - a * sigmoid(-x))


def logit_hess(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        x, (a, b) = mpf(float(x)), masses(y, p, u)
        return mpf(float(w)) * (a + b) * sigmoid(x) * sigmoid(-x)


def logit_grad_target(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        x, p, u = mpf(float(x)), mpf(float(p)), mpf(float(u))
        # p softplus(-x) - softplus(x), by softplus(x) - softplus(-x) = x
        slope = (p - 1) * softplus(-abs(x)) - (x if x > 0 else times(p, x))
        return times(mpf(float(w)) * (1 - u), slope)


def probability_loss(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        q, (a, b) = mpf(float(q)), masses(y, p, u)
        return times(mpf(float(w)), -times(a, log(q)) - times(b, log_rest(q)))


def probability_grad(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        q, (a, b) = mpf(float(q)), masses(y, p, u)
        if 0 < q < 1:  # on one denominator, so that what cancels cancels to nothing
            return mpf(float(w)) * (b * q - a * (1 - q)) / (q * (1 - q))
        return times(mpf(float(w)), times(b, inverse(1 - q)) - times(a, inverse(q)))


def probability_hess(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        q, (a, b) = mpf(float(q)), masses(y, p, u)
        return times(mpf(float(w)), times(b, inverse(1 - q) ** 2) + times(a, inverse(q) ** 2))


def probability_grad_target(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    with mp.workprec(BITS):
        q, p, u = mpf(float(q)), mpf(float(p)), mpf(float(u))
        return times(mpf(float(w)) * (1 - u), log_rest(q) - times(p, log(q)))


def log(x: mpf) -> mpf:
    return -mp.inf if x == 0 else mp.log(x)


def log_rest(x: mpf) -> mpf:
    """log(1 - x); 1 - x would need a thousand bits for the smallest x."""
    return -mp.inf if x == 1 else mp.log1p(-x)


def inverse(x: mpf) -> mpf:
    return mp.inf if x == 0 else 1 / x
