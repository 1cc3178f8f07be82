"""XGBoost on a GPU, where a build for CUDA is installed, by our objective."""

from __future__ import annotations

from typing import Any

import pytest

from portable_bce.boosting import BinaryObjective
from tests import backends
from tests.integrations.test_boosting_libraries import ROUNDS, VARIANTS, XGBOOST, sample, scaled

pytestmark = pytest.mark.gpu

# Of the mean loss: on a GPU XGBoost rounds gradients to fixed point before it sums them, so
# splits that are nearly as good may change places. To be measured on a device.
LOSS_TOLERANCE = 1e-4


@pytest.fixture
def xgboost() -> Any:
    backends.skip_if_missing("cupy")
    xgboost = pytest.importorskip("xgboost")
    if not xgboost.build_info().get("USE_CUDA"):
        pytest.skip("this XGBoost is built without CUDA")
    return xgboost


@VARIANTS
@pytest.mark.parametrize("library", ["numpy", "cupy"])
def test_xgboost_on_a_gpu_learns_what_it_learns_by_its_own_objective(
    xgboost: Any, library: str, weighted: bool, pos_weight: float | None
) -> None:
    features, labels, weight = map(pytest.importorskip(library).asarray, sample())
    data = xgboost.DMatrix(features, labels, weight=weight if weighted else None)
    params = {**XGBOOST, "device": "cuda", "eval_metric": "logloss"}
    objective = BinaryObjective(pos_weight=pos_weight)
    ours = xgboost.train({**params, "base_score": 0.0}, data, ROUNDS, obj=objective)
    own = {"objective": "binary:logistic", "base_score": 0.5, **scaled(pos_weight)}
    builtin = xgboost.train({**params, **own}, data, ROUNDS)
    margins = [model.predict(data, output_margin=True) for model in (ours, builtin)]
    losses = [objective.xgboost_metric(margin, data)[1] for margin in margins]
    assert abs(losses[0] - losses[1]) <= LOSS_TOLERANCE
