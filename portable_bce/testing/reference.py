"""Binary cross-entropy and its derivatives in arbitrary precision, from the definition.

With logit x, target y, weight w, positive weight p and label smoothing u the loss is

    L = A softplus(-x) + B softplus(x),   A = w p (y (1 - u) + u / 2),
                                          B = w ((1 - y) (1 - u) + u / 2).

Every function takes Python floats or NumPy scalars, in the order x, y, w, p, u (q, a
probability, in place of x where its name says so), and returns an mpf of 300 bits.

>>> from portable_bce.testing import reference
>>> float(reference.logit_grad(100.0, 1.0))  # sigmoid(100) - 1, of which doubles keep nothing
-3.720075976020836e-44
"""

from __future__ import annotations

from typing import Any

from mpmath import mp, mpf

from portable_bce.testing._certainty import (
    probability_grad,
    probability_grad_target,
    probability_hess,
    probability_loss,
)
from portable_bce.testing._pieces import (
    BITS,
    inverse,
    log,
    log_rest,
    masses,
    sigmoid,
    softplus,
    times,
)

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


def logit_loss(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the loss of a logit; no mass, no loss: 0 times infinity is 0.

    Parameters
    ----------
    x : float
        Logit, infinite ones included.
    y : float
        Target.
    w, p, u : float
        Weight, positive weight and label smoothing.

    Returns
    -------
    mpf

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> float(reference.logit_loss(-100.0, 0.0))
    3.720075976020836e-44
    """
    with mp.workprec(BITS):
        x, (a, b) = mpf(float(x)), masses(y, p, u)
        return times(mpf(float(w)), times(a, softplus(-x)) + times(b, softplus(x)))


def logit_grad(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the derivative of the loss by the logit, B sigmoid(x) - A sigmoid(-x).

    Parameters
    ----------
    x : float
        Logit, infinite ones included.
    y : float
        Target.
    w, p, u : float
        Weight, positive weight and label smoothing.

    Returns
    -------
    mpf

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> float(reference.logit_grad(40.0, 1.0))
    -4.248354255291589e-18
    """
    with mp.workprec(BITS):
        x, (a, b) = mpf(float(x)), masses(y, p, u)
        if abs(x) < 1:  # at a = b nothing may be left of one half
            return mpf(float(w)) * ((b - a) + (a + b) * mp.tanh(x / 2)) / 2
        return mpf(float(w)) * (b * sigmoid(x) - a * sigmoid(-x))


def logit_hess(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the second derivative of the loss by the logit, (A + B) sigmoid(x) sigmoid(-x).

    Parameters
    ----------
    x : float
        Logit, infinite ones included.
    y : float
        Target.
    w, p, u : float
        Weight, positive weight and label smoothing.

    Returns
    -------
    mpf

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> float(reference.logit_hess(40.0, 1.0))
    4.248354255291589e-18
    """
    with mp.workprec(BITS):
        x, (a, b) = mpf(float(x)), masses(y, p, u)
        return mpf(float(w)) * (a + b) * sigmoid(x) * sigmoid(-x)


def logit_grad_target(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the derivative of the loss by the target, w (1 - u) (p softplus(-x) - softplus(x)).

    Parameters
    ----------
    x : float
        Logit, infinite ones included.
    y : float
        Target.
    w, p, u : float
        Weight, positive weight and label smoothing.

    Returns
    -------
    mpf

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> float(reference.logit_grad_target(3.0, 1.0))
    -3.0
    """
    with mp.workprec(BITS):
        x, p, u = mpf(float(x)), mpf(float(p)), mpf(float(u))
        # p softplus(-x) - softplus(x), by softplus(x) - softplus(-x) = x
        slope = (p - 1) * softplus(-abs(x)) - (x if x > 0 else times(p, x))
        return times(mpf(float(w)) * (1 - u), slope)


def logit_grad_weight(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the derivative of the loss by the weight: the loss of weight 1, whatever `w`.

    Parameters
    ----------
    x : float
        Logit, infinite ones included.
    y : float
        Target.
    w, p, u : float
        Weight, positive weight and label smoothing.

    Returns
    -------
    mpf

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> float(reference.logit_grad_weight(0.0, 1.0, 2.0))
    0.6931471805599453
    """
    del w
    return logit_loss(x, y, 1, p, u)


def logit_grad_pos_weight(x: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the derivative of the loss by the positive weight, w (y (1 - u) + u / 2) softplus(-x).

    Parameters
    ----------
    x : float
        Logit, infinite ones included.
    y : float
        Target.
    w, p, u : float
        Weight, positive weight and label smoothing.

    Returns
    -------
    mpf

    Examples
    --------
    >>> from portable_bce.testing import reference
    >>> float(reference.logit_grad_pos_weight(0.0, 1.0, 2.0, 3.0))
    1.3862943611198906
    """
    del p
    with mp.workprec(BITS):
        pulling, _ = masses(y, 1, u)
        return times(mpf(float(w)) * pulling, softplus(-mpf(float(x))))
