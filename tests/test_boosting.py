"""The boosting objective: its laws on every library, and trees beside the built-in ones."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import pytest

import portable_bce
from portable_bce.boosting import BinaryObjective
from tests.backends import Backend, no_gpu
from tests.test_docs import blocks

lazy_xp_modules: list[object] = []  # the objective is called from outside of compiled code

RAW = np.asarray([-50.0, -3.0, -0.5, 0.0, 0.25, 2.0, 18.0, 45.0])
LABELS = np.asarray([0, 1, 0, 1, 1, 0, 1, 1])
WEIGHT = np.asarray([1.0, 0.5, 2.0, 0.0, 1.5, 3.0, 1.0, 0.25])

ROUNDS = 60
# The same splits; XGBoost computes sigmoid(x) - y in float32 and prints nine digits.
LEAF_TOLERANCE = 1e-5
# LightGBM takes the mean label in float32 sums, XGBoost keeps it in float32.
START_TOLERANCE = 1e-6
# Of metrics: the same losses from float32 labels, summed in another order.
METRIC_TOLERANCE = 1e-6
# XGBoost hands a custom metric on as text of six decimals.
XGBOOST_DECIMALS = 1e-6


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


# The object alone


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
    if reason := no_gpu():
        pytest.skip(reason)
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
        lambda: BinaryObjective()(Dataset(LABELS), RAW),
        TypeError,
        "the objective must be called as (raw_prediction, dataset) or (y_true, raw_prediction); "
        "got tests.test_boosting.Dataset first. Exchange the two",
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


# Beside the built-in objectives


class Sample(NamedTuple):
    features: Any
    labels: Any
    weight: Any


def sample() -> Sample:
    datasets = pytest.importorskip("sklearn.datasets")
    features, labels = datasets.load_breast_cancer(return_X_y=True)
    return Sample(features, labels, np.random.default_rng(5).uniform(0.5, 2.0, labels.size))


VARIANTS = pytest.mark.parametrize(
    ("weighted", "pos_weight"), [(False, None), (True, None), (False, 3.0), (True, 3.0)]
)


def scaled(pos_weight: float | None) -> dict[str, float]:
    return {} if pos_weight is None else {"scale_pos_weight": pos_weight}


LIGHTGBM = {
    "num_leaves": 15,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 3,
    "verbose": -1,
}


def lightgbm_trees(booster: Any) -> str:
    """The trees as LightGBM saves them, without the header and the parameters."""
    text: str = booster.model_to_string()
    return text[text.index("Tree=0") : text.index("end of trees")]


@VARIANTS
def test_lightgbm_s_trees_are_the_built_in_ones_in_text(
    weighted: bool, pos_weight: float | None
) -> None:
    lgb = pytest.importorskip("lightgbm")
    features, labels, weight = sample()

    def trees(**params: Any) -> str:
        data = lgb.Dataset(features, labels, weight=weight if weighted else None)
        return lightgbm_trees(lgb.train({**LIGHTGBM, **params}, data, ROUNDS))

    builtin = trees(objective="binary", boost_from_average=False, **scaled(pos_weight))
    assert trees(objective=BinaryObjective(pos_weight=pos_weight)) == builtin
    assert builtin.count("Tree=") == ROUNDS


@VARIANTS
def test_lightgbm_s_estimators_grow_the_same_trees(
    weighted: bool, pos_weight: float | None
) -> None:
    lgb = pytest.importorskip("lightgbm")
    features, labels, weight = sample()

    def trees(**params: Any) -> str:
        model = lgb.LGBMClassifier(n_estimators=ROUNDS, **{**LIGHTGBM, **params})
        model.fit(features, labels, sample_weight=weight if weighted else None)
        return lightgbm_trees(model.booster_)

    builtin = trees(objective="binary", boost_from_average=False, **scaled(pos_weight))
    assert trees(objective=BinaryObjective(pos_weight=pos_weight)) == builtin


@pytest.mark.parametrize("weighted", [False, True])
def test_lightgbm_starts_from_the_average_by_the_initial_score(weighted: bool) -> None:
    lgb = pytest.importorskip("lightgbm")
    features, labels, given = sample()
    weight = given if weighted else None
    objective = BinaryObjective()
    start = objective.initial_score(labels, weight)
    builtin = lgb.train(
        {**LIGHTGBM, "objective": "binary"}, lgb.Dataset(features, labels, weight=weight), ROUNDS
    )
    data = lgb.Dataset(features, labels, weight=weight, init_score=np.full(labels.size, start))
    ours = lgb.train({**LIGHTGBM, "objective": objective}, data, ROUNDS)
    np.testing.assert_allclose(
        ours.predict(features) + start,
        builtin.predict(features, raw_score=True),
        rtol=0,
        atol=START_TOLERANCE,
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_lightgbm_s_metric_is_the_built_in_one(weighted: bool) -> None:
    lgb = pytest.importorskip("lightgbm")
    features, labels, given = sample()
    weight = given if weighted else None

    def history(feval: Any, **params: Any) -> Any:
        data = lgb.Dataset(features, labels, weight=weight)
        found: dict[str, Any] = {}
        lgb.train(
            {**LIGHTGBM, **params},
            data,
            20,
            valid_sets=[data],
            feval=feval,
            callbacks=[lgb.record_evaluation(found)],
        )
        return found["training"]

    builtin = history(None, objective="binary", boost_from_average=False)["binary_logloss"]
    objective = BinaryObjective()
    ours = history(objective.lightgbm_metric, objective=objective)["log_loss"]
    np.testing.assert_allclose(ours, builtin, rtol=METRIC_TOLERANCE)

    model = lgb.LGBMClassifier(n_estimators=20, objective=objective, **LIGHTGBM)
    model.fit(
        features,
        labels,
        sample_weight=weight,
        eval_X=features,
        eval_y=labels,
        eval_sample_weight=None if weight is None else [weight],
        eval_metric=objective.lightgbm_metric,
    )
    np.testing.assert_allclose(
        model.evals_result_["valid_0"]["log_loss"], builtin, rtol=METRIC_TOLERANCE
    )


XGBOOST = {"max_depth": 4, "tree_method": "hist", "nthread": 1}


def xgboost_nodes(booster: Any) -> tuple[list[Any], list[float]]:
    """The splits, in order, and the leaves."""
    splits, leaves = [], []
    for tree in booster.get_dump(dump_format="json"):
        open_nodes = [json.loads(tree)]
        while open_nodes:
            node = open_nodes.pop()
            if "leaf" in node:
                leaves.append(node["leaf"])
            splits.append((node["nodeid"], node.get("split"), node.get("split_condition")))
            open_nodes.extend(node.get("children", []))
    return splits, leaves


def assert_same_xgboost(ours: Any, builtin: Any) -> None:
    (splits, leaves), (expected_splits, expected_leaves) = map(xgboost_nodes, (ours, builtin))
    assert splits == expected_splits
    np.testing.assert_allclose(leaves, expected_leaves, rtol=0, atol=LEAF_TOLERANCE)


@VARIANTS
@pytest.mark.parametrize("method", ["hist", "exact"])
def test_xgboost_s_splits_and_leaves_are_the_built_in_ones(
    weighted: bool, pos_weight: float | None, method: str
) -> None:
    xgb = pytest.importorskip("xgboost")
    features, labels, weight = sample()
    data = xgb.DMatrix(features, labels, weight=weight if weighted else None)
    params = {**XGBOOST, "tree_method": method}
    builtin = {**params, "objective": "binary:logistic", "base_score": 0.5, **scaled(pos_weight)}
    assert_same_xgboost(
        xgb.train(
            {**params, "base_score": 0.0},
            data,
            ROUNDS,
            obj=BinaryObjective(pos_weight=pos_weight),
        ),
        xgb.train(builtin, data, ROUNDS),
    )


@VARIANTS
def test_xgboost_s_estimators_grow_the_same_trees(weighted: bool, pos_weight: float | None) -> None:
    xgb = pytest.importorskip("xgboost")
    features, labels, given = sample()
    weight = given if weighted else None
    models = [
        xgb.XGBClassifier(n_estimators=ROUNDS, base_score=0.5, **XGBOOST, **keywords)
        for keywords in (
            {"objective": BinaryObjective(pos_weight=pos_weight)},
            {"objective": "binary:logistic", **scaled(pos_weight)},
        )
    ]
    for model in models:
        model.fit(features, labels, sample_weight=weight)
    assert_same_xgboost(*(model.get_booster() for model in models))
    ours, builtin = (model.predict_proba(features) for model in models)
    np.testing.assert_allclose(ours, builtin, atol=LEAF_TOLERANCE)


@pytest.mark.parametrize("weighted", [False, True])
def test_xgboost_starts_from_the_mean_label_by_the_initial_score(weighted: bool) -> None:
    xgb = pytest.importorskip("xgboost")
    features, labels, weight = sample()
    data = xgb.DMatrix(features, labels, weight=weight if weighted else None)
    objective = BinaryObjective()
    params = {**XGBOOST, "base_score": objective.initial_score(data)}
    ours = xgb.train(params, data, ROUNDS, obj=objective)
    builtin = xgb.train({**XGBOOST, "objective": "binary:logistic"}, data, ROUNDS)
    assert_same_xgboost(ours, builtin)
    np.testing.assert_allclose(
        ours.predict(data), builtin.predict(data, output_margin=True), atol=LEAF_TOLERANCE
    )


def test_xgboost_predicts_probabilities_under_the_name_of_the_built_in() -> None:
    """The objective then gives the trees, and the name the link."""
    xgb = pytest.importorskip("xgboost")
    features, labels, _ = sample()
    data = xgb.DMatrix(features, labels)
    params = {**XGBOOST, "objective": "binary:logistic", "base_score": 0.5}
    ours = xgb.train(params, data, ROUNDS, obj=BinaryObjective())
    builtin = xgb.train(params, data, ROUNDS)
    np.testing.assert_allclose(ours.predict(data), builtin.predict(data), atol=LEAF_TOLERANCE)


@pytest.mark.parametrize("weighted", [False, True])
def test_xgboost_s_metric_is_the_built_in_one(weighted: bool) -> None:
    xgb = pytest.importorskip("xgboost")
    features, labels, given = sample()
    weight = given if weighted else None
    data = xgb.DMatrix(features, labels, weight=weight)
    objective = BinaryObjective()

    def history(name: str, params: dict[str, Any], **keywords: Any) -> Any:
        found: dict[str, Any] = {}
        xgb.train(
            {**XGBOOST, **params},
            data,
            20,
            evals=[(data, "train")],
            evals_result=found,
            verbose_eval=False,
            **keywords,
        )
        return found["train"][name]

    named = {"objective": "binary:logistic", "eval_metric": "logloss", "base_score": 0.5}
    builtin = history("logloss", named)
    ours = history(
        "log_loss",
        {"base_score": 0.0, "disable_default_eval_metric": True},
        obj=objective,
        custom_metric=objective.xgboost_metric,
    )
    np.testing.assert_allclose(ours, builtin, rtol=0, atol=XGBOOST_DECIMALS)

    model = xgb.XGBClassifier(
        n_estimators=20,
        objective=objective,
        eval_metric=objective.log_loss,
        base_score=0.5,
        **XGBOOST,
    )
    model.fit(
        features,
        labels,
        sample_weight=weight,
        eval_set=[(features, labels)],
        sample_weight_eval_set=None if weight is None else [weight],
        verbose=False,
    )
    found = model.evals_result()["validation_0"]["log_loss"]
    np.testing.assert_allclose(found, builtin, rtol=0, atol=XGBOOST_DECIMALS)


def test_xgboost_takes_several_outputs() -> None:
    xgb = pytest.importorskip("xgboost")
    features, labels, weight = sample()
    both = np.stack([labels, features[:, 0] > features[:, 0].mean()], axis=1).astype(float)
    data = xgb.DMatrix(features, both, weight=weight)
    objective = BinaryObjective()
    ours = xgb.train({**XGBOOST, "base_score": 0.0, "num_target": 2}, data, 10, obj=objective)
    params = {**XGBOOST, "objective": "binary:logistic", "base_score": 0.5}
    assert_same_xgboost(ours, xgb.train(params, data, 10))


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_page_runs(library: str) -> None:
    pytest.importorskip(library)
    pytest.importorskip("sklearn")
    other = {"lightgbm": "xgboost", "xgboost": "lightgbm"}[library]
    known: dict[str, Any] = {}
    found = [block for block in blocks("docs/boosting.md") if other not in block]
    assert len(found) > 2
    for block in found:
        exec(compile(block, "docs/boosting.md", "exec"), known)  # one after the other
