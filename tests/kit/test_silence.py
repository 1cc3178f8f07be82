"""The kit computes where numbers underflow, and no caller who made that an error sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce.testing import check, check_interface, strategies

DTYPES = ("float16", "float32", "float64")


def loss(x: Any, y: Any, **keywords: Any) -> Any:
    return portable_bce.bce_with_logits(x, y, **keywords)


def each(x: Any, y: Any) -> Any:
    return loss(x, y, reduction="none")


def slope(x: Any, y: Any) -> Any:
    return portable_bce.bce_with_logits_value_and_grad(x, y, reduction="sum")[1]


def naive(x: Any, y: Any) -> Any:
    return np.log1p(np.exp(x)) - x * y


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_floating_point_error_of_the_kit_reaches_a_caller(dtype: str) -> None:
    """https://github.com/optuna/optuna/issues/2639: studies run under seterr(all="raise")."""
    with np.errstate(all="raise"):
        check(each, xp=np, gradient=slope, dtypes=[dtype], examples=20).raise_if_broken()
        assert check(naive, xp=np, dtypes=[dtype], examples=20).broken


def test_no_floating_point_error_of_the_interface_s_laws_reaches_a_caller() -> None:
    with np.errstate(all="raise"):
        check_interface(loss, xp=np, dtypes=["float16"], examples=1).raise_if_broken()


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_no_floating_point_error_of_the_strategies_reaches_a_caller(dtype: str) -> None:
    with np.errstate(all="raise"):
        tiny = strategies.rounded(np.asarray([1e-300, 1e300]), dtype)
        assert (tiny[0] == 0) == (dtype != "float64")
        # Shrinking the list would take half a minute and draw nothing new.
        drawn = settings(database=None, phases=[Phase.generate])
        find(st.lists(strategies.pairs(dtype), min_size=60), lambda _: True, settings=drawn)
