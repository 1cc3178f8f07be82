"""Every law of arrays and derivatives is broken by a right implementation with one line changed."""

from __future__ import annotations

import pytest

from portable_bce.testing._array_laws import ARRAY_LAWS
from tests.kit import plain
from tests.kit.spoilt import (
    CHECK,
    DTYPE,
    GRAD,
    HESS,
    KEPT,
    LOSS,
    LOW,
    MEAN,
    PULLS,
    RETURN,
    RIGHT,
    ROUND,
    ROUND_GRAD,
    SUM,
    W,
    X,
    breaks,
    reported,
)

# what is wrong -> (line, line in its place, the law that breaks)
MUTANTS: dict[str, tuple[str, str, str]] = {
    "float64 loss": (ROUND, "    pass", "results_keep_the_dtype_of_the_logits"),
    "float64 gradient": (ROUND_GRAD, "    pass", "results_keep_the_dtype_of_the_logits"),
    "dtype of a Python number": (
        DTYPE,
        "    dtype = np.result_type(logits, np.asarray(weight))",
        "results_keep_the_dtype_of_the_logits",
    ),
    "dtype of integer targets": (
        DTYPE,
        "    dtype = np.result_type(logits, np.asarray(targets))",
        "results_keep_the_dtype_of_the_logits",
    ),
    "integer targets turned round": (
        X,
        X + "\n    y = 1 - y if np.asarray(targets).dtype.kind == 'i' else y",
        "integer_targets_are_labels",
    ),
    "bool targets are all true": (
        X,
        X + "\n    y = np.ones_like(y) if np.asarray(targets).dtype.kind == 'b' else y",
        "integer_targets_are_labels",
    ),
    "target that is a number truncated": (
        X,
        X + "\n    y = y if isinstance(targets, np.ndarray) else np.floor(y)",
        "python_scalar_target_is_a_label",
    ),
    "logits clipped in place": (
        X,
        "    np.clip(logits, -1.5, 1.5, out=logits if logits.ndim else None)\n" + X,
        "arguments_are_not_written_to",
    ),
    "weight normalised in place": (
        W,
        W + "\n    weight.__imul__(2) if isinstance(weight, np.ndarray) else None",
        "arguments_are_not_written_to",
    ),
    "targets smoothed in place": (
        PULLS,
        PULLS + "\n    targets.__isub__(s * targets) if np.ndim(targets) and s else None",
        "arguments_are_not_written_to",
    ),
    "gradient written over the logits": (
        RETURN,
        "    logits[...] = grad\n    return loss, logits, hess",
        "results_are_no_views_of_arguments",
    ),
    "NaN left out of sums": (
        SUM,
        SUM.replace("np.sum", "np.nansum"),
        "nan_is_not_left_out_of_sums",
    ),
    "NaN left out of means": (
        MEAN,
        "        loss = np.nansum(loss) / n",
        "nan_is_not_left_out_of_sums",
    ),
    "NaN made 0": (
        X,
        X + "\n    x = np.nan_to_num(x, posinf=np.inf, neginf=-np.inf)",
        "nan_stays_where_it_is",
    ),
    "NaN everywhere": (
        X,
        X + "\n    x = x + 0 * (np.sum(x[np.isnan(x)]))",
        "nan_stays_where_it_is",
    ),
    "shapes of targets not checked": (
        CHECK,
        CHECK.replace("targets,", "1.0,"),
        "mismatched_shapes_raise",
    ),
    "targets of one axis broadcast": (
        CHECK,
        CHECK.replace("targets,", "targets if np.ndim(targets) == logits.ndim else 1.0,"),
        "mismatched_shapes_raise",
    ),
    "integer logits taken": (
        CHECK,
        CHECK.replace("check(logits", "check(logits + 0.0"),
        "integer_logits_raise",
    ),
    # derivatives and limits
    "gradient of abs at 0": (
        GRAD,
        GRAD + "\n    grad = grad - 0.5 * (pushes + pulls) * (x == 0)",
        "gradient_at_zero_is_one_half_minus_target",
    ),
    "gradient at minus 0": (
        GRAD,
        GRAD + "\n    grad = grad + (np.signbit(x) & (x == 0))",
        "gradient_at_zero_is_one_half_minus_target",
    ),
    "Hessian at 0": (HESS, HESS + "\n    hess = hess * (x != 0)", "hessian_at_zero_is_one_quarter"),
    "loss lost in the tail": (
        RIGHT,
        RIGHT.replace("np.log1p(e), ", "np.log(1 + e), "),
        "loss_keeps_its_digits_in_the_tail",
    ),
    "gradient lost in the tail": (
        LOW,
        LOW.replace("e / (1 + e),", "1 - 1 / (1 + e),"),
        "gradient_keeps_its_digits_in_the_tail",
    ),
    "Hessian lost in the tail": (
        HESS,
        "    hess = (pulls + pushes) * (high - high * high)",
        "hessian_keeps_its_digits_in_the_tail",
    ),
    "clamped": (
        KEPT,
        "    loss = np.where(keep, np.minimum(loss, 100 * (pulls + pushes)), 0.0)",
        "infinite_logits_have_the_loss_agreed",
    ),
    "NaN at infinite logits": (
        LOSS,
        LOSS.replace("times(pulls,", "pulls * (").replace("times(pushes,", "pushes * ("),
        "infinite_logits_have_the_loss_agreed",
    ),
    "gradient of NaN at infinite logits": (
        GRAD,
        GRAD + " + 0 * x",
        "infinite_logits_have_a_finite_gradient",
    ),
}
# These need a library that compiles or is lazy.
ELSEWHERE = {"compiled_calls_give_the_same", "lazy_calls_compute_nothing"}


def test_the_plain_implementation_keeps_every_law() -> None:
    report = reported(plain, dtypes=["float32", "float64"], examples=20)
    report.raise_if_broken()
    assert {law.name for law in report.skipped} == ELSEWHERE


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_breaks_its_law(name: str) -> None:
    assert breaks(*MUTANTS[name])


def test_every_law_is_breaks_a_mutant() -> None:
    found = {law for _, _, law in MUTANTS.values()}
    assert found == {law.name for law in ARRAY_LAWS} - ELSEWHERE
