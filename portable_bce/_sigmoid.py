"""sigmoid, log_sigmoid and softplus: the loss of a fixed label and its gradient."""

from __future__ import annotations

from portable_bce._arguments import check_arguments
from portable_bce._evaluate import evaluate
from portable_bce._formula import with_logits
from portable_bce._job import Job
from portable_bce._reduction import Reduction
from portable_bce._typing import ArrayT, DType


def sigmoid(x: ArrayT, *, compute_dtype: DType | None = None) -> ArrayT:
    """Logistic function 1 / (1 + exp(-x)), the gradient of `softplus`.

    Parameters
    ----------
    x : array, any shape, real floating
        Logits, of any array API library.
    compute_dtype : dtype, optional
        A wider floating dtype to compute in, as for `bce_with_logits`.

    Returns
    -------
    array of the shape, dtype and device of `x`
        Without overflow, with its full precision in the lower tail. Within 0.501 ULP where
        it is compiled (1 ULP for float64), and within 4 ULP operation by operation.

    Raises
    ------
    TypeError
        Not an array, or not real floating.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import sigmoid
    >>> sigmoid(np.asarray([-800.0, -50.0, 0.0, 800.0]))
    array([0.00000000e+00, 1.92874985e-22, 5.00000000e-01, 1.00000000e+00])
    """
    return _of_label("grad", x, 0.0, compute_dtype)


def log_sigmoid(x: ArrayT, *, compute_dtype: DType | None = None) -> ArrayT:
    """Logarithm of `sigmoid`, -log(1 + exp(-x)), in nats: minus the loss of label 1.

    Parameters
    ----------
    x : array, any shape, real floating
        Logits, of any array API library.
    compute_dtype : dtype, optional
        A wider floating dtype to compute in, as for `bce_with_logits`.

    Returns
    -------
    array of the shape, dtype and device of `x`
        -inf at -inf and -0.0 at inf; as accurate as `sigmoid`.

    Raises
    ------
    TypeError
        Not an array, or not real floating.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import log_sigmoid
    >>> log_sigmoid(np.asarray([-800.0, 0.0, 50.0]))
    array([-8.00000000e+02, -6.93147181e-01, -1.92874985e-22])
    """
    return _of_label("loss", x, 1.0, compute_dtype, weight=-1.0)


def softplus(x: ArrayT, *, compute_dtype: DType | None = None) -> ArrayT:
    """Smooth ramp log(1 + exp(x)), in nats: the loss of label 0.

    Parameters
    ----------
    x : array, any shape, real floating
        Logits, of any array API library.
    compute_dtype : dtype, optional
        A wider floating dtype to compute in, as for `bce_with_logits`.

    Returns
    -------
    array of the shape, dtype and device of `x`
        0 at -inf and inf at inf; as accurate as `sigmoid`.

    Raises
    ------
    TypeError
        Not an array, or not real floating.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import softplus
    >>> softplus(np.asarray([-50.0, 0.0, 800.0]))
    array([1.92874985e-22, 6.93147181e-01, 8.00000000e+02])
    """
    return _of_label("loss", x, 0.0, compute_dtype)


def _of_label(
    output: str, x: ArrayT, label: float, compute_dtype: DType | None, weight: float | None = None
) -> ArrayT:
    arguments = check_arguments("x", x, label, weight, compute_dtype=compute_dtype)
    value: ArrayT
    (value,) = evaluate(Job(with_logits, arguments, Reduction("none", ()), (output,)))
    return value
