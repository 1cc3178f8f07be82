"""What `check` reports: the smallest examples, the same again, and nothing printed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from portable_bce.testing import LAWS, Bounds, Law, bounds_for, check, reference, strategies, ulp


def published(x: Any, y: Any) -> Any:
    return np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))


def published_gradient(x: Any, y: Any) -> Any:
    return 1 / (1 + np.exp(-x)) - y


def named(*names: str) -> list[Law]:
    return [law for law in LAWS if law.name in names]


TAIL = named("loss_is_never_negative", "gradient_keeps_its_tail", "hessian_keeps_its_tail")


def test_report_has_the_smallest_example_of_each_broken_law() -> None:
    report = check(published, xp=np, laws=TAIL, gradient=published_gradient, examples=5)
    assert not report.ok
    assert [law.name for law in report.passed] == ["loss_is_never_negative"]
    assert [law.name for law in report.skipped] == ["hessian_keeps_its_tail"]
    assert str(report) == (
        "binary cross-entropy in float32, float64: of its laws 1 broken, 1 kept, 1 not tried\n"
        "\n"
        "BROKEN gradient_keeps_its_tail [float32]\n"
        "    A gradient of a label 0 or 1 that is a normal number is never returned as 0.\n"
        "    logits 17.0, targets 1.0\n"
        "    got      0.0\n"
        "    required -4.1399375e-08\n"
        "\n"
        "BROKEN gradient_keeps_its_tail [float64]\n"
        "    A gradient of a label 0 or 1 that is a normal number is never returned as 0.\n"
        "    logits 37.0, targets 1.0\n"
        "    got      0.0\n"
        "    required -8.533047625744065e-17\n"
        "\n"
        "NOT TRIED without `hessian=`\n"
        "    hessian_keeps_its_tail"
    )
    with pytest.raises(AssertionError, match=f"^{re.escape(str(report))}$"):
        report.raise_if_broken()
    (first, _) = report.broken
    assert isinstance(first.logits, np.float32)
    assert first.message in str(report)


def test_report_of_what_is_right_raises_nothing() -> None:
    report = check(published, xp=np, laws=TAIL, examples=5)
    assert report.ok
    report.raise_if_broken()
    assert len(report.skipped) == 2


def test_exception_of_the_implementation_breaks_the_law_that_was_tried() -> None:
    def picky(x: Any, y: Any) -> Any:
        if (np.abs(x) > 500).any():
            raise OverflowError("logit of 500 or more")
        return published(x, y)

    (broken,) = check(picky, xp=np, laws=TAIL[-1:], dtypes=["float64"], examples=5).broken
    assert broken.got == "OverflowError: logit of 500 or more"
    assert broken.required == "a loss, no exception"
    assert np.abs(broken.logits) == 700


def test_own_bounds_stand_in_for_those_of_portable_bce() -> None:
    law = named("gradient_of_hard_labels_is_within_its_bound")

    def report(bounds: Bounds | None) -> Any:
        return check(
            published,
            xp=np,
            laws=law,
            dtypes=["float32"],
            gradient=lambda x, y: x.astype(np.float64) * 0 + exact(x, y) * (1 + 2.0**-21),
            bounds=bounds,
            examples=5,
        )

    def exact(x: Any, y: Any) -> Any:
        sigmoid = 1 / (1 + np.exp(-np.abs(x.astype(np.float64))))
        tail = np.exp(-np.abs(x.astype(np.float64))) * sigmoid
        return np.where(y == 1, -1, 1) * np.where((x >= 0) == (y == 0), sigmoid, tail)

    assert bounds_for("float32", hard=True).grad < 8
    assert not report(None).ok
    assert report(Bounds(loss=8, grad=8.1, hess=8)).ok


def wrong_between(x: Any, y: Any) -> Any:
    """Wrong where nobody looks on purpose."""
    off = (x > 20.25) & (x < 40) & (y > 0.55) & (y < 0.95)
    return np.where(off, np.nan, published(x, y)).astype(x.dtype)


def test_hypothesis_finds_and_shrinks_what_the_fixed_pairs_miss() -> None:
    (law,) = (law for law in LAWS if law.name == "loss_of_finite_logits_is_finite")
    (found,) = check(wrong_between, xp=np, laws=[law], dtypes=["float32"]).broken
    assert found.got == "nan"
    assert found.logits == 21
    assert len(str(found.targets)) <= 6


def by_the_largest(x: Any, y: Any) -> Any:
    """Shifted as softmax is."""
    largest = x.max(initial=0)
    return published((x - largest) + largest, y)


def test_two_neighbours_are_enough_to_show_that_they_matter() -> None:
    (law,) = (law for law in LAWS if law.name == "values_do_not_depend_on_their_neighbours")
    (found,) = check(by_the_largest, xp=np, laws=[law], dtypes=["float32"], examples=5).broken
    assert found.logits.shape == (2,)
    assert "at index" in found.got


def test_reports_are_the_same_again() -> None:
    def odd(x: Any, y: Any) -> Any:
        return np.where((x > 3.1) & (x < 3.2) & (y > 0.6), 0, published(x, y)).astype(x.dtype)

    one, other = (str(check(odd, xp=np, examples=50)) for _ in range(2))
    assert one == other


def test_nothing_is_printed_nor_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    check(lambda x, y: np.log(1 + np.exp(x)) - x * y, xp=np, examples=5)
    assert capfd.readouterr() == ("", "")


def test_laws_are_named_by_sentences_and_have_their_statement() -> None:
    assert len({law.name for law in LAWS}) == len(LAWS)
    for law in LAWS:
        assert str(law) == law.name
        assert re.fullmatch(r"[a-z]+(_[a-z]+){2,}", law.name)
        assert re.fullmatch(r"[A-Z][^\n]*\.", law.statement)
        assert law.needs in ("loss", "grad", "hess")


@pytest.mark.parametrize("x", [-3.0, 0.0, 40.0])
def test_derivatives_by_weights_are_those_of_the_loss(x: float) -> None:
    """The loss is linear in w, and in p."""
    y, w, p, u = 0.75, 3.0, 2.5, 0.125
    with mp.workprec(reference.BITS):
        by_w = reference.logit_loss(x, y, w + 1, p, u) - reference.logit_loss(x, y, w, p, u)
        by_p = reference.logit_loss(x, y, w, p + 1, u) - reference.logit_loss(x, y, w, p, u)
        off_w = by_w - reference.logit_grad_weight(x, y, w, p, u)
        off_p = by_p - reference.logit_grad_pos_weight(x, y, w, p, u)
        assert abs(off_w) <= abs(by_w) * mp.mpf(2) ** -200
        assert abs(off_p) <= abs(by_p) * mp.mpf(2) ** -200


def test_derivative_by_the_positive_weight_at_infinity_is_no_nan() -> None:
    assert reference.logit_grad_pos_weight(-np.inf, 0.0) == 0
    assert reference.logit_grad_pos_weight(-np.inf, 1.0) == mp.inf
    assert reference.logit_grad_weight(np.inf, 1.0) == 0


def test_everything_public_is_documented() -> None:
    for module in (reference, strategies, ulp):
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "").startswith("portable_bce.testing")
            if ours and not name.startswith("_"):
                assert value.__doc__, name
