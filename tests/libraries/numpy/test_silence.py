"""No floating-point warning of ours reaches a caller who made them errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce._job import Runner

DTYPES = ["float16", "float32", "float64", "longdouble"]


def extremes(dtype: str) -> Any:
    """Return where exp, products and casts overflow, underflow or are not defined."""
    form = np.finfo(dtype)
    some = [0.0, 17.0, -88.0, -104.0, -745.0, np.inf, -np.inf, np.nan]
    wide = [form.max, -form.max, form.smallest_subnormal, form.smallest_normal]
    return np.asarray([*some, *wide], dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["bce_with_logits", "bce"])
@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"weight": np.asarray([1e-30], dtype=np.float32)},
        {"weight": 1e300, "reduction": "weighted_mean"},
        {"weight": np.full(12, 1e300), "reduction": "none"},
        {"pos_weight": 1e300, "label_smoothing": 1e-300},
        {"where": np.zeros(12, dtype=bool)},
        {"compute_dtype": "float64", "weight": 1e5},
    ],
    ids=", ".join,
)
def test_no_warning_leaks(
    numpy_row: Runner, name: str, dtype: str, keywords: dict[str, Any]
) -> None:
    """https://github.com/optuna/optuna/issues/2639: studies run under seterr(all="raise")."""
    x = extremes(dtype)
    if name == "bce":
        x = x[(x >= 0) & (x <= 1)]
        keywords = {key: value for key, value in keywords.items() if np.ndim(value) == 0}
    if dtype == "longdouble":
        keywords = {key: value for key, value in keywords.items() if key != "compute_dtype"}
    with np.errstate(all="raise"):
        for y in (0.0, 1.0, 0.3, np.full(x.shape, np.finfo(dtype).smallest_subnormal)):
            getattr(portable_bce, f"{name}_value_and_grad")(x, y, **keywords)
            getattr(portable_bce, f"{name}_grad_and_hess")(x, y, **keywords)
            _, pullback = getattr(portable_bce, f"{name}_vjp")(x, y, **keywords)
            for cotangent in (1.0, 1e300, 1e-300, math.inf, math.nan):
                pullback(cotangent)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_warning_leaks_from_functions_of_one_array(numpy_row: Runner, dtype: str) -> None:
    with np.errstate(all="raise"):
        for name in ("sigmoid", "log_sigmoid", "softplus"):
            getattr(portable_bce, name)(extremes(dtype))


def test_no_warning_leaks_from_a_look_at_values() -> None:
    """A weight of 1e300 is finite, beside float32 logits too: their row reads it in float64."""
    with np.errstate(all="raise"):
        x, y = np.zeros(1, dtype=np.float32), np.asarray([1e-300])
        portable_bce.check_inputs(x, y, weight=np.asarray([1e300]), pos_weight=1e300)


def test_the_caller_s_error_state_is_left_as_it_was(numpy_row: Runner) -> None:
    with np.errstate(all="raise", under="warn"):
        before = np.geterr()
        portable_bce.bce_with_logits_value_and_grad(extremes("float32"), 1.0)
        assert np.geterr() == before
