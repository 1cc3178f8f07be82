"""What a user of NumPy writes, and what type checkers must make of it.

A line marked as wrong must be an error, and no other may be one: test_typing.py.
"""

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import portable_bce
from portable_bce.boosting import BinaryObjective

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Image = np.ndarray[tuple[int, int], np.dtype[np.float16]]


def functions(logits: Float32, labels: npt.NDArray[np.bool_], row: Float64) -> None:
    loss = portable_bce.bce_with_logits(logits, labels, weight=2.0, pos_weight=row)
    assert_type(loss, Float32)
    best: float = min(float(loss), 1.0)

    each = portable_bce.bce_with_logits(logits, labels, reduction="none", where=labels)
    assert_type(each, Float32)
    assert_type(portable_bce.bce(each, best, reduction=None, eps=1e-7), Float32)

    value_and_grad = portable_bce.bce_with_logits_value_and_grad
    assert_type(value_and_grad(logits, labels, axis=(0, 1)), tuple[Float32, Float32])
    assert_type(portable_bce.bce_value_and_grad(row, True), tuple[Float64, Float64])
    grad_and_hess = portable_bce.bce_with_logits_grad_and_hess
    assert_type(grad_and_hess(logits, 1, compute_dtype=np.float64), tuple[Float32, Float32])
    assert_type(portable_bce.bce_grad_and_hess(row, np.float32(0.5)), tuple[Float64, Float64])

    assert_type(portable_bce.sigmoid(logits), Float32)
    assert_type(portable_bce.log_sigmoid(row), Float64)
    assert_type(portable_bce.softplus(row, compute_dtype=np.dtype("float64")), Float64)
    assert_type(portable_bce.check_inputs(logits, labels, from_logits=False), None)


def dimensions_and_dtype_stay(image: Image, anything: npt.NDArray[np.floating[Any]]) -> None:
    assert_type(portable_bce.sigmoid(image), Image)
    _, grad = portable_bce.bce_with_logits_value_and_grad(image, 0)
    assert_type(grad, Image)
    height, width = grad.shape
    assert_type(height * width, int)
    assert_type(portable_bce.softplus(anything), npt.NDArray[np.floating[Any]])


def pullbacks(logits: Float32, targets: Float32) -> None:
    loss, pullback = portable_bce.bce_with_logits_vjp(logits, targets)
    assert_type(loss, Float32)
    assert_type(pullback(), tuple[Float32, Float32])
    assert_type(pullback(2.0, targets=True), tuple[Float32, Float32])
    assert_type(pullback(cotangent=loss, targets=False), tuple[Float32, None])
    _, from_probabilities = portable_bce.bce_vjp(logits, 0.5)
    asked = bool(targets.size)
    assert_type(from_probabilities(targets=asked), tuple[Float32, Float32 | None])


def losses(logits: Float32, labels: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> None:
    for loss in (
        portable_bce.BCEWithLogitsLoss(pos_weight=np.ones(3), reduction="weighted_mean", axis=-1),
        portable_bce.BCELoss(label_smoothing=0.1, eps=1e-7, compute_dtype=np.float64),
    ):
        assert_type(loss(logits, labels, weight=2), Float32)
        assert_type(loss.value_and_grad(logits, labels), tuple[Float32, Float32])
        assert_type(loss.grad_and_hess(logits, 1.0, where=mask), tuple[Float32, Float32])
        _, pullback = loss.vjp(logits, labels)
        assert_type(pullback(), tuple[Float32, Float32])


def boosting(labels: Float32, raw: Float64, dataset: "Dataset") -> None:
    objective = BinaryObjective(pos_weight=3.0)
    assert_type(objective(labels, raw), tuple[Float64, Float64])
    assert_type(objective(labels, raw, labels), tuple[Float64, Float64])
    assert_type(objective(raw, dataset), tuple[Float64, Float64])
    assert_type(objective.log_loss(labels, raw, 2.0), float)
    assert_type(objective.xgboost_metric(raw, dataset), tuple[str, float])
    assert_type(objective.lightgbm_metric(raw, dataset), tuple[str, float, bool])
    assert_type(objective.initial_score(dataset), float)


class Dataset:
    def get_label(self) -> Float32:
        return np.zeros(3, dtype=np.float32)

    def get_weight(self) -> Float32 | None:
        return None


def mistakes(logits: Float32, labels: Float32, dataset: Dataset) -> None:
    portable_bce.bce_with_logits("logits", labels)  # wrong
    portable_bce.bce_with_logits([0.5, 1.0], labels)  # wrong
    portable_bce.bce_with_logits(0.5, labels)  # wrong
    portable_bce.bce_with_logits(logits, "1")  # wrong
    portable_bce.bce_with_logits(logits, [0.0, 1.0])  # wrong
    portable_bce.bce_with_logits(logits, None)  # wrong
    portable_bce.bce_with_logits(logits, labels, None)  # wrong
    portable_bce.bce_with_logits(logits, labels, weight="balanced")  # wrong
    portable_bce.bce_with_logits(logits, labels, pos_weight=[1.0, 2.0])  # wrong
    portable_bce.bce_with_logits(logits, labels, label_smoothing="0.1")  # wrong
    portable_bce.bce_with_logits(logits, labels, where=True)  # wrong
    portable_bce.bce_with_logits(logits, labels, reduction="avg")  # wrong
    portable_bce.bce_with_logits(logits, labels, axis=1.0)  # wrong
    portable_bce.bce_with_logits(logits, labels, eps=1e-7)  # wrong
    portable_bce.bce(logits, labels, eps="1e-7")  # wrong
    portable_bce.bce_vjp(logits, labels)[1]("1")  # wrong
    portable_bce.bce_vjp(logits, labels)[1](1.0, False)  # wrong
    portable_bce.sigmoid("x")  # wrong
    portable_bce.check_inputs(logits, "1")  # wrong
    portable_bce.BCEWithLogitsLoss(2.0)  # wrong
    portable_bce.BCEWithLogitsLoss(weight="balanced")  # wrong
    portable_bce.BCEWithLogitsLoss(reduction="avg")  # wrong
    portable_bce.BCEWithLogitsLoss(eps=1e-7)  # wrong
    portable_bce.BCELoss().value_and_grad(logits, "1")  # wrong
    portable_bce.BCELoss().reduction = "sum"  # wrong
    BinaryObjective()(dataset, logits)  # wrong
    BinaryObjective()(logits, dataset, labels)  # wrong
    BinaryObjective().log_loss("1", logits)  # wrong
    wide: Float64 = portable_bce.sigmoid(logits)  # wrong
    text: str = portable_bce.bce(logits, wide)  # wrong
    del text
