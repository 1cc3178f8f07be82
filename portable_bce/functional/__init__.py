"""The functions, by what they start from: logits, probabilities, or one label."""

from portable_bce.functional._logits import (
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)
from portable_bce.functional._probabilities import (
    bce,
    bce_grad_and_hess,
    bce_value_and_grad,
)
from portable_bce.functional._sigmoid import log_sigmoid, sigmoid, softplus
from portable_bce.functional._values import check_inputs
from portable_bce.functional._vjp import bce_vjp, bce_with_logits_vjp

__all__ = [
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
