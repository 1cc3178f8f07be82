"""Binary cross-entropy from logits."""

from __future__ import annotations

from portable_bce._evaluate import evaluate
from portable_bce._formula import with_logits
from portable_bce._job import job_of
from portable_bce._reduction import Name
from portable_bce._typing import Array, ArrayOrScalar, ArrayT, DType


def bce_with_logits(
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
) -> ArrayT:
    """Binary cross-entropy between logits and targets, in nats.

    For a logit x, target y, weight w and positive weight p,

        loss = w (p y softplus(-x) + (1 - y) softplus(x)),    softplus(x) = log(1 + exp(x)),

    accurate to a few units in the last place for every x, in the far tails and at
    infinity too, and differentiable to every order by libraries that differentiate.

    Parameters
    ----------
    logits : array, any shape, real floating
        Log-odds of the label 1, of any array API library; may be infinite.
    targets : array of the shape of `logits`, or Python number
        Labels or probabilities in [0, 1]: floating, integer or bool.
    weight : array that broadcasts to the shape of `logits`, or Python number, optional
        Factor of each element's loss.
    pos_weight : array that broadcasts to the shape of `logits`, or Python number, optional
        Factor of the positive part, p above: above 1 it favours recall.
    label_smoothing : float in [0, 1], default 0
        Replaces y by (1 - u) y + u / 2 (the convention of Keras).
    where : bool array that broadcasts to the shape of `logits`, optional
        Elements to keep. The others add nothing to the loss or to a derivative, whatever
        their logit, target and weight are, NaN included.
    reduction : {"none", "sum", "mean", "weighted_mean"} or None, default "mean"
        "none" (or None) returns a loss for each element. "mean" divides by the number of
        elements kept, "weighted_mean" by the sum of their weights.
    axis : int, tuple of int or None, default None
        Axes to reduce over, None for all.
    compute_dtype : dtype, optional
        A wider floating dtype to compute in. Without it, float16 and bfloat16 are computed in
        float32. With float64, nearly every float32 result is correctly rounded. The compiled
        kernels always compute in float64.

    Returns
    -------
    loss : array
        Of the library, dtype and device of `logits`, rounded once: the shape of `logits`
        for "none", else without the axes reduced over. On NumPy a 0-d result is a NumPy
        scalar. An empty or wholly masked sum is 0, such a mean NaN.

    Raises
    ------
    TypeError
        An argument of the wrong kind, library or dtype.
    ValueError
        An argument of the wrong shape, on another device, or out of range.

    See Also
    --------
    bce_with_logits_value_and_grad, bce_with_logits_grad_and_hess, bce_with_logits_vjp
    check_inputs : finds targets outside [0, 1] and NaN; no other function reads values.

    Notes
    -----
    The compiled kernels (NumPy, PyTorch on a CPU) read targets and weights in float64 and
    round once: within 0.501 ULP, and within 1.1 ULP for float64 logits. Operation by operation,
    targets, weights and mask are converted to the dtype that is computed in, and a float32
    loss is within 4.6 ULP. Sums are accumulated in float64 where the device has it, otherwise
    pairwise.

    Source: Maechler, *Accurately computing log(1 - exp(-|a|))* (2012), for softplus alone. The
    module ``portable_bce._formula`` extends it to the loss, to soft labels and to derivatives.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_with_logits
    >>> round(float(bce_with_logits(np.asarray([2.0, -1.0, 40.0]), np.asarray([1, 0, 1]))), 12)
    0.14672989952
    >>> bce_with_logits(np.asarray([40.0, np.inf]), np.asarray([1, 1]), reduction="none")
    array([4.24835426e-18, 0.00000000e+00])
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype)
    job = job_of(with_logits, ("loss",), logits, targets, *options)
    loss: ArrayT
    (loss,) = evaluate(job)
    return loss


def bce_with_logits_value_and_grad(
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
) -> tuple[ArrayT, ArrayT]:
    """Binary cross-entropy and its gradient with respect to the logits, from one pass.

    The gradient is w ((1 - y) sigmoid(x) - p y sigmoid(-x)), divided by the denominator of
    the reduction, and not lost in the tails: at y = 1 it is -exp(-x) there, not 0.

    Parameters
    ----------
    logits, targets, weight, pos_weight, label_smoothing, where, reduction, axis, compute_dtype
        As for `bce_with_logits`.

    Returns
    -------
    loss : array
        As `bce_with_logits` returns it, bit for bit.
    grad : array of the shape, dtype and device of `logits`
        Derivative of the reduced loss, or of each element's loss for "none". Exactly 0
        where masked.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`.

    Notes
    -----
    The gradient is within 0.501 ULP (1 for float64) where it is compiled, and within 5 ULP
    where it is computed operation by operation. These are ULP of the larger of its size and
    min(sigmoid(x), sigmoid(-x)): where y is close to sigmoid(x), it cancels by its nature.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_with_logits_value_and_grad
    >>> logits = np.asarray([0.0, 50.0], dtype=np.float32)
    >>> loss, grad = bce_with_logits_value_and_grad(logits, np.asarray([0, 1]), reduction="sum")
    >>> loss, grad
    (np.float32(0.6931472), array([ 5.0000000e-01, -1.9287499e-22], dtype=float32))
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype)
    job = job_of(with_logits, ("loss", "grad"), logits, targets, *options)
    loss, grad = evaluate(job)
    return loss, grad


def bce_with_logits_grad_and_hess(
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
) -> tuple[ArrayT, ArrayT]:
    """Gradient and Hessian diagonal of binary cross-entropy from logits, in one pass.

    Newton's method and boosting need the derivatives of each element's own loss: pass
    ``reduction="none"`` (or "sum") for them.

    Parameters
    ----------
    logits, targets, weight, pos_weight, label_smoothing, where, reduction, axis, compute_dtype
        As for `bce_with_logits`.

    Returns
    -------
    grad : array of the shape, dtype and device of `logits`
        As `bce_with_logits_value_and_grad` returns it, bit for bit.
    hess : array of the shape, dtype and device of `logits`
        Second derivative with respect to each logit, w (p y + 1 - y) sigmoid(x) sigmoid(-x),
        divided by the denominator of the reduction; never negative. (The Hessian is diagonal:
        the loss is a sum over elements.)

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_with_logits_grad_and_hess
    >>> bce_with_logits_grad_and_hess(np.asarray([0.0, 50.0]), 1, reduction="none")
    (array([-5.00000000e-01, -1.92874985e-22]), array([2.50000000e-01, 1.92874985e-22]))
    """
    options = (reduction, axis, weight, pos_weight, label_smoothing, where, compute_dtype)
    job = job_of(with_logits, ("grad", "hess"), logits, targets, *options)
    grad, hess = evaluate(job)
    return grad, hess
