"""What a user of PyTorch writes, and what type checkers must make of it.

A line marked as wrong must be an error, and no other may be one: test_typing.py.
"""

from typing import assert_type

import torch
from torch import Tensor

import portable_bce
import portable_bce.torch


def functions(logits: Tensor, labels: Tensor) -> None:
    loss = portable_bce.bce_with_logits(logits, labels, compute_dtype=torch.float64)
    assert_type(loss, Tensor)
    assert_type(loss.detach(), Tensor)
    each = portable_bce.bce(torch.sigmoid(logits), 1, reduction="none", where=labels > 0)
    assert_type(each, Tensor)
    both = portable_bce.bce_with_logits_value_and_grad(logits, labels, weight=labels, axis=-1)
    assert_type(both, tuple[Tensor, Tensor])
    assert_type(portable_bce.bce_grad_and_hess(logits, labels), tuple[Tensor, Tensor])
    assert_type(portable_bce.log_sigmoid(logits), Tensor)

    value, pullback = portable_bce.bce_with_logits_vjp(logits, labels)
    assert_type(value, Tensor)
    assert_type(pullback(torch.ones(())), tuple[Tensor, Tensor])
    assert_type(pullback(targets=False), tuple[Tensor, None])


def losses(logits: Tensor, labels: Tensor, weight: torch.nn.Parameter) -> None:
    loss = portable_bce.BCEWithLogitsLoss(pos_weight=torch.ones(3), reduction="sum")
    assert_type(loss(logits, labels, weight=weight), Tensor)
    assert_type(loss.value_and_grad(logits, labels), tuple[Tensor, Tensor])


def drop_ins(logits: Tensor, labels: Tensor) -> None:
    from_logits = portable_bce.torch.BCEWithLogitsLoss(pos_weight=torch.ones(3), axis=0)
    pytorch: torch.nn.BCEWithLogitsLoss = from_logits
    module: torch.nn.Module = portable_bce.torch.BCELoss(reduction="weighted_mean", eps=1e-7)
    assert_type(from_logits.forward(logits, labels), Tensor)
    assert_type(from_logits.forward(logits, labels, labels > 0), Tensor)
    assert_type(from_logits(logits, labels), Tensor)
    assert_type(from_logits(logits, 1.0), Tensor)  # wrong
    both = (
        portable_bce.torch.binary_cross_entropy_with_logits(logits, labels, pos_weight=2.0),
        portable_bce.torch.binary_cross_entropy(logits, labels, None, reduction="sum"),
    )
    assert_type(both, tuple[Tensor, Tensor])
    torch.nn.Sequential(pytorch, module)


def mistakes(logits: Tensor, labels: Tensor) -> None:
    portable_bce.bce_with_logits("logits", labels)  # wrong
    portable_bce.bce_with_logits(logits, "1")  # wrong
    portable_bce.bce_with_logits(logits, labels, weight="balanced")  # wrong
    portable_bce.bce_with_logits(logits, labels, reduction="avg")  # wrong
    portable_bce.bce_with_logits_vjp(logits, labels)[1]("1")  # wrong
    portable_bce.BCELoss(reduction="avg")  # wrong
    portable_bce.torch.BCEWithLogitsLoss(reduction="avg")  # wrong
    portable_bce.torch.BCEWithLogitsLoss(weight="balanced")  # wrong
    portable_bce.torch.BCELoss(compute_dtype="float64")  # wrong
    portable_bce.torch.binary_cross_entropy("logits", labels)  # wrong
    portable_bce.torch.binary_cross_entropy(logits, "1")  # wrong
    portable_bce.torch.binary_cross_entropy(logits, [1.0])  # wrong
    number: float = portable_bce.bce_with_logits(logits, labels)  # wrong
    del number
