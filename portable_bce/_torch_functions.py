"""PyTorch's two functions by ours, with PyTorch's names and its deprecated arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from portable_bce._from_logits import bce_with_logits
from portable_bce._from_probabilities import bce
from portable_bce._reduction import Name

_HALVES = (torch.float16, torch.bfloat16)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor | float,
    weight: Tensor | float | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Name = "mean",
    pos_weight: Tensor | float | None = None,
    *,
    label_smoothing: float = 0.0,
    where: Tensor | None = None,
    axis: int | tuple[int, ...] | None = None,
    compute_dtype: torch.dtype | None = None,
) -> Tensor:
    """`torch.nn.functional.binary_cross_entropy_with_logits`, right in the tails.

    Parameters
    ----------
    input, target, weight, size_average, reduce, reduction, pos_weight
        As for `BCEWithLogitsLoss`; all but the input may be Python numbers.
    label_smoothing, where, axis, compute_dtype
        As for `portable_bce.bce_with_logits`.

    Returns
    -------
    loss : Tensor
        Of the dtype of `input`, and of its shape for "none", else without the axes reduced
        over; under autocast float32 for halves, as PyTorch's.

    Raises
    ------
    TypeError, ValueError
        As `portable_bce.bce_with_logits`.

    Examples
    --------
    >>> import torch
    >>> from portable_bce.torch import binary_cross_entropy_with_logits
    >>> binary_cross_entropy_with_logits(torch.tensor([torch.inf, 0.0]), torch.tensor([1.0, 0.0]))
    tensor(0.3466)
    """
    return _call(
        binary_cross_entropy_with_logits,
        bce_with_logits,
        (input, target, weight, pos_weight, where),
        reduction=_name(size_average, reduce, reduction),
        label_smoothing=label_smoothing,
        axis=axis,
        compute_dtype=compute_dtype,
    )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor | float,
    weight: Tensor | float | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Name = "mean",
    *,
    pos_weight: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    where: Tensor | None = None,
    axis: int | tuple[int, ...] | None = None,
    compute_dtype: torch.dtype | None = None,
    eps: float | None = None,
) -> Tensor:
    """`torch.nn.functional.binary_cross_entropy`, infinite where certain and wrong.

    Parameters
    ----------
    input, target, weight, size_average, reduce, reduction
        As for `BCELoss`; all but the input may be Python numbers.
    pos_weight, label_smoothing, where, axis, compute_dtype, eps
        As for `portable_bce.bce`.

    Returns
    -------
    loss : Tensor
        Of the dtype of `input`, and of its shape for "none", else without the axes reduced
        over; under autocast float32 for halves.

    Raises
    ------
    TypeError, ValueError
        As `portable_bce.bce`.

    Examples
    --------
    >>> import torch
    >>> from portable_bce.torch import binary_cross_entropy
    >>> binary_cross_entropy(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    return _call(
        binary_cross_entropy,
        bce,
        (input, target, weight, pos_weight, where),
        reduction=_name(size_average, reduce, reduction),
        label_smoothing=label_smoothing,
        axis=axis,
        compute_dtype=compute_dtype,
        eps=eps,
    )


def _name(size_average: bool | None, reduce: bool | None, reduction: Name) -> Name:
    """Return the reduction that the deprecated arguments name, with PyTorch's warning."""
    if size_average is None and reduce is None:
        return reduction
    name: Name = torch.nn.BCELoss(None, size_average, reduce).reduction
    return name


def _call(
    public: Callable[..., Tensor],
    function: Callable[..., Tensor],
    arguments: tuple[Any, ...],
    **settings: Any,
) -> Tensor:
    """Call the core, unless an argument overrides PyTorch's functions (as FX's proxies do)."""
    x, target, weight, pos_weight, where = arguments
    settings |= {"weight": weight, "pos_weight": pos_weight, "where": where}
    if has_torch_function(arguments):
        return handle_torch_function(public, arguments, x, target, **settings)
    if (
        isinstance(x, Tensor)
        and x.dtype in _HALVES
        and torch.amp.is_autocast_available(x.device.type)
        and torch.is_autocast_enabled(x.device.type)
    ):
        x = x.float()  # as autocast does for PyTorch's, so that the loss is float32
    return function(x, target, **settings)
