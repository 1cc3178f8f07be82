"""Binary cross-entropy from probabilities, for models that do not give their logits."""

from __future__ import annotations

from portable_bce._evaluate import evaluate
from portable_bce._formula import with_probabilities
from portable_bce._job import job_of
from portable_bce._reduction import Name
from portable_bce._typing import Array, ArrayOrScalar, ArrayT, DType


def bce(
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
) -> ArrayT:
    """Binary cross-entropy between probabilities and targets, in nats.

    For a probability q, target y, weight w and positive weight p,

        loss = -w (p y log q + (1 - y) log(1 - q)),    0 log 0 = 0.

    Prefer `bce_with_logits` if you have the logits: near 1 a probability has already lost the
    digits of its logit.

    Parameters
    ----------
    probabilities : array, any shape, real floating
        Probabilities of the label 1, in [0, 1], of any array API library.
    targets : array of the shape of `probabilities`, or Python number
        Labels or probabilities in [0, 1]: floating, integer or bool.
    weight, pos_weight, label_smoothing, where, reduction, axis, compute_dtype
        As for `bce_with_logits`.
    eps : float, optional
        Clamps probabilities to [eps, 1 - eps], so that the loss stays finite. The gradient is
        0 where it clamps. By default the loss of a certain and wrong probability is infinite.

    Returns
    -------
    loss : array
        Of the library, dtype and device of `probabilities`, rounded once: their shape for
        "none", else without the axes reduced over.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`; ValueError for an `eps` that the dtype cannot tell from 0.

    See Also
    --------
    check_inputs : finds probabilities outside [0, 1]; no other function reads values.

    Notes
    -----
    The compiled kernels (NumPy, PyTorch on a CPU) are within 0.501 ULP, and within 1 ULP for
    float64; operation by operation, the loss is within 4 ULP without factors.

    PyTorch clamps the logarithm instead, to at least -100. The nearest here is
    ``eps=1e-7`` in float32; its gradient differs where it clamps.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce
    >>> bce(np.asarray([0.5, 1.0, 0.0]), np.asarray([1, 1, 1]), reduction="none")
    array([0.69314718, 0.        ,        inf])
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype, eps)
    job = job_of(with_probabilities, ("loss",), probabilities, targets, *options)
    loss: ArrayT
    (loss,) = evaluate(job)
    return loss


def bce_value_and_grad(
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
) -> tuple[ArrayT, ArrayT]:
    """Binary cross-entropy and its gradient with respect to the probabilities, from one pass.

    The gradient is w ((1 - y) / (1 - q) - p y / q), each quotient 0 where its numerator
    is: -1 at q = y = 1, 1 at q = y = 0, infinite where certain and wrong.

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
    grad : array of the shape, dtype and device of `probabilities`
        Derivative of the reduced loss, or of each element's loss for "none".

    Raises
    ------
    TypeError, ValueError
        As `bce`.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_value_and_grad
    >>> loss, grad = bce_value_and_grad(np.asarray([0.5, 1.0]), np.asarray([1, 1]))
    >>> grad
    array([-1. , -0.5])
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype, eps)
    job = job_of(with_probabilities, ("loss", "grad"), probabilities, targets, *options)
    loss, grad = evaluate(job)
    return loss, grad


def bce_grad_and_hess(
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
) -> tuple[ArrayT, ArrayT]:
    """Gradient and Hessian diagonal of binary cross-entropy from probabilities.

    Parameters
    ----------
    probabilities, targets, eps
        As for `bce`.
    weight, pos_weight, label_smoothing, where, reduction, axis, compute_dtype
        As for `bce_with_logits`.

    Returns
    -------
    grad : array of the shape, dtype and device of `probabilities`
        As `bce_value_and_grad` returns it, bit for bit.
    hess : array of the shape, dtype and device of `probabilities`
        Second derivative with respect to each probability,
        w (p y / q^2 + (1 - y) / (1 - q)^2), each quotient 0 where its numerator is, divided by
        the denominator of the reduction.

    Raises
    ------
    TypeError, ValueError
        As `bce`.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_grad_and_hess
    >>> bce_grad_and_hess(np.asarray([0.5, 0.1]), np.asarray([1, 0]), reduction="none")
    (array([-2.        ,  1.11111111]), array([4.       , 1.2345679]))
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype, eps)
    job = job_of(with_probabilities, ("grad", "hess"), probabilities, targets, *options)
    grad, hess = evaluate(job)
    return grad, hess
