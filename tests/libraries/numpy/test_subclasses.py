"""Subclasses of NumPy's arrays are taken as base arrays: their operators change no value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import portable_bce
from portable_bce._job import Runner

X = np.asarray([[0.5, -1.0], [2.0, 3.0]])
Y = np.asarray([[0.0, 1.0], [1.0, 0.0]])
FUNCTIONS = ["", "_value_and_grad", "_grad_and_hess", "_vjp"]


class Product(np.ndarray[Any, Any]):
    """An array whose operators are not elementwise, as those of numpy.matrix."""

    def __mul__(self, other: Any) -> Any:
        return np.dot(np.asarray(self), np.asarray(other))

    __rmul__ = __sub__ = __rsub__ = __add__ = __radd__ = __lt__ = __gt__ = __mul__

    def astype(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a subclass was asked to convert itself")


def matrix(array: Any) -> Any:
    """Return what `todense()` of SciPy's sparse matrices gives."""
    with pytest.warns(PendingDeprecationWarning):
        return np.matrix(array)


KINDS: dict[str, Callable[[Any], Any]] = {
    "matrix": matrix,
    "product": lambda array: np.array(array).view(Product),
}


def outputs(function: str, x: Any, y: Any, cotangent: Any = 1.0, **keywords: Any) -> list[Any]:
    result = getattr(portable_bce, function)(x, y, **keywords)
    if function.endswith("_vjp"):
        loss, pullback = result
        return [loss, *pullback(cotangent)]
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 5000])
@pytest.mark.parametrize("operand", ["x", "y", "weight", "pos_weight", "where", "cotangent"])
def test_operators_of_a_subclass_change_no_value(
    numpy_row: Runner, operand: str, size: int, kind: str
) -> None:
    """https://github.com/data-apis/array-api-compat/issues/388 and 423.

    Small arrays and arrays of several slices take different ways.
    """
    x, y = np.tile(X, (size // 2, 1)), np.tile(Y, (size // 2, 1))
    plain: dict[str, Any] = {"weight": x**2, "pos_weight": y + 0.5, "where": x < 3}
    for function in FUNCTIONS:
        for first, name in ((x, "bce_with_logits"), (1 / (2 + x**2), "bce")):
            given: dict[str, Any] = {"x": first, "y": y, **plain, "reduction": "none"}
            if function == "_vjp":
                given["cotangent"] = x + 4
            elif operand == "cotangent":
                continue
            wanted = outputs(name + function, **given)
            got = outputs(name + function, **{**given, operand: KINDS[kind](given[operand])})
            for one, other in zip(got, wanted, strict=True):
                assert type(one) is np.ndarray
                np.testing.assert_array_equal(one, other)


def test_labels_from_todense_cost_what_labels_in_an_array_cost(numpy_row: Runner) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    labels = sparse.csr_matrix(Y).todense()
    total = portable_bce.bce_with_logits(X, labels, reduction="sum")
    assert total == portable_bce.bce_with_logits(X, Y, reduction="sum")
    assert round(float(total), 2) == 5.46


@pytest.mark.parametrize("kind", KINDS)
def test_functions_of_one_array_take_subclasses(numpy_row: Runner, kind: str) -> None:
    for name in ("sigmoid", "log_sigmoid", "softplus"):
        function = getattr(portable_bce, name)
        got = function(KINDS[kind](X))
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, function(X))
    portable_bce.check_inputs(*map(KINDS[kind], (X, Y)), weight=KINDS[kind](X**2))
    with pytest.raises(ValueError, match=r"the first is 2\.0 at index \(0, 1\)$"):
        portable_bce.check_inputs(X, KINDS[kind](2 * Y))
