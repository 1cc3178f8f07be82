"""What binary cross-entropy is made of, in the precision that mpmath is set to."""

from __future__ import annotations

from typing import Any

import mpmath
from mpmath import mp, mpf

# Twice the 53 bits of the inputs, for what cancels between two of them, and room.
BITS = 300


def softplus(x: mpf) -> mpf:
    """Return log(1 + exp(x)), by its definition where exp does not overflow the patience of mpmath.

    Parameters
    ----------
    x : mpf
        Any number, infinite ones included.

    Returns
    -------
    mpf
    """
    if mpmath.isinf(x):
        return x if x > 0 else mpf(0)
    return (x if x > 0 else mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def sigmoid(x: mpf) -> mpf:
    """Return the logistic function 1 / (1 + exp(-x)).

    Parameters
    ----------
    x : mpf
        Any number, infinite ones included.

    Returns
    -------
    mpf
    """
    if mpmath.isinf(x):
        return mpf(1) if x > 0 else mpf(0)
    return 1 / (1 + mp.exp(-x)) if x >= 0 else mp.exp(x) / (1 + mp.exp(x))


def times(mass: mpf, value: mpf) -> mpf:
    """Return a product in which zero times infinity is zero: no mass, no loss.

    Parameters
    ----------
    mass, value : mpf
        What is 0 whatever the other is, and the other.

    Returns
    -------
    mpf
    """
    return mpf(0) if mass == 0 else mass * value


def masses(y: Any, p: Any, u: Any) -> tuple[mpf, mpf]:
    """Return A and B for weight 1, what pulls towards 1, and what towards 0.

    Parameters
    ----------
    y, p, u : float
        Target, positive weight and label smoothing.

    Returns
    -------
    tuple of mpf
    """
    y, p, u = mpf(float(y)), mpf(float(p)), mpf(float(u))
    return p * (y * (1 - u) + u / 2), (1 - y) * (1 - u) + u / 2


def log(x: mpf) -> mpf:
    """Return the natural logarithm, minus infinity at 0.

    Parameters
    ----------
    x : mpf
        Not negative.

    Returns
    -------
    mpf
    """
    return -mp.inf if x == 0 else mp.log(x)


def log_rest(x: mpf) -> mpf:
    """Return log(1 - x); 1 - x would need a thousand bits for the smallest x.

    Parameters
    ----------
    x : mpf
        1 at most.

    Returns
    -------
    mpf
    """
    return -mp.inf if x == 1 else mp.log1p(-x)


def inverse(x: mpf) -> mpf:
    """Return 1 / x, infinite at 0.

    Parameters
    ----------
    x : mpf
        Not negative.

    Returns
    -------
    mpf
    """
    return mp.inf if x == 0 else 1 / x
