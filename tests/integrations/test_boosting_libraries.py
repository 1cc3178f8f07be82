"""Beside XGBoost's and LightGBM's built-in objectives, the same trees grow."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from portable_bce.boosting import BinaryObjective

ROUNDS = 60
# The same splits; XGBoost computes sigmoid(x) - y in float32 and prints nine digits.
LEAF_TOLERANCE = 1e-5
# LightGBM takes the mean label in float32 sums, XGBoost keeps it in float32.
START_TOLERANCE = 1e-6
# Of metrics: the same losses from float32 labels, summed in another order.
METRIC_TOLERANCE = 1e-6
# XGBoost hands a custom metric on as text of six decimals.
XGBOOST_DECIMALS = 1e-6


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


def test_xgboost_s_approx_needs_the_name_of_the_built_in_objective() -> None:
    """It proposes its splits by the Hessian of the objective in the parameters."""
    xgb = pytest.importorskip("xgboost")
    features, labels, _ = sample()
    data = xgb.DMatrix(features, labels)
    named = {**XGBOOST, "tree_method": "approx", "objective": "binary:logistic", "base_score": 0.5}
    alone = {**XGBOOST, "tree_method": "approx", "base_score": 0.0}
    builtin, ours, unnamed = (
        xgb.train(params, data, ROUNDS, **keywords).predict(data, output_margin=True)
        for params, keywords in (
            (named, {}),
            (named, {"obj": BinaryObjective()}),
            (alone, {"obj": BinaryObjective()}),
        )
    )
    np.testing.assert_allclose(ours, builtin, rtol=0, atol=LEAF_TOLERANCE)
    assert np.abs(unnamed - builtin).max() > 0.1


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
