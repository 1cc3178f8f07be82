"""Binary cross-entropy, its gradient and its Hessian, for every array API library."""

from portable_bce._check_inputs import check_inputs
from portable_bce._from_logits import (
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)
from portable_bce._from_probabilities import bce, bce_grad_and_hess, bce_value_and_grad
from portable_bce._pullback import bce_vjp, bce_with_logits_vjp
from portable_bce._sigmoid import log_sigmoid, sigmoid, softplus
from portable_bce.losses import BCELoss, BCEWithLogitsLoss

__version__ = "0.1.0"

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "bce",
    "bce_grad_and_hess",
    "bce_value_and_grad",
    "bce_vjp",
    "bce_with_logits",
    "bce_with_logits_grad_and_hess",
    "bce_with_logits_value_and_grad",
    "bce_with_logits_vjp",
    "check_inputs",
    "log_sigmoid",
    "sigmoid",
    "softplus",
]
