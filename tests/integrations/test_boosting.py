"""The boosting objective: its laws on every library, and trees beside the built-in ones."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce.boosting import BinaryObjective
from tests.backends import Backend, skip_if_missing

lazy_xp_modules: list[object] = []  # the objective is called from outside of compiled code

RAW = np.asarray([-50.0, -3.0, -0.5, 0.0, 0.25, 2.0, 18.0, 45.0])
LABELS = np.asarray([0, 1, 0, 1, 1, 0, 1, 1])
WEIGHT = np.asarray([1.0, 0.5, 2.0, 0.0, 1.5, 3.0, 1.0, 0.25])


class Dataset:
    """What XGBoost's DMatrix and LightGBM's Dataset have in common."""

    def __init__(self, labels: Any, weight: Any = None) -> None:
        self.labels, self.weight = labels, weight

    def get_label(self) -> Any:
        return self.labels

    def get_weight(self) -> Any:
        return self.weight


def derivatives(raw: Any, labels: Any, **keywords: Any) -> Any:
    return portable_bce.bce_with_logits_grad_and_hess(raw, labels, **keywords, reduction="none")


def same(one: Any, other: Any) -> None:
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_both_call_orders_agree() -> None:
    objective = BinaryObjective(pos_weight=2.0, label_smoothing=0.1)
    direct = objective(LABELS, RAW, WEIGHT)
    same(objective(RAW, Dataset(LABELS, WEIGHT)), direct)
    same(objective(RAW, Dataset(LABELS)), objective(LABELS, RAW))
    assert not np.array_equal(objective(LABELS, RAW)[0], direct[0])


def test_derivatives_are_those_of_each_sample_s_loss() -> None:
    keywords: dict[str, Any] = {"pos_weight": 2.0, "label_smoothing": 0.1}
    got = BinaryObjective(**keywords, min_hessian=0.0)(LABELS, RAW, WEIGHT)
    same(got, derivatives(RAW, LABELS, weight=WEIGHT, **keywords))


def test_weights_multiply_both_derivatives() -> None:
    """Neither library does it: https://github.com/dmlc/xgboost/issues/3255 is one who forgot."""
    weighted = BinaryObjective()(LABELS, RAW, 2 * np.ones(8))
    same(weighted, tuple(2 * one for one in BinaryObjective()(LABELS, RAW)))


def test_an_empty_weight_of_a_dataset_is_none() -> None:
    """XGBoost returns an empty array for weights that nobody set."""
    empty = Dataset(LABELS, np.empty(0, dtype=np.float32))
    same(BinaryObjective()(RAW, empty), BinaryObjective()(LABELS, RAW))


def test_floor_is_of_a_sample_of_weight_one() -> None:
    _, exact = derivatives(RAW, LABELS, weight=WEIGHT)
    _, hess = BinaryObjective(min_hessian=1e-3)(LABELS, RAW, WEIGHT)
    np.testing.assert_array_equal(hess, np.maximum(exact, 1e-3 * WEIGHT))
    assert hess[0] == 1e-3
    assert hess[3] == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floor_is_that_of_xgboost_by_default(dtype: Any) -> None:
    raw = np.asarray([-200.0, 200.0], dtype=dtype)
    _, hess = BinaryObjective()(LABELS[:2], raw)
    np.testing.assert_array_equal(hess, np.full(2, 1e-16, dtype=dtype))


def test_floor_leaves_the_gradient_alone() -> None:
    grad, _ = BinaryObjective(min_hessian=0.25)(LABELS, RAW)
    np.testing.assert_array_equal(grad, derivatives(RAW, LABELS)[0])


def test_library_shape_dtype_and_device_of_the_raw_prediction_are_kept(backend: Backend) -> None:
    objective = BinaryObjective(pos_weight=2.0)
    for dtype in backend.dtypes:
        raw = backend.array(RAW, dtype)
        for got in objective(backend.array(LABELS), raw, backend.array(WEIGHT)):
            assert type(got) is type(raw)
            assert (got.dtype, got.shape) == (raw.dtype, raw.shape)
            assert getattr(got, "device", None) == getattr(raw, "device", None)


def test_labels_in_host_memory_are_brought_to_the_raw_prediction(backend: Backend) -> None:
    """XGBoost and LightGBM return float32 labels and weights of NumPy."""
    raw = backend.array(RAW, "float32")
    labels, weight = LABELS.astype(np.float32), WEIGHT.astype(np.float32)
    expected = BinaryObjective()(labels, RAW.astype(np.float32), weight)
    for got in (
        BinaryObjective()(raw, Dataset(labels, weight)),
        BinaryObjective()(labels, raw, weight),
    ):
        for mine, theirs in zip(got, expected, strict=True):
            assert type(mine) is type(raw)
            np.testing.assert_allclose(backend.numpy(mine), theirs, rtol=1e-6, atol=1e-37)


@pytest.mark.gpu
def test_labels_on_the_device_are_brought_to_a_raw_prediction_in_host_memory() -> None:
    """XGBoost 3.2 returns the labels of a DMatrix made from CuPy arrays where they are."""
    skip_if_missing("cupy")
    import cupy

    device = Dataset(cupy.asarray(LABELS), cupy.asarray(WEIGHT))
    same(BinaryObjective()(RAW, device), BinaryObjective()(LABELS, RAW, WEIGHT))


def test_float32_labels_beside_float64_predictions_lose_nothing() -> None:
    labels = LABELS.astype(np.float32)
    same(BinaryObjective()(RAW, Dataset(labels)), BinaryObjective()(LABELS, RAW))


def test_weights_of_rows_serve_several_outputs() -> None:
    raw, labels = np.stack([RAW, -RAW], axis=1), np.stack([LABELS, LABELS], axis=1)
    grad, hess = BinaryObjective()(raw, Dataset(labels, WEIGHT))
    for column in range(2):
        one = BinaryObjective()(labels[:, column], raw[:, column], WEIGHT)
        same((grad[:, column], hess[:, column]), one)


def test_flat_labels_of_a_dataset_serve_several_outputs() -> None:
    """XGBoost 3.0 returns them so; of a caller they are an error, as everywhere."""
    raw, labels = np.stack([RAW, -RAW], axis=1), np.stack([LABELS, 1 - LABELS], axis=1)
    same(BinaryObjective()(raw, Dataset(labels.ravel())), BinaryObjective()(labels, raw))
    with pytest.raises(ValueError, match=r"the shape of `logits`, \(8, 2\); got \(16,\)"):
        BinaryObjective()(labels.ravel(), raw)


def test_metric_is_the_loss_over_the_sum_of_weights() -> None:
    objective = BinaryObjective(pos_weight=2.0, label_smoothing=0.1)
    losses = portable_bce.bce_with_logits(
        RAW, LABELS, weight=WEIGHT, pos_weight=2.0, label_smoothing=0.1, reduction="none"
    )
    expected = losses.sum() / WEIGHT.sum()
    value = objective.log_loss(LABELS, RAW, WEIGHT)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-14)
    data = Dataset(LABELS, WEIGHT)
    assert objective.log_loss(RAW, data) == value
    assert objective.xgboost_metric(RAW, data) == ("log_loss", value)
    assert objective.lightgbm_metric(RAW, data) == ("log_loss", value, False)
    assert objective.lightgbm_metric(LABELS, RAW, WEIGHT) == ("log_loss", value, False)
    assert objective.log_loss(LABELS, RAW) == pytest.approx(
        objective.log_loss(LABELS, RAW, np.ones(8)), rel=1e-14
    )


def test_the_libraries_can_read_the_signatures() -> None:
    """XGBoost looks for `sample_weight` and for `__name__`, LightGBM counts to three."""
    objective = BinaryObjective()
    for function in (objective, objective.log_loss, objective.lightgbm_metric):
        assert len(signature(function).parameters) == 3
        assert "sample_weight" in signature(function).parameters
    assert objective.log_loss.__name__ == "log_loss"


def test_initial_score_has_no_gradient() -> None:
    for keywords in ({}, {"pos_weight": 3.0}, {"pos_weight": 0.2, "label_smoothing": 0.2}):
        objective = BinaryObjective(**keywords)
        for weight in (None, WEIGHT, 2.0):
            start = objective.initial_score(LABELS, weight)
            grad, hess = objective(LABELS, np.full(8, start), weight)
            assert abs(grad.sum()) <= 1e-15 * hess.sum() * 8


def test_initial_score_is_the_log_odds_of_the_labels(backend: Backend) -> None:
    labels = backend.array(LABELS)
    assert BinaryObjective().initial_score(labels) == pytest.approx(math.log(5 / 3), rel=1e-6)
    data = Dataset(LABELS.astype(np.float32), WEIGHT)
    expected = math.log(WEIGHT[LABELS == 1].sum() / WEIGHT[LABELS == 0].sum())
    assert BinaryObjective().initial_score(data) == pytest.approx(expected, rel=1e-14)


def test_initial_score_of_rare_labels_is_accurate() -> None:
    labels = np.zeros(1_000_000)
    labels[0] = 1e-12
    expected = math.log(1e-12) - math.log(1e6 - 1e-12)
    assert BinaryObjective().initial_score(labels) == pytest.approx(expected, rel=1e-14)


def test_objective_can_be_copied_and_pickled() -> None:
    """LightGBM copies its parameters, scikit-learn its estimators."""
    objective = BinaryObjective(pos_weight=2.0)
    for other in (copy.deepcopy(objective), pickle.loads(pickle.dumps(objective))):
        same(other(LABELS, RAW), objective(LABELS, RAW))


# (what is called, the error, its whole message)
ERRORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "dataset first": (
        lambda: BinaryObjective()(Dataset(LABELS), RAW),  # type: ignore[call-overload]
        TypeError,
        "the objective must be called as (raw_prediction, dataset) or (y_true, raw_prediction); "
        "got tests.integrations.test_boosting.Dataset first. Exchange the two",
    ),
    "weights beside a dataset": (
        lambda: BinaryObjective()(RAW, Dataset(LABELS), WEIGHT),
        TypeError,
        "`sample_weight` must be left out beside a dataset, which has its own; got "
        "numpy.ndarray. Use `dataset.set_weight(sample_weight)`",
    ),
    "no labels": (
        lambda: BinaryObjective()(RAW, Dataset(None)),
        ValueError,
        "the dataset must have labels; got none. Use `dataset.set_label(labels)`",
    ),
    "empty labels": (
        lambda: BinaryObjective().log_loss(RAW, Dataset(np.empty(0))),
        ValueError,
        "the dataset must have labels; got none. Use `dataset.set_label(labels)`",
    ),
    "one label only": (
        lambda: BinaryObjective().initial_score(np.ones(4)),
        ValueError,
        "`y_true` must hold both labels with positive weight, or its log-odds are infinite; got "
        "a weight of 4 for 1 and 0 for 0. Smooth the labels, or start from a number of your own",
    ),
    "text as floor": (
        lambda: BinaryObjective(min_hessian="1"),
        TypeError,
        "`min_hessian` must be a Python number; got str",
    ),
    "negative floor": (
        lambda: BinaryObjective(min_hessian=-1.0),
        ValueError,
        "`min_hessian` must be finite and not negative; got -1.0. Zero sets no bound",
    ),
    "floor that is not a number": (
        lambda: BinaryObjective(min_hessian=math.nan),
        ValueError,
        "`min_hessian` must be finite and not negative; got nan. Zero sets no bound",
    ),
    "smoothing out of range": (
        lambda: BinaryObjective(label_smoothing=2),
        ValueError,
        "`label_smoothing` must lie in [0, 1]; got 2. Zero smooths nothing, one makes every "
        "target 0.5",
    ),
    "list of predictions": (
        lambda: BinaryObjective()(LABELS, [0.0] * 8),
        TypeError,
        "`y_pred` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, "
        "...); got list. Use `numpy.asarray(y_pred)`",
    ),
    "labels and predictions exchanged": (
        lambda: BinaryObjective()(RAW, LABELS),
        TypeError,
        "`logits` must have a real floating dtype; got int64. Convert it, for example to float32",
    ),
    "labels of another length": (
        lambda: BinaryObjective()(LABELS[:3], RAW),
        ValueError,
        "`targets` must have the shape of `logits`, (8,); got (3,). One is needed for each element",
    ),
    "list as labels to start from": (
        lambda: BinaryObjective().initial_score([0, 1]),
        TypeError,
        "`y_true` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, "
        "...); got list. Use `numpy.asarray(y_true)`",
    ),
}


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_errors_say_what_was_required_what_came_and_how_to_mend_it(case: str) -> None:
    call, kind, message = ERRORS[case]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
