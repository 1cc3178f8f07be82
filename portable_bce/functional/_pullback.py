"""Loss and a pullback: reverse-mode differentiation for whoever keeps a tape."""

from __future__ import annotations

from typing import Any

from portable_bce import _checks, _dtypes, _runners
from portable_bce._inputs import Inputs
from portable_bce._reduce import Reduction
from portable_bce._typing import Pullback


def vjp(
    formula: _runners.Formula, first: str, inputs: Inputs, reduction: Reduction
) -> tuple[Any, Pullback]:
    """Evaluate loss and derivative in one pass, and return the loss and the pullback."""
    # In the working dtype: a float16 gradient of a mean over 10^5 elements has already
    # underflown when a loss scale, passed as the cotangent, comes to save it.
    loss, slope = _runners.run(formula, inputs, reduction, ("loss", "grad"), rounded=False)
    xp, targets = inputs.xp, inputs.targets
    scalar = isinstance(targets, float)
    floating = not scalar and _dtypes.kind(xp, targets.dtype) == "floating"

    def pullback(cotangent: Any = 1.0) -> tuple[Any, Any]:
        factor = _factor(cotangent, loss.shape, first, inputs, reduction)
        (by_target,) = _runners.run(formula, inputs, reduction, ("grad_targets",), rounded=False)
        return (
            _runners.scaled(inputs, slope, factor, inputs.dtype),
            _runners.scaled(
                inputs,
                by_target,
                factor,
                targets.dtype if floating else inputs.dtype,
                summed=scalar,
            ),
        )

    return loss, pullback


def _factor(
    cotangent: Any, shape: tuple[Any, ...], first: str, inputs: Inputs, reduction: Reduction
) -> Any:
    """Return the cotangent as a factor that broadcasts against the elementwise derivative."""
    if isinstance(cotangent, _checks.Real):
        return float(cotangent)
    xp = inputs.xp
    _checks.same_library(xp, cotangent, "cotangent", first)
    _checks.dtype_kind(xp, cotangent, "cotangent", _checks.FLOATING)
    _checks.same_device(cotangent, "cotangent", first, inputs.device)
    factor = xp.astype(cotangent, inputs.work, copy=False)
    if factor.ndim == 0:
        return factor
    _checks.same_shape(factor.shape, shape, "cotangent", "loss")
    for axis in reduction.axes:
        factor = xp.expand_dims(factor, axis=axis)
    return factor
