"""Loss objects that store the keywords: what a training loop passes around."""

from __future__ import annotations

import sys
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from portable_bce import _arguments
from portable_bce._from_logits import (
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)
from portable_bce._from_probabilities import bce, bce_grad_and_hess, bce_value_and_grad
from portable_bce._pullback import bce_vjp, bce_with_logits_vjp
from portable_bce._reduction import Name, check_name
from portable_bce._typing import Array, ArrayOrScalar, ArrayT, DType, Pullback

Targets: TypeAlias = ArrayOrScalar
Weight: TypeAlias = ArrayOrScalar | None
Mask: TypeAlias = Array | None


@dataclass(frozen=True, eq=False)
class _Loss:
    _: KW_ONLY
    weight: Weight = None
    pos_weight: Weight = None
    label_smoothing: float = 0.0
    reduction: Name = "mean"
    axis: int | tuple[int, ...] | None = None
    compute_dtype: DType | None = None

    def __post_init__(self) -> None:
        check_name(self.reduction)
        _arguments.smoothing(self.label_smoothing)

    def _keywords(self, weight: Weight, where: Mask) -> dict[str, Any]:
        """Return the settings as keywords; a weight passed to a call replaces its setting."""
        settings = {name: getattr(self, name) for name in self.__dataclass_fields__}
        settings["weight"] = self.weight if weight is None else weight
        return {**settings, "where": where}

    if not TYPE_CHECKING:  # a type checker would believe that every attribute is there

        def __getattr__(self, name: str) -> Any:
            """Name the module to a reader who takes this object for one of PyTorch's."""
            kind = type(self).__name__
            message = f"'{kind}' object has no attribute {name!r}"
            module = getattr(sys.modules.get("torch.nn"), "Module", None)
            if hasattr(module, name) and not name.startswith("_"):
                message += f": it is no torch.nn.Module. Use `portable_bce.torch.{kind}`"
            raise AttributeError(message, name=name, obj=self)


@dataclass(frozen=True, eq=False)
class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy from logits, with its settings.

    Parameters
    ----------
    weight, pos_weight, label_smoothing, reduction, axis, compute_dtype
        As for `bce_with_logits`. The name of the reduction and the smoothing are checked
        here, the rest when arrays come.

    Raises
    ------
    TypeError, ValueError
        As `bce_with_logits`.

    Notes
    -----
    Every method gives what the function of its name gives, bit for bit. A `weight` that is
    passed to a call replaces the setting, because a batch has its own; `where` belongs to a call.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import BCEWithLogitsLoss
    >>> loss = BCEWithLogitsLoss(pos_weight=3.0, reduction="sum")
    >>> logits, targets = np.asarray([0.0, -1.0]), np.asarray([1, 0])
    >>> round(float(loss(logits, targets)), 6)
    2.392703
    >>> grad, hess = loss.grad_and_hess(logits, targets)
    """

    def __call__(
        self, logits: ArrayT, targets: Targets, *, weight: Weight = None, where: Mask = None
    ) -> ArrayT:
        """Return the loss, as `bce_with_logits`."""
        return bce_with_logits(logits, targets, **self._keywords(weight, where))

    def value_and_grad(
        self, logits: ArrayT, targets: Targets, *, weight: Weight = None, where: Mask = None
    ) -> tuple[ArrayT, ArrayT]:
        """Return loss and gradient, as `bce_with_logits_value_and_grad`."""
        return bce_with_logits_value_and_grad(logits, targets, **self._keywords(weight, where))

    def grad_and_hess(
        self, logits: ArrayT, targets: Targets, *, weight: Weight = None, where: Mask = None
    ) -> tuple[ArrayT, ArrayT]:
        """Return gradient and Hessian diagonal, as `bce_with_logits_grad_and_hess`."""
        return bce_with_logits_grad_and_hess(logits, targets, **self._keywords(weight, where))

    def vjp(
        self, logits: ArrayT, targets: Targets, *, weight: Weight = None, where: Mask = None
    ) -> tuple[ArrayT, Pullback[ArrayT]]:
        """Return loss and pullback, as `bce_with_logits_vjp`."""
        return bce_with_logits_vjp(logits, targets, **self._keywords(weight, where))


@dataclass(frozen=True, eq=False)
class BCELoss(_Loss):
    """Binary cross-entropy from probabilities, with its settings.

    Parameters
    ----------
    weight, pos_weight, label_smoothing, reduction, axis, compute_dtype, eps
        As for `bce`. The name of the reduction and the smoothing are checked here, the
        rest when arrays come.

    Raises
    ------
    TypeError, ValueError
        As `bce`.

    Notes
    -----
    Every method gives what the function of its name gives, bit for bit. A `weight` that is
    passed to a call replaces the setting; `where` belongs to a call.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import BCELoss
    >>> loss = BCELoss(eps=1e-6)
    >>> round(float(loss(np.asarray([0.5, 0.0]), np.asarray([1, 1]))), 6)
    7.254329
    """

    _: KW_ONLY
    eps: float | None = None

    def __call__(
        self,
        probabilities: ArrayT,
        targets: Targets,
        *,
        weight: Weight = None,
        where: Mask = None,
    ) -> ArrayT:
        """Return the loss, as `bce`."""
        return bce(probabilities, targets, **self._keywords(weight, where))

    def value_and_grad(
        self,
        probabilities: ArrayT,
        targets: Targets,
        *,
        weight: Weight = None,
        where: Mask = None,
    ) -> tuple[ArrayT, ArrayT]:
        """Return loss and gradient, as `bce_value_and_grad`."""
        return bce_value_and_grad(probabilities, targets, **self._keywords(weight, where))

    def grad_and_hess(
        self,
        probabilities: ArrayT,
        targets: Targets,
        *,
        weight: Weight = None,
        where: Mask = None,
    ) -> tuple[ArrayT, ArrayT]:
        """Return gradient and Hessian diagonal, as `bce_grad_and_hess`."""
        return bce_grad_and_hess(probabilities, targets, **self._keywords(weight, where))

    def vjp(
        self,
        probabilities: ArrayT,
        targets: Targets,
        *,
        weight: Weight = None,
        where: Mask = None,
    ) -> tuple[ArrayT, Pullback[ArrayT]]:
        """Return loss and pullback, as `bce_vjp`."""
        return bce_vjp(probabilities, targets, **self._keywords(weight, where))
