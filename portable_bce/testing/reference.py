"""Binary cross-entropy and its derivatives in arbitrary precision, from the definition.

With logit x, target y, weight w, positive weight p and label smoothing u the loss is

    L = A softplus(-x) + B softplus(x),   A = w p (y (1 - u) + u / 2),
                                          B = w ((1 - y) (1 - u) + u / 2).

Functions take Python floats or NumPy scalars, in the order x, y, w, p, u. Those whose names
begin with ``probability`` take a probability q in place of the logit x. All return an mpf of
300 bits.

>>> from portable_bce.testing import reference
>>> float(reference.logit_grad(100.0, 1.0))  # sigmoid(100) - 1, of which doubles keep nothing
-3.720075976020836e-44
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import mpmath
from mpmath import mp, mpf

__all__ = [
    "BITS",
    "inverse",
    "log",
    "log_rest",
    "logit_grad",
    "logit_grad_pos_weight",
    "logit_grad_target",
    "logit_grad_weight",
    "logit_hess",
    "logit_loss",
    "masses",
    "probability_grad",
    "probability_grad_target",
    "probability_hess",
    "probability_loss",
    "sigmoid",
    "softplus",
    "times",
]

# Twice the 53 bits of the inputs, for what cancels between two of them, and room.
BITS = 300
ZERO, ONE = mpf(0), mpf(1)

_ARGUMENTS = """Parameters
----------
{}, y, w, p, u : float
    {}, target, weight, positive weight and label smoothing.

Returns
-------
mpf

Examples
"""


def _at_300_bits(function: Callable[..., mpf]) -> Callable[..., mpf]:
    """Evaluate with 300 bits, of floats that are taken as they are, and document the arguments."""

    @wraps(function)
    def evaluated(*numbers: Any, **named: Any) -> mpf:
        with mp.workprec(BITS):
            named = {name: mpf(float(number)) for name, number in named.items()}
            return function(*(mpf(float(number)) for number in numbers), **named)

    is_logit = function.__name__.startswith("logit")
    first = ("x", "Logit, which may be infinite") if is_logit else ("q", "Probability")
    sections = _ARGUMENTS.format(*first)
    evaluated.__doc__ = inspect.cleandoc(function.__doc__ or "").replace("Examples\n", sections)
    return evaluated


@_at_300_bits
def logit_loss(x: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return the loss of a logit; no mass, no loss: 0 times infinity is 0.

    Examples
    --------
    >>> float(logit_loss(-100.0, 0.0))
    3.720075976020836e-44
    """
    a, b = masses(y, p, u)
    return times(w, times(a, softplus(-x)) + times(b, softplus(x)))


@_at_300_bits
def logit_grad(x: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return dL/dx, B sigmoid(x) - A sigmoid(-x).

    Examples
    --------
    >>> float(logit_grad(40.0, 1.0))
    -4.248354255291589e-18
    """
    a, b = masses(y, p, u)
    if abs(x) < 1:  # at a = b nothing may be left of one half
        return w * ((b - a) + (a + b) * mp.tanh(x / 2)) / 2
    return w * (b * sigmoid(x) - a * sigmoid(-x))


@_at_300_bits
def logit_hess(x: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return d2L/dx2, (A + B) sigmoid(x) sigmoid(-x).

    Examples
    --------
    >>> float(logit_hess(40.0, 1.0))
    4.248354255291589e-18
    """
    a, b = masses(y, p, u)
    return w * (a + b) * sigmoid(x) * sigmoid(-x)


@_at_300_bits
def logit_grad_target(x: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return dL/dy, w (1 - u) (p softplus(-x) - softplus(x)).

    Examples
    --------
    >>> float(logit_grad_target(3.0, 1.0))
    -3.0
    """
    # p softplus(-x) - softplus(x), by softplus(x) - softplus(-x) = x
    slope = (p - 1) * softplus(-abs(x)) - (x if x > 0 else times(p, x))
    return times(w * (1 - u), slope)


@_at_300_bits
def logit_grad_weight(x: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return dL/dw, which is the loss of weight 1, whatever `w`.

    Examples
    --------
    >>> float(logit_grad_weight(0.0, 1.0, 2.0))
    0.6931471805599453
    """
    del w
    return logit_loss(x, y, 1, p, u)


@_at_300_bits
def logit_grad_pos_weight(x: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return dL/dp, w (y (1 - u) + u / 2) softplus(-x).

    Examples
    --------
    >>> float(logit_grad_pos_weight(0.0, 1.0, 2.0, 3.0))
    1.3862943611198906
    """
    del p
    pulling, _ = masses(y, 1, u)
    return times(w * pulling, softplus(-x))


@_at_300_bits
def probability_loss(q: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return the loss of a probability, -A log q - B log(1 - q).

    Examples
    --------
    >>> float(probability_loss(0.5, 1.0))
    0.6931471805599453
    """
    a, b = masses(y, p, u)
    return times(w, -times(a, log(q)) - times(b, log_rest(q)))


@_at_300_bits
def probability_grad(q: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return dL/dq, B / (1 - q) - A / q.

    Examples
    --------
    >>> float(probability_grad(1.0, 1.0))
    -1.0
    """
    a, b = masses(y, p, u)
    if 0 < q < 1:  # on one denominator, so that what cancels cancels to nothing
        return w * (b * q - a * (1 - q)) / (q * (1 - q))
    return times(w, times(b, inverse(1 - q)) - times(a, inverse(q)))


@_at_300_bits
def probability_hess(q: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return d2L/dq2, B / (1 - q)^2 + A / q^2.

    Examples
    --------
    >>> float(probability_hess(0.5, 1.0))
    4.0
    """
    a, b = masses(y, p, u)
    return times(w, times(b, inverse(1 - q) ** 2) + times(a, inverse(q) ** 2))


@_at_300_bits
def probability_grad_target(q: mpf, y: mpf, w: mpf = ONE, p: mpf = ONE, u: mpf = ZERO) -> mpf:
    """Return dL/dy from a probability, w (1 - u) (log(1 - q) - p log q).

    Examples
    --------
    >>> float(probability_grad_target(0.5, 1.0, 1, 3.0))
    1.3862943611198906
    """
    return times(w * (1 - u), log_rest(q) - times(p, log(q)))


def softplus(x: mpf) -> mpf:
    """Return log(1 + exp(x)); the exponential is only taken of a number that is not positive.

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
    >>> float(softplus(mpf(-40)))
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
    >>> float(sigmoid(mpf(-40)))
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
    >>> float(times(mpf(0), mpf("inf")))
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
    >>> a, b = masses(1.0, 3.0, 0.5)
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
    >>> float(log(mpf(0)))
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
    >>> float(log_rest(mpf(2) ** -200))
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
    >>> float(inverse(mpf(0)))
    inf
    """
    return mp.inf if x == 0 else 1 / x
