"""check_inputs counts bad values and says which is the first, and where."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from portable_bce import check_inputs
from tests.backends import Backend

lazy_xp_modules: list[object] = []  # it looks at values: neither jitted nor lazy

GOOD = np.asarray([[0.0, 1.0], [0.5, 1.0], [0.25, 0.0]], dtype=np.float32)


def bad(position: Any, value: float) -> np.ndarray:
    array = GOOD.copy()
    array[position] = value
    return array


CASES: list[tuple[dict[str, Any], str]] = [
    ({"logits": bad((1, 0), np.nan)}, "`logits` must not be NaN; 1 of 6 are, the first is nan at index (1, 0)"),
    ({"targets": bad((2, 1), 1.5)}, "`targets` must lie in [0, 1]; 1 of 6 do not, the first is 1.5 at index (2, 1)"),
    ({"targets": bad(1, -1.0)}, "`targets` must lie in [0, 1]; 2 of 6 do not, the first is -1.0 at index (1, 0)"),
    ({"targets": bad((0, 1), np.nan)}, "`targets` must lie in [0, 1]; 1 of 6 do not, the first is nan at index (0, 1)"),
    ({"targets": np.asarray([[0, 1], [2, 1], [-1, 3]])}, "`targets` must lie in [0, 1]; 3 of 6 do not, the first is 2 at index (1, 0)"),
    ({"targets": 2}, "`targets` must lie in [0, 1]; got 2.0"),
    ({"weight": np.asarray([1.0, -2.0], dtype=np.float32)}, "`weight` must be finite and not negative; 1 of 2 are not, the first is -2.0 at index (1,)"),
    ({"weight": bad((0, 0), np.inf)}, "`weight` must be finite and not negative; 1 of 6 are not, the first is inf at index (0, 0)"),
    ({"pos_weight": float("nan")}, "`pos_weight` must be finite and not negative; got nan"),
    ({"logits": bad((0, 1), 1.25), "from_logits": False}, "`probabilities` must lie in [0, 1]; 1 of 6 do not, the first is 1.25 at index (0, 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), CASES, ids=[message for _, message in CASES])
def test_first_bad_value_is_reported(
    backend: Backend, changed: dict[str, Any], message: str
) -> None:
    arguments = {"logits": GOOD, "targets": GOOD, **changed}
    given = {
        name: backend.array(value) if isinstance(value, np.ndarray) else value
        for name, value in arguments.items()
    }
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_inputs(given.pop("logits"), given.pop("targets"), **given)


def test_good_values_pass(backend: Backend) -> None:
    x = backend.array(np.asarray([np.inf, -np.inf, 0.0], dtype=np.float32))
    y = backend.array(np.asarray([1, 0, 1]))
    check_inputs(x, y, weight=y, pos_weight=2.0)
    check_inputs(x, backend.array(np.asarray([True, False, True])))
    check_inputs(backend.array(GOOD), backend.array(GOOD), from_logits=False)
    check_inputs(backend.array(GOOD[:0]), backend.array(GOOD[:0]))


def test_masked_values_may_be_anything(backend: Backend) -> None:
    x = backend.array(bad((1, 0), np.nan))
    y = backend.array(bad((1, 0), 7.0))
    keep = np.ones(GOOD.shape, dtype=bool)
    keep[1, 0] = False
    check_inputs(x, y, weight=y, where=backend.array(keep))


def test_shared_weight_counts_once_and_only_if_kept(backend: Backend) -> None:
    x = backend.array(GOOD)
    weight = backend.array(np.asarray([[1.0], [-1.0], [-2.0]], dtype=np.float32))
    keep = np.ones(GOOD.shape, dtype=bool)
    keep[1] = False
    with pytest.raises(ValueError, match=r"1 of 3 are not, the first is -2\.0 at index \(2, 0\)$"):
        check_inputs(x, x, weight=weight, where=backend.array(keep))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (6, 1), (1, 2, 3)])
def test_index_has_as_many_numbers_as_there_are_axes(
    backend: Backend, shape: tuple[int, ...]
) -> None:
    x = np.full(6, 0.5, dtype=np.float32)
    x[[4, 5]] = 3
    index = tuple(map(int, np.unravel_index(4, shape)))
    message = f"2 of 6 do not, the first is 3.0 at index {index}"
    with pytest.raises(ValueError, match=f"{re.escape(message)}$"):
        check_inputs(backend.array(x.reshape(shape)), 1, from_logits=False)


def test_number_without_dimensions_has_an_empty_index(backend: Backend) -> None:
    x = backend.array(np.asarray(np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match=r"1 of 1 are, the first is nan at index \(\)$"):
        check_inputs(x, 1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_bad_value_of_any_dtype_is_reported(backend: Backend, dtype: str) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    x = backend.array(bad((1, 0), 1.5), dtype)
    with pytest.raises(ValueError, match=r"1 of 6 do not, the first is 1\.5 at index \(1, 0\)$"):
        check_inputs(x, 1, from_logits=False)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int16"])
def test_bad_label_of_any_integer_dtype_is_reported(backend: Backend, dtype: str) -> None:
    x = backend.array(GOOD)
    y = backend.array(np.asarray([[0, 1], [2, 1], [0, 3]], dtype=dtype))
    with pytest.raises(ValueError, match=r"2 of 6 do not, the first is 2 at index \(1, 0\)$"):
        check_inputs(x, y)


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", ">i4", "<f4", "<i4"])
def test_bad_value_in_any_byte_order_is_reported(dtype: str) -> None:
    y = np.asarray([[0, 1], [2, 1], [0, 3]]).astype(dtype)
    with pytest.raises(ValueError, match=r"2 of 6 do not, the first is 2(\.0)? at index \(1, 0\)$"):
        check_inputs(GOOD, y)


def test_bad_value_that_needs_a_gradient_is_reported_without_a_warning() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor([0.0, np.nan], requires_grad=True)
    torch.set_warn_always(True)  # else only the first conversion of a process warns
    try:
        with pytest.raises(ValueError, match=r"1 of 2 are, the first is nan at index \(1,\)$"):
            check_inputs(logits, 1)
    finally:
        torch.set_warn_always(False)


def test_lengths_that_dask_does_not_know_are_found_out() -> None:
    da = pytest.importorskip("dask.array")
    values = np.asarray([[9.0, 0.5], [0.25, 0.5], [0.5, 2.0], [-1.0, 1.0]], dtype=np.float32)
    targets = da.from_array(values, chunks=(1, 2))
    targets = targets[targets[:, 0] < 1]
    check_inputs(targets, 1)
    message = (
        r"^`targets` must lie in \[0, 1\]; 2 of 6 do not, the first is 2\.0 at index \(1, 1\)$"
    )
    with pytest.raises(ValueError, match=message):
        check_inputs(targets, targets)
