"""A mask leaves elements out: value, derivative, denominator, whatever stands there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.backends import Backend
from tests.law import law
from tests.strategies import Case, cases

lazy_xp_modules = [portable_bce]

POISON = [np.nan, np.inf, -np.inf, -1.0, 3e38]


def flat(case: Case, keep: np.ndarray) -> Case:
    """Return the elements kept, with their own weights."""

    def part(value: object) -> object:
        if not isinstance(value, np.ndarray):
            return value
        return np.broadcast_to(value, case.x.shape)[keep]

    options = {name: part(value) for name, value in case.options.items()}
    return Case(case.dtype, case.x[keep], part(case.y), options)


@law(
    lambda backend: cases(backend, infinite=False),
    lambda backend: st.sampled_from(["sum", "mean", "weighted_mean"]),
    lambda backend: st.randoms(use_true_random=False),
)
def test_mask_equals_leaving_the_elements_out(
    backend: Backend, case: Case, reduction: str, random: object
) -> None:
    draws = [random.random() < 0.6 for _ in range(case.x.size)]  # type: ignore[attr-defined]
    keep = np.asarray(draws, dtype=bool).reshape(case.x.shape)
    x, y, options = case.on(backend)
    where = backend.array(keep)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(
        x, y, where=where, reduction=reduction, **options
    )
    some = flat(case, keep)
    part_x, part_y, part_options = some.on(backend)
    wanted, slope = portable_bce.bce_with_logits_value_and_grad(
        part_x, part_y, reduction=reduction, **part_options
    )
    near = 0 if backend.bitwise else contract.CONTRACTED
    near += contract.SUM if backend.wide else contract.NARROW_SUM  # summed in another order
    # Vectorised exp and log1p may depend on an element's place (DESIGN.md section 5).
    near += contract.SOFT.loss
    got, exact = backend.numpy(loss), backend.numpy(wanted)
    assert ulp.distance(got, exact) <= near
    gradient, inside = backend.numpy(grad), backend.numpy(grad)[keep]
    assert not np.any(np.where(keep, 0, gradient))
    fair = np.isfinite(backend.numpy(slope))
    scale = np.abs(backend.numpy(slope)[fair]).max(initial=0)
    bound = 2 * (contract.SOFT.grad + near) * np.finfo(case.dtype).eps * scale
    assert np.all(np.abs(inside[fair] - backend.numpy(slope)[fair]) <= bound)


@pytest.mark.parametrize("poison", POISON, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("name", ["bce_with_logits", "bce"])
def test_masked_values_do_not_leak(
    backend: Backend, name: str, reduction: str, poison: float
) -> None:
    clean = np.asarray([0.25, 0.5, 0.75, 0.125], dtype=np.float32)
    dirty = np.asarray([0.25, poison, 0.75, poison], dtype=np.float32)
    keep = backend.array(np.asarray([True, False, True, False]))

    def values(host: np.ndarray) -> list[np.ndarray]:
        x = backend.array(host)
        keywords = {"weight": x, "pos_weight": x, "where": keep, "reduction": reduction}
        loss, grad = getattr(portable_bce, f"{name}_value_and_grad")(x, x, **keywords)
        _, hess = getattr(portable_bce, f"{name}_grad_and_hess")(x, x, **keywords)
        _, pullback = getattr(portable_bce, f"{name}_vjp")(x, x, **keywords)
        return [backend.numpy(value) for value in (loss, grad, hess, *pullback())]

    for got, wanted in zip(values(dirty), values(clean), strict=True):
        np.testing.assert_array_equal(got, wanted)
        assert not np.any(np.isnan(got))
        if got.ndim:
            np.testing.assert_array_equal(got[[1, 3]], [0, 0])


def test_masked_elements_have_no_loss_of_their_own(backend: Backend) -> None:
    x = backend.array(np.zeros(3, dtype=np.float32))
    where = backend.array(np.asarray([True, False, True]))
    loss = portable_bce.bce_with_logits(x, 1, where=where, reduction="none")
    np.testing.assert_array_equal(
        backend.numpy(loss), np.float32(np.log(2)) * np.asarray([1, 0, 1])
    )
