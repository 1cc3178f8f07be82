"""Every law of the keywords is broken by a right implementation with one line changed."""

from __future__ import annotations

import pytest

from portable_bce.testing._keyword_laws import KEYWORD_LAWS
from tests.kit.spoilt import (
    CHECK,
    COUNT,
    GRAD,
    HESS,
    KEEP,
    KEPT,
    KEPT_GRAD,
    KEPT_HESS,
    MEAN,
    MEAN_GRAD,
    MEAN_HESS,
    PULLS,
    PUSHES,
    ROUND,
    SQUARE,
    SUM,
    S,
    W,
    X,
    breaks,
)

# what is wrong -> (line, line in its place, the law that breaks)
MUTANTS: dict[str, tuple[str, str, str]] = {
    # reductions
    "sum over the last axis": (
        SUM,
        SUM.replace("(loss)", "(loss, axis=-1 if loss.ndim else None)"),
        "sum_is_that_of_all_elements",
    ),
    "targets of one column without it": (
        X,
        X + "\n    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y",
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
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_breaks_its_law(name: str) -> None:
    assert breaks(*MUTANTS[name])


def test_every_law_is_breaks_a_mutant() -> None:
    assert {law for _, _, law in MUTANTS.values()} == {law.name for law in KEYWORD_LAWS}
