"""Every law of the interface is broken by a right implementation with one line changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portable_bce.testing import INTERFACE_LAWS, Report, check_interface
from tests.kit import plain

SOURCE = Path(plain.__file__).read_text()
LOSS = "    loss = times(pulls, of_one) + times(pushes, of_zero)"
SQUARE = "if w.ndim == 1 and x.ndim == 2 and x.shape[0] == x.shape[1]"
GRAD = "    grad = pushes * np.where(up, high, low) - pulls * np.where(up, low, high)"
HESS = "    hess = (pulls + pushes) * low * high"
PULLS = "    pulls = w * p * (y * (1 - s) + s / 2)"
PUSHES = "    pushes = w * ((1 - y) * (1 - s) + s / 2)"
SUM = "        loss = np.sum(loss)\n    if"
MEAN = "        loss = np.sum(loss) / n"
MEAN_GRAD = "        grad = grad / max(n, 1)"
MEAN_HESS = "        hess = hess / max(n, 1)"
COUNT = "        n = np.sum(keep)"
KEEP = "    keep = np.broadcast_to(where, x.shape)"
KEPT = "    loss = np.where(keep, loss, 0.0)"
KEPT_GRAD = "    grad = np.where(keep, grad, 0.0)"
KEPT_HESS = "    hess = np.where(keep, hess, 0.0)"
E = "    e = np.exp(-np.abs(x))"
X = "    x, y = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)"
W = "    w, p = np.asarray(weight, dtype=np.float64), np.asarray(pos_weight, dtype=np.float64)"
S = "    s = label_smoothing"
CHECK = "    check(logits, targets, reduction, weight, pos_weight, where)"
DTYPE = "    dtype = logits.dtype"
ROUND = "    loss = np.asarray(loss, dtype=dtype)"
ROUND_GRAD = "    grad = np.asarray(grad, dtype=dtype)"
RETURN = "    return loss, grad, hess"
RIGHT = "    right, wrong = np.log1p(e), np.abs(x) + np.log1p(e)"
LOW = "    low, high = e / (1 + e), 1 / (1 + e)"
UP = "    up = x >= 0"

# what is wrong -> (line, line in its place, the law that breaks)
MUTANTS: dict[str, tuple[str, str, str]] = {
    # reductions
    "sum over the last axis": (
        SUM,
        SUM.replace("(loss)", "(loss, axis=-1 if loss.ndim else None)"),
        "sum_is_that_of_all_elements",
    ),
    "sum that is a mean": (SUM, SUM.replace("sum(", "mean("), "sum_is_that_of_all_elements"),
    "mean over the first axis": (
        MEAN,
        MEAN.replace("np.sum(loss) / n", "np.mean(loss, axis=0) if loss.ndim else loss"),
        "mean_is_the_sum_divided_by_the_number",
    ),
    "mean divided by the rows": (
        COUNT,
        COUNT + " / (x.shape[-1] if x.ndim > 1 else 1)",
        "mean_is_the_sum_divided_by_the_number",
    ),
    "mean divided by n - 1": (
        COUNT,
        COUNT + " - (x.size > 1)",
        "mean_is_the_sum_divided_by_the_number",
    ),
    "mean that is a sum": (
        MEAN,
        "        loss = np.sum(loss)",
        "mean_is_the_sum_divided_by_the_number",
    ),
    "mean in half the bits": (
        MEAN,
        "        loss = np.cumsum(loss.astype(np.float32))[-1:].sum() / n",
        "mean_of_a_million_is_right_to_a_few_ulp",
    ),
    "gradient of the mean not divided": (
        MEAN_GRAD,
        "        pass",
        "gradient_of_the_mean_is_divided_alike",
    ),
    "gradient of the mean divided by the rows": (
        MEAN_GRAD,
        "        grad = grad / max(len(grad) if grad.ndim else 1, 1)",
        "gradient_of_the_mean_is_divided_alike",
    ),
    "gradient of the mean divided twice": (
        MEAN_GRAD,
        "        grad = grad / n**2",
        "gradient_of_the_mean_is_divided_alike",
    ),
    "Hessian of the mean not divided": (
        MEAN_HESS,
        "        pass",
        "gradient_of_the_mean_is_divided_alike",
    ),
    "gradient of the sum divided": (
        SUM,
        SUM.replace("    if", "        grad = grad / max(x.size, 1)\n    if"),
        "gradient_of_the_sum_is_not_divided",
    ),
    "elements summed in spite of no reduction": (
        KEPT,
        KEPT.replace("np.where(keep, loss, 0.0)", "np.where(keep, loss.sum(), 0.0)"),
        "unreduced_values_are_those_of_each_element",
    ),
    "Python float": (
        ROUND,
        "    loss = np.asarray(loss, dtype=dtype) if loss.ndim else float(loss)",
        "reduced_losses_have_no_axes",
    ),
    "axes kept": (
        ROUND,
        "    loss = np.atleast_1d(loss).astype(dtype)",
        "reduced_losses_have_no_axes",
    ),
    "mean of nothing is 0": (
        COUNT,
        "        n = max(np.sum(keep), 1)",
        "mean_of_nothing_is_as_agreed",
    ),
    "sum of nothing is NaN": (
        SUM,
        SUM.replace("np.sum(loss)", "np.sum(loss) if x.size else np.nan"),
        "sum_of_nothing_is_zero",
    ),
    "reduction not checked": (
        CHECK,
        CHECK.replace("reduction,", "'none',"),
        "unknown_reductions_raise",
    ),
    "first element counted twice": (
        W,
        W + "\n    w = w * (1 + (np.arange(x.size).reshape(x.shape) == 0))",
        "order_of_elements_does_not_matter",
    ),
    "losses in the order of logits": (
        X,
        X + "\n    x = np.sort(x, axis=None).reshape(x.shape)",
        "order_of_elements_does_not_matter",
    ),
    # weights
    "weight of the negative class forgotten": (
        PUSHES,
        PUSHES.replace("w * (", "("),
        "weight_multiplies_both_classes",
    ),
    "weight of the positive class forgotten": (
        PULLS,
        PULLS.replace("w * p", "p"),
        "weight_multiplies_both_classes",
    ),
    "weight squared": (W, W + "\n    w = w * w", "weight_multiplies_both_classes"),
    "gradient without its weight": (
        GRAD,
        GRAD + "\n    grad = np.where(w == 0, grad, grad / np.where(w == 0, 1, w))",
        "weight_multiplies_both_classes",
    ),
    "Hessian without its weight": (
        HESS,
        HESS + "\n    hess = low * high",
        "weight_multiplies_both_classes",
    ),
    "absolute weight of no account": (
        W,
        W + "\n    w = np.ones_like(w)",
        "weight_multiplies_both_classes",
    ),
    "weights by rows": (
        W,
        W + f"\n    w = w[:, None] {SQUARE} else w",
        "factors_broadcast_along_the_right_axis",
    ),
    "pos_weight by rows": (
        W,
        W + f"\n    p = p[:, None] {SQUARE.replace('w.', 'p.')} else p",
        "factors_broadcast_along_the_right_axis",
    ),
    "mask by rows": (
        KEEP,
        "    keep = np.broadcast_to(where[:, None] if np.ndim(where) == 1 and x.ndim == 2 "
        "and x.shape[0] == x.shape[1] else where, x.shape)",
        "factors_broadcast_along_the_right_axis",
    ),
    "mean of weights in place of each": (
        W,
        W + "\n    w = np.mean(w)",
        "weight_multiplies_both_classes",
    ),
    "weight may enlarge": (
        CHECK,
        CHECK.replace(" weight,", " 1.0,"),
        "factors_that_would_grow_the_result_raise",
    ),
    "pos_weight may enlarge": (
        CHECK,
        CHECK.replace(" pos_weight,", " 1.0,"),
        "factors_that_would_grow_the_result_raise",
    ),
    "mask that fits nothing is ignored": (
        CHECK,
        CHECK + "\n    where = where if np.shape(where) in ((), x_shape := logits.shape) "
        "or np.ndim(where) < logits.ndim else True",
        "factors_broadcast_along_the_right_axis",
    ),
    "Python number of a weight truncated": (
        W,
        W + "\n    w = w if isinstance(weight, np.ndarray) else np.floor(w)",
        "python_scalars_count_as_arrays",
    ),
    "Python number of a pos_weight ignored": (
        W,
        W + "\n    p = p if isinstance(pos_weight, np.ndarray) else np.ones_like(p)",
        "python_scalars_count_as_arrays",
    ),
    "weighted mean divided by the weights": (
        COUNT,
        "        n = np.sum(np.where(keep, w, 0.0))",
        "weighted_mean_has_its_denominator",
    ),
    "weighted gradient divided by the weights": (
        MEAN_GRAD,
        "        grad = grad / np.sum(np.where(keep, w, 0.0))",
        "gradient_of_the_weighted_mean_is_divided_alike",
    ),
    "weighted sum divided by the weights": (
        SUM,
        SUM.replace("np.sum(loss)", "np.sum(loss) / np.mean(w) if x.size else 0.0"),
        "weighted_sum_is_not_divided",
    ),
    "zero weight hides NaN": (
        KEPT,
        "    loss = np.where(keep & (w != 0), loss, 0.0)",
        "weight_of_zero_does_not_hide_nan",
    ),
    "zero weight hides NaN of the gradient": (
        KEPT_GRAD,
        "    grad = np.where(keep & (w != 0), grad, 0.0)",
        "weight_of_zero_does_not_hide_nan",
    ),
    "pos_weight of both classes": (
        PUSHES,
        PUSHES.replace("w * (", "w * p * ("),
        "pos_weight_multiplies_the_positive_class",
    ),
    "pos_weight of the other class": (
        PULLS,
        PULLS.replace("w * p", "w") + "\n    w = w * p",
        "pos_weight_multiplies_the_positive_class",
    ),
    "pos_weight where the label is over a half": (
        W,
        W + "\n    p = np.where(y > 0.5, p, 1.0)",
        "pos_weight_multiplies_the_positive_class",
    ),
    "pos_weight forgotten in the gradient": (
        GRAD,
        GRAD.replace("- pulls", "- w * (y * (1 - s) + s / 2)"),
        "pos_weight_multiplies_the_positive_class",
    ),
    "pos_weight in the denominator": (
        COUNT,
        "        n = np.sum(keep * (y * p + 1 - y))",
        "pos_weight_leaves_the_denominator_alone",
    ),
    "weight in place of pos_weight": (
        PULLS,
        PULLS.replace("w * p", "np.where(p == 1, w, p)"),
        "weight_and_pos_weight_multiply_each_other",
    ),
    # masks and smoothing
    "mask multiplied": (KEPT, "    loss = loss * keep", "masked_elements_add_nothing"),
    "mask of the gradient multiplied": (
        KEPT_GRAD,
        "    grad = grad * keep",
        "masked_elements_add_nothing",
    ),
    "mask of the gradient forgotten": (KEPT_GRAD, "    pass", "masked_elements_add_nothing"),
    "mask of the Hessian forgotten": (KEPT_HESS, "    pass", "masked_elements_add_nothing"),
    "mask turned round": (
        KEEP,
        "    keep = np.broadcast_to(where if where is True else ~np.asarray(where), x.shape)",
        "masked_elements_add_nothing",
    ),
    "masked mean divided by all": (COUNT, "        n = x.size", "masked_mean_has_its_denominator"),
    "masked mean divided by the mask's own elements": (
        COUNT,
        "        n = np.sum(where) if np.ndim(where) else np.sum(keep)",
        "masked_mean_has_its_denominator",
    ),
    "gradient of the masked mean divided by all": (
        MEAN_GRAD,
        "        grad = grad / max(x.size, 1)",
        "gradient_of_the_masked_mean_is_divided_alike",
    ),
    "everything masked has a gradient of NaN": (
        MEAN_GRAD,
        "        grad = grad / n if np.any(keep) else grad * np.nan",
        "everything_masked_is_nothing",
    ),
    "everything masked is 0": (
        MEAN,
        "        loss = np.sum(loss) / n if x.size == 0 or np.any(keep) else 0.0",
        "everything_masked_is_nothing",
    ),
    "smoothing of the positive label alone": (
        PUSHES,
        "    pushes = w * (1 - y)",
        "smoothing_moves_both_labels",
    ),
    "smoothing twice as much": (S, S + " * 2", "smoothing_moves_both_labels"),
    "smoothing towards 1": (PULLS, PULLS.replace("s / 2", "s"), "smoothing_moves_both_labels"),
    "smoothing forgotten in the gradient": (
        GRAD,
        GRAD.replace("pushes *", "w * (1 - y) *").replace("pulls *", "w * p * y *"),
        "smoothing_moves_both_labels",
    ),
    "pos_weight before smoothing": (
        PULLS,
        "    pulls = w * (y * p * (1 - s) + s / 2)",
        "pos_weight_multiplies_the_smoothed_label",
    ),
    # arrays
    "float64 loss": (ROUND, "    pass", "results_keep_the_dtype_of_the_logits"),
    "float64 gradient": (ROUND_GRAD, "    pass", "results_keep_the_dtype_of_the_logits"),
    "dtype of a Python number": (
        DTYPE,
        "    dtype = np.result_type(logits, np.asarray(weight))",
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
# A million elements take longer than all other laws together.
QUICK = {law.name for law in INTERFACE_LAWS} - {"mean_of_a_million_is_right_to_a_few_ulp"}
# These need a library that compiles or is lazy.
ELSEWHERE = {"compiled_calls_give_the_same", "lazy_calls_compute_nothing"}


def spoilt(line: str, other: str) -> SimpleNamespace:
    """Return the plain implementation with one line changed."""
    assert SOURCE.count(line) == 1, line
    namespace: dict[str, Any] = {"__name__": "spoilt"}
    exec(compile(SOURCE.replace(line, other), "spoilt", "exec"), namespace)
    return SimpleNamespace(**namespace)


def reported(implementation: Any, **keywords: Any) -> Report:
    return check_interface(
        implementation.loss,
        xp=np,
        value_and_grad=implementation.value_and_grad,
        hessian=implementation.hessian,
        **{"dtypes": ["float32"], "examples": 2, "laws": INTERFACE_LAWS, **keywords},
    )


def test_the_plain_implementation_keeps_every_law() -> None:
    report = reported(plain, dtypes=["float32", "float64"], examples=20)
    report.raise_if_broken()
    assert {law.name for law in report.skipped} == ELSEWHERE


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_breaks_its_law(name: str) -> None:
    line, other, law = MUTANTS[name]
    quick = [one for one in INTERFACE_LAWS if one.name in (law, *QUICK)]
    broken = {one.law.name for one in reported(spoilt(line, other), laws=quick).broken}
    assert law in broken


def test_there_are_sixty_mutants_and_every_law_is_broken_by_one() -> None:
    assert len(MUTANTS) >= 60
    broken = {law for _, _, law in MUTANTS.values()}
    assert broken == {law.name for law in INTERFACE_LAWS} - ELSEWHERE
