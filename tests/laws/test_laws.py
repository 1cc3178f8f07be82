"""What binary cross-entropy is, whatever computes it."""

from __future__ import annotations

import numpy as np
import pytest

import portable_bce
from portable_bce import _contract as contract
from portable_bce.testing import ulp
from tests.backends import Backend
from tests.law import law
from tests.strategies import Case, cases

lazy_xp_modules = [portable_bce]


@law(cases)
def test_loss_and_hessian_are_never_negative(backend: Backend, case: Case) -> None:
    x, y, options = case.on(backend)
    loss = portable_bce.bce_with_logits(x, y, reduction="none", **options)
    _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none", **options)
    assert not np.any(backend.numpy(loss) < 0)
    assert not np.any(np.signbit(backend.numpy(loss)))
    assert not np.any(backend.numpy(hess) < 0)


@law(lambda backend: cases(backend, options=False))
def test_flipping_label_and_logit_preserves_loss_and_negates_gradient(
    backend: Backend, case: Case
) -> None:
    label = np.asarray(case.y, dtype=case.dtype)
    label = np.where(1 - (1 - label) == label, label, 1)  # where 1 - y is exact
    label = np.asarray(np.broadcast_to(label, case.x.shape), dtype=case.dtype)
    case = Case(case.dtype, case.x, label)
    flipped = Case(case.dtype, np.asarray(-case.x), np.asarray(1 - label))
    x, y, _ = case.on(backend)
    other_x, other_y, _ = flipped.on(backend)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")
    other, slope = portable_bce.bce_with_logits_value_and_grad(other_x, other_y, reduction="none")
    near = 0 if backend.bitwise else contract.CONTRACTED
    assert ulp.distance(backend.numpy(loss), backend.numpy(other)).max(initial=0) <= near
    apart = np.abs(backend.numpy(grad) + backend.numpy(slope))
    assert np.all(apart <= near * np.finfo(case.dtype).eps)


@law(lambda backend: cases(backend, options=False))
def test_unit_pos_weight_and_weight_change_nothing(backend: Backend, case: Case) -> None:
    """The general masses give what the shortcut without them gives."""
    x, y, _ = case.on(backend)
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none")
    other, slope = portable_bce.bce_with_logits_value_and_grad(
        x, y, reduction="none", weight=1.0, pos_weight=1.0
    )
    near = 1 + (0 if backend.bitwise else contract.CONTRACTED)  # A + B = y + (1 - y) may round
    assert ulp.distance(backend.numpy(loss), backend.numpy(other)).max(initial=0) <= near
    quarter = np.finfo(case.dtype).eps  # of a gradient of at most 1
    assert np.all(np.abs(backend.numpy(grad) - backend.numpy(slope)) <= near * quarter)


@law(lambda backend: cases(backend, infinite=False))
def test_weight_is_a_factor(backend: Backend, case: Case) -> None:
    """By a power of two, so exactly, where nothing overflows or is subnormal."""
    x, y, options = case.on(backend)
    base = options.pop("weight", 1.0)
    double = 2.0 * base if isinstance(base, float) else backend.xp.asarray(2.0 * base)
    plain = portable_bce.bce_with_logits_value_and_grad(
        x, y, reduction="none", weight=base, **options
    )
    twice = portable_bce.bce_with_logits_value_and_grad(
        x, y, reduction="none", weight=double, **options
    )
    info = np.finfo(case.dtype)
    # A mass is the target times two factors, of which the least is 2^-10.
    targets = np.broadcast_to(np.asarray(case.y, dtype=np.float64), case.x.shape)
    is_normal = (targets == 0) | (targets > info.smallest_normal * 2.0**20)
    for one, two in zip(plain, twice, strict=True):
        once = backend.numpy(one)
        fair = (np.abs(once) < info.max / 4) & (np.abs(once) > info.smallest_normal * 4096)
        fair &= is_normal
        np.testing.assert_array_equal(2 * once[fair], backend.numpy(two)[fair])


@law(lambda backend: cases(backend, infinite=False, options=False))
def test_pos_weight_scales_the_positive_part_alone(backend: Backend, case: Case) -> None:
    """L(p) = L at y=1 times p y, plus L at y=0 times 1 - y."""
    x, y, _ = case.on(backend)
    label = np.broadcast_to(np.asarray(case.y, dtype=np.float64), case.x.shape)

    def loss(target: object, pos_weight: float | None = None) -> np.ndarray:
        value = portable_bce.bce_with_logits(x, target, pos_weight=pos_weight, reduction="none")
        return backend.numpy(value).astype(np.float64)

    p = 3.5
    with np.errstate(over="ignore"):
        wanted = p * label * loss(1.0) + (1 - label) * loss(0.0)
    got = loss(y, p)
    fair = (wanted < np.finfo(case.dtype).max / 8) & (wanted > np.finfo(case.dtype).tiny)
    unit = np.spacing(wanted[fair].astype(case.dtype)).astype(np.float64)
    bound = 3 * (contract.SOFT.loss + contract.PER_FACTOR)  # three losses, each within its bound
    assert np.all(np.abs(got[fair] - wanted[fair]) <= bound * unit)


@law(lambda backend: cases(backend, options=False))
def test_full_smoothing_makes_every_target_one_half(backend: Backend, case: Case) -> None:
    x, y, _ = case.on(backend)
    smooth = portable_bce.bce_with_logits(x, y, label_smoothing=1.0, reduction="none")
    half = portable_bce.bce_with_logits(x, 0.5, reduction="none")
    near = 0 if backend.bitwise else contract.CONTRACTED
    assert ulp.distance(backend.numpy(smooth), backend.numpy(half)).max(initial=0) <= near


@law(lambda backend: cases(backend, options=False))
def test_smoothing_leaves_the_hessian_as_it_is(backend: Backend, case: Case) -> None:
    """It moves mass from A to B, and the Hessian has their sum."""
    x, y, _ = case.on(backend)
    keywords = {"reduction": "none", "weight": 3.0}
    _, plain = portable_bce.bce_with_logits_grad_and_hess(x, y, **keywords)
    _, smooth = portable_bce.bce_with_logits_grad_and_hess(x, y, label_smoothing=0.1, **keywords)
    near = 0 if backend.bitwise else contract.CONTRACTED
    assert ulp.distance(backend.numpy(plain), backend.numpy(smooth)).max(initial=0) <= near


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_infinite_logits_take_the_limit(backend: Backend, dtype: str) -> None:
    if dtype not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {dtype}")
    inf = np.inf
    x = backend.array(np.asarray([inf, -inf, inf, -inf, inf, -inf]), dtype)
    y = backend.array(np.asarray([1.0, 0.0, 0.0, 1.0, 0.25, 0.25]), dtype)
    loss = portable_bce.bce_with_logits(x, y, reduction="none")
    grad, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none")
    np.testing.assert_array_equal(backend.numpy(loss), [0, 0, inf, inf, inf, inf])
    np.testing.assert_array_equal(backend.numpy(grad), [0, 0, 1, -1, 0.75, -0.25])
    np.testing.assert_array_equal(backend.numpy(hess), np.zeros(6))


def test_infinite_logits_cost_nothing_at_zero_weight(backend: Backend) -> None:
    x = backend.array(np.asarray([np.inf, -np.inf, -np.finfo(np.float32).max], dtype=np.float32))
    keywords = {"weight": 0.0, "pos_weight": 19.0, "label_smoothing": 0.1, "reduction": "none"}
    loss, grad = portable_bce.bce_with_logits_value_and_grad(x, 1.0, **keywords)
    np.testing.assert_array_equal(backend.numpy(loss), np.zeros(3))
    np.testing.assert_array_equal(backend.numpy(grad), np.zeros(3))


@pytest.mark.parametrize("name", ["bce_with_logits", "bce"])
def test_nan_stays_where_it_is(backend: Backend, name: str) -> None:
    nan = np.nan
    x = backend.array(np.asarray([nan, 0.5, 0.25, 0.0, 1.0], dtype=np.float32))
    y = backend.array(np.asarray([1.0, nan, 0.0, nan, 1.0], dtype=np.float32))
    expected = [True, True, False, True, False]
    value, grad = getattr(portable_bce, f"{name}_value_and_grad")(x, y, reduction="none")
    _, hess = getattr(portable_bce, f"{name}_grad_and_hess")(x, y, reduction="none")
    for result in (value, grad, hess):
        assert np.isnan(backend.numpy(result)).tolist() == (
            [True, False, False, False, False]
            if result is hess and name == "bce_with_logits"
            else expected
        )


def test_certain_probabilities_take_the_limit(backend: Backend) -> None:
    inf = np.inf
    q = backend.array(np.asarray([1.0, 0.0, 0.0, 1.0, 0.0, 1.0], dtype=np.float32))
    y = backend.array(np.asarray([1.0, 0.0, 1.0, 0.0, 0.25, 0.25], dtype=np.float32))
    loss, grad = portable_bce.bce_value_and_grad(q, y, reduction="none")
    _, hess = portable_bce.bce_grad_and_hess(q, y, reduction="none")
    np.testing.assert_array_equal(backend.numpy(loss), [0, 0, inf, inf, inf, inf])
    np.testing.assert_array_equal(backend.numpy(grad), [-1, 1, -inf, inf, -inf, inf])
    np.testing.assert_array_equal(backend.numpy(hess), [1, 1, inf, inf, inf, inf])


def test_certain_probabilities_cost_nothing_at_zero_weight(backend: Backend) -> None:
    q = backend.array(np.asarray([0.0, 1.0], dtype=np.float32))
    for label in (0.0, 0.5, 1.0):
        loss, grad = portable_bce.bce_value_and_grad(q, label, weight=0.0, reduction="none")
        np.testing.assert_array_equal(backend.numpy(loss), [0, 0])
        np.testing.assert_array_equal(backend.numpy(grad), [0, 0])


def test_weight_meets_a_subnormal_probability_before_the_quotient(backend: Backend) -> None:
    """y / q is infinite there: times a weight of 0 NaN, times a small one still infinite."""
    if backend.flushes_subnormals:
        pytest.skip(f"{backend.name} takes subnormal numbers for zero")
    q = backend.array(np.asarray([2.0**-130, 2.0**-130], dtype=np.float32))
    w = backend.array(np.asarray([0.0, 2.0**-10], dtype=np.float32))
    _, grad = portable_bce.bce_value_and_grad(q, 1.0, weight=w, reduction="none")
    np.testing.assert_array_equal(backend.numpy(grad), [0.0, -(2.0**120)])


def test_eps_clamps_the_loss_and_flattens_it_outside(backend: Backend) -> None:
    eps = 2.0**-10
    q = backend.array(np.asarray([0.0, eps / 2, eps, 0.5, 1 - eps, 1 - eps / 2, 1.0]))
    q = backend.xp.astype(q, backend.dtype("float32"))
    inside = backend.array(np.clip(backend.numpy(q), eps, 1 - eps))
    loss, grad = portable_bce.bce_value_and_grad(q, 1.0, eps=eps, reduction="none")
    _, hess = portable_bce.bce_grad_and_hess(q, 1.0, eps=eps, reduction="none")
    wanted, slope = portable_bce.bce_value_and_grad(inside, 1.0, reduction="none")
    _, curve = portable_bce.bce_grad_and_hess(inside, 1.0, reduction="none")
    within = np.asarray([0, 0, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(backend.numpy(loss), backend.numpy(wanted))
    np.testing.assert_array_equal(backend.numpy(grad), backend.numpy(slope) * within)
    np.testing.assert_array_equal(backend.numpy(hess), backend.numpy(curve) * within)


@law(lambda backend: cases(backend, options=False))
def test_sigmoid_of_the_flipped_logit_is_the_complement(backend: Backend, case: Case) -> None:
    x, _, _ = case.on(backend)
    one = backend.numpy(portable_bce.sigmoid(x)).astype(np.float64)
    other = backend.numpy(portable_bce.sigmoid(-x)).astype(np.float64)
    # Each is at most 1 and within GRAD ULP, half of 1's eps each below 1.
    assert np.all(np.abs(one + other - 1) <= contract.SOFT.grad * np.finfo(case.dtype).eps)


@law(lambda backend: cases(backend, options=False))
def test_log_sigmoid_is_minus_the_softplus_of_the_flipped_logit(
    backend: Backend, case: Case
) -> None:
    x, _, _ = case.on(backend)
    one, other = portable_bce.log_sigmoid(x), portable_bce.softplus(-x)
    np.testing.assert_array_equal(backend.numpy(one), -backend.numpy(other))
