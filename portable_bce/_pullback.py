"""Loss and pullback: reverse-mode differentiation, for frameworks that keep a tape."""

from __future__ import annotations

from typing import Any

from portable_bce import _arguments, _libraries
from portable_bce._evaluate import evaluate, scaled
from portable_bce._formula import with_logits, with_probabilities
from portable_bce._job import Job, job_of
from portable_bce._reduction import Name
from portable_bce._typing import Array, ArrayOrScalar, ArrayT, DType, Pullback


def bce_with_logits_vjp(
    logits: ArrayT,
    targets: ArrayOrScalar,
    *,
    weight: ArrayOrScalar | None = None,
    pos_weight: ArrayOrScalar | None = None,
    label_smoothing: float = 0.0,
    where: Array | None = None,
    reduction: Name = "mean",
    axis: int | tuple[int, ...] | None = None,
    compute_dtype: DType | None = None,
) -> tuple[ArrayT, Pullback[ArrayT]]:
    """Binary cross-entropy and its pullback, for frameworks that keep their own tape.

    Parameters
    ----------
    logits, targets, weight, pos_weight, label_smoothing, where, reduction, axis, compute_dtype
        As for `bce_with_logits`.

    Returns
    -------
    loss : array
        As `bce_with_logits` returns it, bit for bit.
    pullback : callable
        ``pullback(cotangent=1.0, *, targets=True) -> (grad_logits, grad_targets)``. The
        cotangent is a number, a 0-d array or an array of the shape of `loss`. May be called
        any number of times. Without ``targets``, whose derivative takes a second pass,
        ``grad_targets`` is None. ``grad_logits`` has the dtype of `logits`;
        ``grad_targets`` has the shape of `targets` (one number for a Python number) and
        their dtype if that is floating, else that of `logits`. Both are rounded to it after
        scaling by the cotangent, so that a loss scale keeps float16 gradients from
        underflowing. In float32 and float64 a cotangent that is no power of two adds the
        rounding of one product.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`; the pullback for a cotangent that does not fit the loss.

    Notes
    -----
    The derivative with respect to a target is w (1 - u) (p softplus(-x) - softplus(x)), so
    -w x without `pos_weight` and `label_smoothing`: infinite at an infinite logit.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_with_logits_vjp
    >>> logits, targets = np.asarray([0.0, 3.0]), np.asarray([0.0, 1.0])
    >>> loss, pullback = bce_with_logits_vjp(logits, targets, reduction="sum")
    >>> grad_logits, grad_targets = pullback(2.0)
    >>> grad_logits
    array([ 1.        , -0.09485175])
    >>> grad_targets
    array([ 0., -6.])
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype)
    job = job_of(with_logits, ("loss", "grad"), logits, targets, *options)
    return _vjp(job)


def bce_vjp(
    probabilities: ArrayT,
    targets: ArrayOrScalar,
    *,
    weight: ArrayOrScalar | None = None,
    pos_weight: ArrayOrScalar | None = None,
    label_smoothing: float = 0.0,
    where: Array | None = None,
    reduction: Name = "mean",
    axis: int | tuple[int, ...] | None = None,
    compute_dtype: DType | None = None,
    eps: float | None = None,
) -> tuple[ArrayT, Pullback[ArrayT]]:
    """Binary cross-entropy from probabilities and its pullback, for tape-based frameworks.

    Parameters
    ----------
    probabilities, targets, eps
        As for `bce`.
    weight, pos_weight, label_smoothing, where, reduction, axis, compute_dtype
        As for `bce_with_logits`.

    Returns
    -------
    loss : array
        As `bce` returns it, bit for bit.
    pullback : callable
        ``pullback(cotangent=1.0, *, targets=True) -> (grad_probabilities, grad_targets)``,
        as that of `bce_with_logits_vjp`.

    Raises
    ------
    TypeError, ValueError
        As `bce`; the pullback for a cotangent that does not fit the loss.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_vjp
    >>> loss, pullback = bce_vjp(np.asarray([0.5, 0.8]), np.asarray([1.0, 1.0]), reduction="sum")
    >>> pullback()
    (array([-2.  , -1.25]), array([ 0.        , -1.38629436]))
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype, eps)
    job = job_of(with_probabilities, ("loss", "grad"), probabilities, targets, *options)
    return _vjp(job)


def _vjp(job: Job) -> tuple[Any, Pullback[Any]]:
    """Evaluate loss and derivative in one pass, and return the loss and the pullback."""
    # The derivative stays in the compute dtype. A float16 gradient of a mean over 10^5 elements
    # would underflow before the cotangent, a loss scale, could prevent that.
    job = job._replace(waiting=job.arguments.compute_dtype)
    loss, slope = evaluate(job)

    def pullback(cotangent: Any = 1.0, *, targets: bool = True) -> tuple[Any, Any]:
        factor = _factor(cotangent, loss.shape, job)
        by_x = scaled(job.arguments, slope, factor, job.arguments.result_dtype)
        return by_x, _by_targets(job, factor) if targets else None

    return loss, pullback


def _by_targets(job: Job, factor: Any) -> Any:
    """Return the derivative with respect to the targets, times the cotangent, in their dtype."""
    given = job.arguments
    targets, dtype = given.targets, given.result_dtype
    is_number = isinstance(targets, float)
    if not is_number and _libraries.kind(given.xp, targets.dtype) == "floating":
        dtype = targets.dtype
    (slope,) = evaluate(job._replace(outputs=("grad_targets",)))
    return scaled(given, slope, factor, dtype, sums=is_number)


def _factor(cotangent: Any, shape: tuple[Any, ...], job: Job) -> Any:
    """Return the cotangent as a factor that broadcasts against the elementwise derivative."""
    given, xp = job.arguments, job.arguments.xp
    factor = _arguments.number_or_array(
        xp, cotangent, "cotangent", job.first, given.device, _arguments.FLOATING
    )
    if isinstance(factor, float):
        return factor
    factor = _libraries.cast(xp, factor, given.compute_dtype)
    if factor.ndim == 0:
        return factor
    _arguments.same_shape(factor.shape, shape, "cotangent", "loss", xp)
    for axis in job.reduction.axes:
        factor = xp.expand_dims(factor, axis=axis)
    return factor
