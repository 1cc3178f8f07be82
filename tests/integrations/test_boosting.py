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
from portable_bce._job import Runner
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


def of_pandas(name: str) -> Callable[[Any], Any]:
    def make(value: Any) -> Any:
        return getattr(pytest.importorskip("pandas"), name)(value)

    return make


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(np.ndarray.tolist, id="list"),
        pytest.param(lambda value: tuple(value.tolist()), id="tuple"),
        pytest.param(memoryview, id="memoryview"),
        pytest.param(of_pandas("Series"), id="Series"),
        pytest.param(lambda value: of_pandas("Series")(value).astype("Float64"), id="nullable"),
    ],
)
def test_lists_and_series_are_arrays_of_numpy(kind: Callable[[Any], Any]) -> None:
    """Users of both libraries have labels and weights in pandas."""
    objective = BinaryObjective(pos_weight=2.0)
    labels, raw, weight = kind(LABELS), kind(RAW), kind(WEIGHT)
    same(objective(labels, RAW, weight), objective(LABELS, RAW, WEIGHT))
    same(objective(RAW, Dataset(labels, weight)), objective(LABELS, RAW, WEIGHT))
    wanted = objective.log_loss(LABELS, RAW, WEIGHT)
    assert objective.log_loss(labels, raw, weight) == wanted
    assert objective.lightgbm_metric(labels, raw, weight)[1] == wanted
    start = objective.initial_score(LABELS, WEIGHT)
    assert objective.initial_score(labels, weight) == start


def test_a_frame_of_one_column_has_the_labels_of_a_row() -> None:
    pandas = pytest.importorskip("pandas")
    same(BinaryObjective()(pandas.DataFrame({"y": LABELS}), RAW), BinaryObjective()(LABELS, RAW))


def test_pos_weight_may_be_a_list_of_outputs() -> None:
    raw, labels = np.stack([RAW, -RAW], axis=1), np.stack([LABELS, LABELS], axis=1)
    ours: Any = [1.0, 3.0]
    same(
        BinaryObjective(pos_weight=ours)(labels, raw),
        BinaryObjective(pos_weight=np.asarray(ours))(labels, raw),
    )


class Product(np.ndarray[Any, Any]):
    """An array whose product is that of matrices, as numpy.matrix has it."""

    def __mul__(self, other: Any) -> Any:
        return np.dot(np.asarray(self), np.asarray(other))

    __rmul__ = __mul__


def test_subclasses_do_not_bring_their_operators(numpy_row: Runner) -> None:
    """https://github.com/data-apis/array-api-compat/issues/388: weights and floors, too."""
    objective = BinaryObjective(min_hessian=1e-3)
    labels, raw, weight = (one.view(Product) for one in (LABELS, RAW, WEIGHT))
    both = objective(labels, raw, weight), objective(LABELS, RAW, WEIGHT)
    for got, wanted in zip(*both, strict=True):
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, wanted)
    assert objective.log_loss(labels, raw, weight) == objective.log_loss(LABELS, RAW, WEIGHT)
    assert objective.initial_score(labels, weight) == objective.initial_score(LABELS, WEIGHT)


@pytest.mark.parametrize("is_flat", [False, True])
def test_initial_score_takes_weights_by_rows(is_flat: bool) -> None:
    """https://github.com/dmlc/xgboost/issues/9840 and 10889: a weight is that of a row."""
    labels, weight = np.asarray([[1, 0], [1, 0]]), np.asarray([1.0, 9.0])
    objective = BinaryObjective()
    assert objective.initial_score(labels, weight) == 0
    data = Dataset(labels.ravel() if is_flat else labels, weight)
    assert objective.initial_score(data) == 0
    more, weights = np.asarray([[1, 0, 0], [1, 1, 0]]), np.asarray([1.0, 4.0])
    expected = math.log(9 / 6)
    assert objective.initial_score(more, weights) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("keywords", [{}, {"pos_weight": 2.0, "label_smoothing": 0.1}], ids=str)
def test_initial_score_of_several_outputs_has_no_gradient(keywords: dict[str, Any]) -> None:
    labels = np.stack([LABELS, 1 - LABELS, np.ones(8)], axis=1)
    objective = BinaryObjective(**keywords)
    start = objective.initial_score(labels, WEIGHT)
    grad, hess = objective(labels, np.full(labels.shape, start), WEIGHT)
    assert abs(grad.sum()) <= 1e-15 * hess.sum() * labels.size


@pytest.mark.parametrize(
    ("dtype", "weight"),
    [
        ("float32", np.asarray([1e-30], dtype=np.float32)),
        ("float32", np.asarray([1e300])),
        ("float16", np.asarray([1e5], dtype=np.float32)),
        ("float16", 1e5),
    ],
    ids=str,
)
@pytest.mark.parametrize("fault", ["raise", "warn"])
def test_no_warning_leaks(numpy_row: Runner, dtype: str, weight: Any, fault: Any) -> None:
    """https://github.com/optuna/optuna/issues/2639: users set seterr(all="raise")."""
    raw = np.zeros(1, dtype=dtype)
    with np.errstate(all=fault):
        grad, hess = BinaryObjective()(np.asarray([1.0]), raw, weight)
        BinaryObjective().log_loss(np.asarray([1.0]), raw, weight)
    with np.errstate(all="ignore"):
        wide = np.asarray(weight, dtype=np.float64)
        np.testing.assert_array_equal(grad, np.ravel(-0.5 * wide).astype(dtype))
        np.testing.assert_array_equal(hess, np.ravel(0.25 * wide).astype(dtype))


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
    "labels and predictions exchanged": (
        lambda: BinaryObjective()(RAW, LABELS),
        ValueError,
        "`y_true` must lie in [0, 1]; got -50 to 45. This is the objective of two classes; the "
        "labels come first, the raw prediction second",
    ),
    "labels of -1 and 1": (
        lambda: BinaryObjective()(2 * LABELS - 1, RAW),
        ValueError,
        "`y_true` must lie in [0, 1]; got -1 to 1. Use `y_true == 1`",
    ),
    "list of labels of 1 and 2": (
        lambda: BinaryObjective().log_loss([1, 2, 2], RAW[:3]),
        ValueError,
        "`y_true` must lie in [0, 1]; got 1 to 2. Use `numpy.asarray(y_true) == 2`",
    ),
    "labels of -1 and 1 to start from": (
        lambda: BinaryObjective().initial_score(2.0 * LABELS - 1),
        ValueError,
        "`y_true` must lie in [0, 1]; got -1 to 1. Use `y_true == 1`",
    ),
    "labels of -1 and 1 in a dataset": (
        lambda: BinaryObjective()(RAW, Dataset(2 * LABELS - 1)),
        ValueError,
        "the labels of the dataset must lie in [0, 1]; got -1 to 1. Use "
        "`dataset.set_label(dataset.get_label() == 1)`",
    ),
    "several classes in a dataset": (
        lambda: BinaryObjective()(RAW, Dataset(np.arange(8))),
        ValueError,
        "the labels of the dataset must lie in [0, 1]; got 0 to 7. This is the objective of two "
        "classes",
    ),
    "labels in words": (
        lambda: BinaryObjective()(np.asarray(["no", "yes"] * 4), RAW),
        TypeError,
        "`y_true` must have a floating, integer or bool dtype; got <U3. Use `y_true == label`, "
        "where `label` is the one that means 1",
    ),
    "list of labels in words": (
        lambda: BinaryObjective().log_loss(["no", "yes"] * 4, RAW),
        TypeError,
        "`y_true` must have a floating, integer or bool dtype; got <U3. Use "
        "`numpy.asarray(y_true) == label`, where `label` is the one that means 1",
    ),
    "weights in digits": (
        lambda: BinaryObjective().initial_score(LABELS, np.asarray(["1"] * 8)),
        TypeError,
        "`sample_weight` must have a floating, integer or bool dtype; got <U1. Use "
        "`sample_weight.astype(float)`",
    ),
    "labels that are missing": (
        lambda: BinaryObjective()([None, *LABELS[1:]], RAW),  # type: ignore[call-overload]
        ValueError,
        "`y_true` must lie in [0, 1]; got NaN. Drop the samples that have no label",
    ),
    "labels with a mask": (
        lambda: BinaryObjective()(np.ma.masked_equal(LABELS, 0), RAW),
        TypeError,
        "`y_true` must be an array without a mask of its own; got "
        f"{np.ma.MaskedArray.__module__}.MaskedArray. Drop the samples that are masked",
    ),
    "negative weight": (
        lambda: BinaryObjective()(LABELS, RAW, -WEIGHT),
        ValueError,
        "`sample_weight` must be finite and not negative; got -3. Zero leaves a sample out",
    ),
    "weights whose sum is infinite": (
        lambda: BinaryObjective().initial_score(LABELS, np.full(8, 1e308)),
        ValueError,
        "`sample_weight` must have a finite sum; got infinity. Divide it by its maximum",
    ),
    "negative pos_weight": (
        lambda: BinaryObjective(pos_weight=-1),
        ValueError,
        "`pos_weight` must be finite and not negative; got -1. One is no weight at all",
    ),
    "pos_weight of which one is NaN": (
        lambda: BinaryObjective(pos_weight=[1.0, math.nan]),
        ValueError,
        "`pos_weight` must be finite and not negative; got nan. One is no weight at all",
    ),
    "labels of another length": (
        lambda: BinaryObjective()(LABELS[:3], RAW),
        ValueError,
        "`targets` must have the shape of `logits`, (8,); got (3,). One is needed for each element",
    ),
    "text as labels to start from": (
        lambda: BinaryObjective().initial_score("01"),
        TypeError,
        "`y_true` must be an array of an array API library (NumPy, CuPy, PyTorch, JAX, Dask, "
        "...); got str. Pass numbers",
    ),
}


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_errors_say_what_was_required_what_came_and_how_to_mend_it(case: str) -> None:
    call, kind, message = ERRORS[case]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
