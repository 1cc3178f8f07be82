"""Binary cross-entropy of a probability, which `reference` documents with that of a logit."""

from __future__ import annotations

from typing import Any

from mpmath import mp, mpf

from portable_bce.testing._pieces import BITS, inverse, log, log_rest, masses, times


def probability_loss(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the loss of a probability, -A log q - B log(1 - q).

    Parameters
    ----------
    q : float
        Probability, 0 and 1 included.
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
    >>> float(reference.probability_loss(0.5, 1.0))
    0.6931471805599453
    """
    with mp.workprec(BITS):
        q, (a, b) = mpf(float(q)), masses(y, p, u)
        return times(mpf(float(w)), -times(a, log(q)) - times(b, log_rest(q)))


def probability_grad(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the derivative of the loss by the probability, B / (1 - q) - A / q.

    Parameters
    ----------
    q : float
        Probability, 0 and 1 included.
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
    >>> float(reference.probability_grad(1.0, 1.0))
    -1.0
    """
    with mp.workprec(BITS):
        q, (a, b) = mpf(float(q)), masses(y, p, u)
        if 0 < q < 1:  # on one denominator, so that what cancels cancels to nothing
            return mpf(float(w)) * (b * q - a * (1 - q)) / (q * (1 - q))
        return times(mpf(float(w)), times(b, inverse(1 - q)) - times(a, inverse(q)))


def probability_hess(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the second derivative by the probability, B / (1 - q)^2 + A / q^2.

    Parameters
    ----------
    q : float
        Probability, 0 and 1 included.
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
    >>> float(reference.probability_hess(0.5, 1.0))
    4.0
    """
    with mp.workprec(BITS):
        q, (a, b) = mpf(float(q)), masses(y, p, u)
        return times(mpf(float(w)), times(b, inverse(1 - q) ** 2) + times(a, inverse(q) ** 2))


def probability_grad_target(q: Any, y: Any, w: Any = 1, p: Any = 1, u: Any = 0) -> mpf:
    """Return the derivative by the target, w (1 - u) (log(1 - q) - p log q).

    Parameters
    ----------
    q : float
        Probability, 0 and 1 included.
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
    >>> float(reference.probability_grad_target(0.5, 1.0, 1, 3.0))
    1.3862943611198906
    """
    with mp.workprec(BITS):
        q, p, u = mpf(float(q)), mpf(float(p)), mpf(float(u))
        return times(mpf(float(w)) * (1 - u), log_rest(q) - times(p, log(q)))
