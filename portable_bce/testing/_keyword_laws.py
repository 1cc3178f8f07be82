"""Laws of the keywords: reductions, weights, masks and smoothing, with their denominators."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_bce.testing._comparisons import (
    ANY,
    COLUMNS,
    FACTORS,
    FLAT,
    GRIDS,
    SHAPES,
    THREE,
    Faults,
    apart,
    computed,
    expected,
    factors,
    mask,
    not_nan,
    unequal,
)
from portable_bce.testing._interface import WAYS, Interface
from portable_bce.testing._law import Fault, Law, Shapes, exact, law
from portable_bce.testing._library import Values
from portable_bce.testing.ulp import error

LARGE = 1_000_003
ONES: Shapes = ((1,), (3,))

# Reductions -----------------------------------------------------------------------------------


@law("none", "Without a reduction, there is one right loss and derivative per element.", SHAPES)
def unreduced_values_are_those_of_each_element(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, ["none"])


@law("sum", "The sum is that of all elements, over all axes.", COLUMNS)
def sum_is_that_of_all_elements(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["loss"], x, y, ["sum"])


@law("mean", "The mean is the sum of all elements, divided by their number.", COLUMNS)
def mean_is_the_sum_divided_by_the_number(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["loss"], x, y, ["mean"])


@law("sum grad", "The gradient of the sum is the derivative of each element.", COLUMNS)
def gradient_of_the_sum_is_not_divided(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["grad"], x, y, ["sum"])


@law("mean grad", "The derivatives of the mean are divided by what the mean is.", COLUMNS)
def gradient_of_the_mean_is_divided_alike(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["grad", "hess"], x, y, ["mean"])


@law("reduction", "Sums and means are 0-d arrays, or scalars that have a dtype.", FLAT)
def reduced_losses_have_no_axes(t: Interface, x: Values, y: Values) -> Faults:
    for way in t.ways("loss"):
        for reduction in ("sum", "mean"):
            asked = {"reduction": reduction}
            result = t.call(way, x, y, asked)
            if getattr(result, "shape", None) != ():
                got = f"{type(result).__name__} of shape {getattr(result, 'shape', None)}"
                yield Fault(None, x, y, got, "an array of shape ()", asked)


@law("mean", "The mean of a million elements is right to 4 ULP and the bound of one.", THREE)
def mean_of_a_million_is_right_to_a_few_ulp(t: Interface, x: Values, y: Values) -> Faults:
    many, labels = np.resize(x, LARGE), np.resize(y, LARGE)
    losses = [exact("loss", *pair).value for pair in zip(x.tolist(), y.tolist(), strict=True)]
    counts = [len(range(i, LARGE, len(losses))) for i in range(len(losses))]
    wanted = sum(n * loss for n, loss in zip(counts, losses, strict=True)) / LARGE
    for way in t.ways("loss"):
        got = t.values(way, many, labels, reduction="mean")
        off = error(float(got), wanted, t.dtype)
        if off > 4 + t.elementwise().bound("loss"):
            text = f"{WAYS[way][1]} {t.elementwise().written(got)}, {off:.3g} ULP off"
            required = t.elementwise().written(float(wanted))
            yield Fault(None, many, labels, text, required, {"reduction": "mean"})


@law("sum", "The sum of no elements is 0.", ((0,), (2, 0)))
def sum_of_nothing_is_zero(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY[:2], x, y, ["sum"])


@law("mean", "The mean of no elements is NaN, or 0 where that is the convention.", ((0,), (2, 0)))
def mean_of_nothing_is_as_agreed(t: Interface, x: Values, y: Values) -> Faults:
    return nothing(t, x, y, {"reduction": "mean"})


def nothing(t: Interface, x: Values, y: Values, asked: dict[str, Any]) -> Faults:
    """Yield where a loss of no elements is not as agreed, and a gradient is not 0."""
    empty = np.nan if asked["reduction"] == "mean" else 0.0
    loss = 0.0 if t.conventions["mean_of_nothing"] == "zero" else empty
    for way in t.ways("loss", "grad"):
        got = t.values(way, x, y, **asked)
        wanted = np.full(got.shape, loss if WAYS[way][0] == "loss" else 0.0)
        yield from apart(t, way, x, y, got, wanted, np.zeros(got.shape), asked)


@law("reduction", "A reduction that is not known raises.", THREE)
def unknown_reductions_raise(t: Interface, x: Values, y: Values) -> Faults:
    for way in t.ways("loss"):
        asked = {"reduction": "mode"}
        try:
            result = t.call(way, x, y, asked)
        except Exception:
            continue
        got = f"{WAYS[way][1]} of shape {getattr(result, 'shape', None)}"
        yield Fault(None, x, y, got, "an exception: the reduction is not known", asked)


@law("loss", "Elements in another order have the same sum or mean, and the same values.", FLAT)
def order_of_elements_does_not_matter(t: Interface, x: Values, y: Values) -> Faults:
    for way in t.ways(*ANY):
        for reduction in t.reductions:
            asked = {"reduction": reduction}
            got = t.values(way, x[::-1], y[::-1], **asked)
            wanted = t.values(way, x, y, **asked)
            wanted = wanted[::-1] if wanted.ndim else wanted
            sizes = np.maximum(np.abs(wanted), 1.0)
            yield from apart(t, way, x[::-1], y[::-1], got, wanted, sizes, asked)


# Weights --------------------------------------------------------------------------------------


@law("weight", "A weight multiplies loss and derivatives of both classes.", SHAPES)
def weight_multiplies_both_classes(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, weight=factors(x.shape))


@law("weight mean", "A weighted mean is divided by the elements, or weights, as agreed.", SHAPES)
def weighted_mean_has_its_denominator(t: Interface, x: Values, y: Values) -> Faults:
    yield from unequal(t, ["loss"], x, y, ["mean"], weight=factors(x.shape))
    if x.ndim > 1:  # its sum, broadcast, is not that of its elements
        yield from unequal(t, ["loss"], x, y, ["mean"], weight=factors(x.shape[-1:]))


@law("weight mean grad", "The gradient of a weighted mean has the mean's denominator.", SHAPES)
def gradient_of_the_weighted_mean_is_divided_alike(t: Interface, x: Values, y: Values) -> Faults:
    yield from unequal(t, ["grad", "hess"], x, y, ["mean"], weight=factors(x.shape))
    if x.ndim > 1:
        yield from unequal(t, ["grad", "hess"], x, y, ["mean"], weight=factors(x.shape[-1:]))


@law("weight sum", "A weighted sum and its gradient are divided by nothing.", SHAPES)
def weighted_sum_is_not_divided(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, ["sum"], weight=factors(x.shape))


@law("weight", "A weight of 0 does not hide NaN.", FLAT)
def weight_of_zero_does_not_hide_nan(t: Interface, x: Values, y: Values) -> Faults:
    weight = factors(x.shape)
    weight.flat[0] = 0.0
    return not_nan(t, ("logits", "targets"), x, y, {"weight": weight})


@law("pos_weight", "A pos_weight multiplies loss and derivatives of the class 1 alone.", SHAPES)
def pos_weight_multiplies_the_positive_class(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, pos_weight=factors(x.shape))


@law("pos_weight mean", "A pos_weight does not change what the mean is divided by.", SHAPES)
def pos_weight_leaves_the_denominator_alone(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, ["mean"], pos_weight=factors(x.shape))


@law("weight pos_weight", "A weight and a pos_weight multiply each other.", SHAPES)
def weight_and_pos_weight_multiply_each_other(t: Interface, x: Values, y: Values) -> Faults:
    weight, pos_weight = factors(x.shape), factors(x.shape) + 1
    return unequal(t, ANY, x, y, t.reductions, weight=weight, pos_weight=pos_weight)


@law("factors", "Weights and masks of fewer axes broadcast along the first, as in NumPy.", GRIDS)
def factors_broadcast_along_the_right_axis(t: Interface, x: Values, y: Values) -> Faults:
    for name in [one for one in FACTORS if one in t.supports]:
        full = mask(x.shape) if name == "where" else factors(x.shape)
        for part in (full[0], full[:, :1]):
            keywords: dict[str, Any] = {name: np.asarray(part)}
            yield from unequal(t, ANY, x, y, **keywords)


@law(
    "factors",
    "Weights and masks that do not fit, or would enlarge the result, raise.",
    ((1,), (3,)),
)
def factors_that_would_grow_the_result_raise(t: Interface, x: Values, y: Values) -> Faults:
    for name in [one for one in FACTORS if one in t.supports]:
        for shape in ((3, 1), (2,)) if x.shape == (3,) else ((3,),):
            bad = mask(shape) if name == "where" else factors(shape)
            required = f"{name} of shape {shape} does not broadcast to logits of shape {x.shape}"
            yield from computed(t, x, y, required, **{name: bad})


@law("weights", "Weights that are Python numbers count as arrays of them.", FLAT)
def python_scalars_count_as_arrays(t: Interface, x: Values, y: Values) -> Faults:
    for name in [one for one in FACTORS[:2] if one in t.supports]:
        for number in (2, 1.5):
            keywords: dict[str, Any] = {name: number}
            yield from unequal(t, ANY, x, y, **keywords)


# Masks and smoothing --------------------------------------------------------------------------


@law("where", "A masked element adds 0 to loss and derivatives, even of NaN and infinity.", SHAPES)
def masked_elements_add_nothing(t: Interface, x: Values, y: Values) -> Faults:
    keep, weight = mask(x.shape), factors(x.shape)
    calls: list[tuple[Values, Values, dict[str, Any]]] = [(x, y, {})]
    calls += [(np.where(keep, x, bad), y, {}) for bad in (np.nan, np.inf)]
    calls += [(x, np.where(keep, y, np.nan), {})]
    if "weight" in t.supports:
        calls += [(x, y, {"weight": np.where(keep, weight, np.nan)})]
    for logits, targets, keywords in calls:
        right: dict[str, Any] = {"weight": weight} if keywords else {}
        for way in t.ways(*ANY):
            asked: dict[str, Any] = {"reduction": t.reductions[0], "where": keep}
            got = t.values(way, logits, targets, **asked, **keywords)
            wanted, sizes = expected(t, WAYS[way][0], x, y, **asked, **right)
            yield from apart(t, way, logits, targets, got, wanted, sizes, {**asked, **keywords})


@law("where mean", "A masked mean is divided by the elements that are kept.", SHAPES)
def masked_mean_has_its_denominator(t: Interface, x: Values, y: Values) -> Faults:
    yield from unequal(t, ["loss"], x, y, ["mean"], where=mask(x.shape))
    if "weight" in t.supports:
        given = {"where": mask(x.shape), "weight": factors(x.shape)}
        yield from unequal(t, ["loss"], x, y, ["mean"], **given)
    if x.ndim > 1:
        yield from unequal(t, ["loss"], x, y, ["mean"], where=mask(x.shape[-1:]))


@law("where mean grad", "The gradient of a masked mean has the mean's denominator.", SHAPES)
def gradient_of_the_masked_mean_is_divided_alike(t: Interface, x: Values, y: Values) -> Faults:
    yield from unequal(t, ["grad", "hess"], x, y, ["mean"], where=mask(x.shape))
    if x.ndim > 1:
        yield from unequal(t, ["grad", "hess"], x, y, ["mean"], where=mask(x.shape[-1:]))


@law("where reduction", "If all is masked, sum, mean and gradient are those of nothing.", FLAT)
def everything_masked_is_nothing(t: Interface, x: Values, y: Values) -> Faults:
    if t.conventions["masked_mean_divides_by"] == "kept":
        for reduction in ("sum", "mean"):
            asked = {"reduction": reduction, "where": np.zeros(x.shape, dtype=bool)}
            yield from nothing(t, x, y, asked)


@law("label_smoothing", "Smoothing moves both labels towards 1/2, for derivatives too.", SHAPES)
def smoothing_moves_both_labels(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, label_smoothing=0.25)


@law("label_smoothing pos_weight", "A pos_weight multiplies the label after smoothing.", FLAT)
def pos_weight_multiplies_the_smoothed_label(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, label_smoothing=0.25, pos_weight=factors(x.shape))


# In the order of reports.
KEYWORD_LAWS: tuple[Law, ...] = tuple(one for one in vars().values() if isinstance(one, Law))
