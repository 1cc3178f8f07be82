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

    Examples
    --------
    >>> from mpmath import mpf
    >>> from portable_bce.testing import reference
    >>> float(reference.softplus(mpf(-40)))
    4.248354255291589e-18
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

    Examples
    --------
    >>> from mpmath import mpf
    >>> from portable_bce.testing import reference
    >>> float(reference.sigmoid(mpf(-40)))
    4.248354255291589e-18
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

    Examples
    --------
    >>> from mpmath import mpf
    >>> from portable_bce.testing import reference
    >>> float(reference.times(mpf(0), mpf("inf")))
    0.0
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

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> a, b = reference.masses(1.0, 3.0, 0.5)
    >>> float(a), float(b)
    (2.25, 0.25)
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

    Examples
    --------
    >>> from mpmath import mpf
    >>> from portable_bce.testing import reference
    >>> float(reference.log(mpf(0)))
    -inf
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

    Examples
    --------
    >>> from mpmath import mpf
    >>> from portable_bce.testing import reference
    >>> float(reference.log_rest(mpf(2) ** -200))
    -6.223015277861142e-61
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

    Examples
    --------
    >>> from mpmath import mpf
    >>> from portable_bce.testing import reference
    >>> float(reference.inverse(mpf(0)))
    inf
    """
    return mp.inf if x == 0 else 1 / x
