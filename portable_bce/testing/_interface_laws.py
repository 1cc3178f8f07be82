"""Laws of the interface: reductions, weights, masks, smoothing, arrays, errors, derivatives.

Each takes logits and targets of any shape, adds the keywords that it is about, and compares
with what `expected` says.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from portable_bce.testing._interface import WAYS, Interface, apart, expected, unequal
from portable_bce.testing._law import FailureError, Fault, Law, Shapes, exact, law
from portable_bce.testing._library import Values, dtype_name
from portable_bce.testing.ulp import error

Faults: TypeAlias = Iterator[Fault]
# From small to large, so that the first shape that breaks a law is the smallest example.
SHAPES: Shapes = ((), (2,), (2, 3))
GRIDS: Shapes = ((2, 2), (2, 3))
FLAT: Shapes = ((2,),)
THREE: Shapes = ((3,),)
ANY: tuple[str, ...] = ("loss", "grad", "hess")
LARGE = 1_000_003
# Logits in whose tail a right answer is still a normal number.
TAILS = {
    "float16": (6.0, 9.0),
    "bfloat16": (20.0, 40.0, 80.0),
    "float32": (20.0, 40.0, 80.0),
    "float64": (40.0, 200.0, 600.0),
}


def factors(shape: tuple[int, ...]) -> Values:
    """Return weights, of which neighbours differ."""
    return np.resize(np.array([0.5, 2.0, 3.0, 0.25, 1.5, 0.0, 4.0]), shape)


def mask(shape: tuple[int, ...]) -> Any:
    """Return a mask that keeps one element at least."""
    return np.resize(np.array([True, False, True, True, False]), shape)


def computed(t: Interface, x: Any, y: Any, required: str, **keywords: Any) -> Faults:
    """Yield that a call returns a result where an exception is required."""
    for way in t.functions:
        for reduction in t.reductions:
            asked = {"reduction": reduction, **keywords}
            try:
                shape = t.library.values(t.call(way, x, y, asked)).shape
            except Exception:
                continue
            got = f"{WAYS[way][1]} of shape {shape}"
            yield Fault(None, x, y, got, f"an exception: {required}", asked)


# Reductions -----------------------------------------------------------------------------------


@law("none", "Without a reduction, there is one right loss and derivative per element.", SHAPES)
def unreduced_values_are_those_of_each_element(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ANY, x, y, ["none"])


@law("sum", "The sum is that of all elements, over all axes.", SHAPES)
def sum_is_that_of_all_elements(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["loss"], x, y, ["sum"])


@law("mean", "The mean is the sum of all elements, divided by their number.", SHAPES)
def mean_is_the_sum_divided_by_the_number(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["loss"], x, y, ["mean"])


@law("sum grad", "The gradient of the sum is the derivative of each element.", SHAPES)
def gradient_of_the_sum_is_not_divided(t: Interface, x: Values, y: Values) -> Faults:
    return unequal(t, ["grad"], x, y, ["sum"])


@law("mean grad", "The derivatives of the mean are divided by what the mean is divided by.", SHAPES)
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


FACTORS = ("weight", "pos_weight", "where")


@law("loss", "Weights and masks of fewer axes broadcast along the first, as in NumPy.", GRIDS)
def factors_broadcast_along_the_right_axis(t: Interface, x: Values, y: Values) -> Faults:
    for name in [one for one in FACTORS if one in t.supports]:
        full = mask(x.shape) if name == "where" else factors(x.shape)
        for part in (full[0], full[:, :1]):
            keywords: dict[str, Any] = {name: np.asarray(part)}
            yield from unequal(t, ANY, x, y, **keywords)


@law("loss", "Weights and masks that do not fit, or would enlarge the result, raise.", ((1,), (3,)))
def factors_that_would_grow_the_result_raise(t: Interface, x: Values, y: Values) -> Faults:
    for name in [one for one in FACTORS if one in t.supports]:
        for shape in ((3, 1), (2,)) if x.shape == (3,) else ((3,),):
            bad = mask(shape) if name == "where" else factors(shape)
            required = f"{name} of shape {shape} does not broadcast to logits of shape {x.shape}"
            yield from computed(t, x, y, required, **{name: bad})


@law("loss", "Weights that are Python numbers count as arrays of them.", FLAT)
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


# Arrays ---------------------------------------------------------------------------------------


def everything(t: Interface, x: Values) -> dict[str, Any]:
    """Return all keywords that are supported."""
    known = {
        "weight": factors(x.shape),
        "pos_weight": factors(x.shape) + 1,
        "where": mask(x.shape),
        "label_smoothing": 0.25,
    }
    return {name: value for name, value in known.items() if name in t.supports}


@law("loss", "Every keyword and reduction leaves results in the dtype of the logits.", FLAT)
def results_keep_the_dtype_of_the_logits(t: Interface, x: Values, y: Values) -> Faults:
    given = everything(t, x)
    scalars = {name: 2.5 for name in FACTORS[:2] if name in given}
    for keywords in ({}, scalars, given):
        for reduction in t.reductions:
            asked = {"reduction": reduction, **keywords}
            for way in t.ways(*ANY):
                kind = dtype_name(t.call(way, x, y, asked))
                if kind != t.dtype:
                    yield Fault(None, x, y, f"{WAYS[way][1]} of dtype {kind}", t.dtype, asked)


@law("loss", "Integer and bool targets count as 0 and 1, or raise.", FLAT)
def integer_targets_are_labels(t: Interface, x: Values, y: Values) -> Faults:
    for targets in ((y >= 0.5).astype(np.int64), y >= 0.5):
        try:
            yield from unequal(t, ANY, x, targets, t.reductions)
        except FailureError as failure:
            if "shape" in failure.fault.got.split(": ")[0]:
                raise


@law("loss", "A target that is a Python number counts as an array of it, or raises.", FLAT)
def python_scalar_target_is_a_label(t: Interface, x: Values, y: Values) -> Faults:
    for target in (0, 1.0, 0.25):
        for way in t.ways(*ANY):
            for reduction in t.reductions:
                asked: dict[str, Any] = {"reduction": reduction}
                try:
                    got = t.library.values(t.call(way, x, target, asked))
                except Exception:
                    continue
                labels = np.full(x.shape, float(target))
                wanted, sizes = expected(t, WAYS[way][0], x, labels, **asked)
                if got.shape == wanted.shape:
                    yield from apart(t, way, x, labels, got, wanted, sizes, asked)
                else:
                    text = f"{WAYS[way][1]} of shape {got.shape}"
                    yield Fault(None, x, labels, text, f"shape {wanted.shape}", asked)


@law("loss", "No array that is passed is written to.", FLAT)
def arguments_are_not_written_to(t: Interface, x: Values, y: Values) -> Faults:
    for way in t.ways(*ANY):
        for reduction in t.reductions:
            for keywords in ({}, everything(t, x)):
                logits, targets = t.array(x), t.array(y)
                given = passed(t, {"reduction": reduction, **keywords})
                t.run(way, logits, targets, given)
                now = {"logits": logits, "targets": targets, **given}
                for name, before in {"logits": x, "targets": y, **keywords}.items():
                    if isinstance(before, np.ndarray):
                        after = t.library.values(now[name])
                        if not np.array_equal(after, before):
                            got = f"{name} {after.tolist()} after asking for the {WAYS[way][1]}"
                            required = f"{name} {before.tolist()}, as before"
                            asked = {"reduction": reduction, **keywords}
                            yield Fault(None, x, y, got, required, asked)


@law("loss", "No result shares memory with an argument, or with another result.", FLAT)
def results_are_no_views_of_arguments(t: Interface, x: Values, y: Values) -> Faults:
    for reduction in t.reductions:
        for keywords in ({}, everything(t, x)):
            asked = {"reduction": reduction, **keywords}
            for way in t.ways(*ANY):
                logits, targets = t.array(x), t.array(y)
                given = passed(t, asked)
                result = memory(t.run(way, logits, targets, given))
                for name, value in {"logits": logits, "targets": targets, **given}.items():
                    other = memory(value)
                    if result is not None and other is not None and np.shares_memory(result, other):
                        got = f"{WAYS[way][1]} in the memory of {name}"
                        yield Fault(None, x, y, got, "an array of its own", asked)


def passed(t: Interface, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return keywords with new arrays of the library."""
    return {name: t.array(value) for name, value in keywords.items()}


def memory(array: Any) -> Any:
    """Return a NumPy array of the same memory where an array of NumPy or PyTorch has one."""
    if hasattr(array, "detach"):
        array = array.detach()
        return (
            array.numpy()
            if array.device.type == "cpu" and "bfloat" not in str(array.dtype)
            else None
        )
    return array if isinstance(array, np.ndarray) else None


@law("none", "NaN in a logit, a target or a weight is NaN there, and nowhere else.", FLAT)
def nan_stays_where_it_is(t: Interface, x: Values, y: Values) -> Faults:
    names = ("logits", "targets", *{"weight"} & t.supports)
    return not_nan(t, names, x, y, {})


@law("reduction", "NaN in a logit or a target makes the sum and the mean NaN.", FLAT)
def nan_is_not_left_out_of_sums(t: Interface, x: Values, y: Values) -> Faults:
    for reduction in ("sum", "mean"):
        yield from not_nan(t, ("logits", "targets"), x, y, {"reduction": reduction})


def not_nan(
    t: Interface, names: tuple[str, ...], x: Values, y: Values, keywords: dict[str, Any]
) -> Faults:
    """Yield where NaN at the first element is lost, or is at another element too."""
    keywords = {"reduction": t.reductions[0], **keywords}
    for name in names:
        given = {"logits": x, "targets": y, "weight": factors(x.shape), **keywords}
        given[name] = np.where(np.arange(x.size).reshape(x.shape) == 0, np.nan, given[name])
        asked = dict(keywords)
        if name == "weight" or "weight" in keywords:
            asked["weight"] = given["weight"]
        for way in t.ways("loss", "grad"):
            got = t.values(way, given["logits"], given["targets"], **asked)
            required = np.arange(got.size).reshape(got.shape) == 0
            if not np.array_equal(np.isnan(got), required):
                text = f"{WAYS[way][1]} {t.elementwise().written(got)}"
                where = "NaN at the first element alone" if got.ndim else "NaN"
                yield Fault(None, given["logits"], given["targets"], text, where, asked)


@law("loss", "Targets of another shape than the logits raise.", ((3,), (2, 3)))
def mismatched_shapes_raise(t: Interface, x: Values, y: Values) -> Faults:
    shapes: Shapes = ((3, 1), (4,)) if x.ndim == 1 else ()
    if t.conventions["targets"] == "same_shape":
        shapes += ((1,),) if x.ndim == 1 else ((3,), (2, 1))
    for targets in [np.resize(y, shape) for shape in shapes]:
        required = f"targets of shape {targets.shape} with logits of shape {x.shape}"
        yield from computed(t, x, targets, required)


@law("loss", "Logits that are integers raise, because their dtype holds no loss.", THREE)
def integer_logits_raise(t: Interface, x: Values, y: Values) -> Faults:
    integers = x.astype(np.int64)
    for targets in ((y >= 0.5).astype(np.int64), y):
        yield from computed(t, integers, targets, "logits of dtype int64")


# Derivatives, limits and compiled calls -------------------------------------------------------


@law("grad", "The gradient at logits 0 and -0 is 1/2 - y, by autodiff too.", FLAT)
def gradient_at_zero_is_one_half_minus_target(t: Interface, x: Values, y: Values) -> Faults:
    for zero in (0.0, -0.0):
        for reduction in t.reductions:
            yield from unequal(t, ["grad"], np.full(x.shape, zero), y, [reduction])


@law("hess", "The second derivative at logits 0 and -0 is 1/4, by autodiff too.", FLAT)
def hessian_at_zero_is_one_quarter(t: Interface, x: Values, y: Values) -> Faults:
    for zero in (0.0, -0.0):
        yield from unequal(t, ["hess"], np.full(x.shape, zero), y)


@law("loss", "The loss keeps its digits far from 0, reduced or not.", ((), (1,)))
def loss_keeps_its_digits_in_the_tail(t: Interface, x: Values, y: Values) -> Faults:
    return digits(t, "loss", x)


@law("grad", "The gradient keeps its digits far from 0, by autodiff too.", ((), (1,)))
def gradient_keeps_its_digits_in_the_tail(t: Interface, x: Values, y: Values) -> Faults:
    return digits(t, "grad", x)


@law("hess", "The second derivative keeps its digits far from 0, by autodiff too.", ((), (1,)))
def hessian_keeps_its_digits_in_the_tail(t: Interface, x: Values, y: Values) -> Faults:
    return digits(t, "hess", x)


def digits(t: Interface, kind: str, x: Values) -> Faults:
    """Yield where a value of a hard label is off by more than rounding errors of its own."""
    for size in TAILS[t.dtype]:
        for logit, label in ((size, 1.0), (-size, 0.0), (-size, 1.0), (size, 0.0)):
            logits, labels = np.full(x.shape, logit), np.full(x.shape, label)
            for way in t.ways(kind):
                asked = {"reduction": t.reductions[-1]}
                got = t.values(way, logits, labels, **asked)
                wanted = np.full(got.shape, exact(kind, logit, label).high)
                yield from apart(t, way, logits, labels, got, wanted, np.abs(wanted), asked)


@law("loss", "An infinite logit has loss 0 if right and infinity (or a clamp) if wrong.", FLAT)
def infinite_logits_have_the_loss_agreed(t: Interface, x: Values, y: Values) -> Faults:
    labels = (y >= 0.5).astype(np.float64)
    for right in (True, False):
        logits = np.where((labels == 1) == right, np.inf, -np.inf)
        for way in t.ways("loss"):
            for reduction in t.reductions:
                got = t.values(way, logits, labels, reduction=reduction)
                if right:
                    required, is_kept = "0", got == 0
                elif t.conventions["certain_and_wrong"] == "clamped":
                    required, is_kept = "a positive number", (got > 0) & np.isfinite(got)
                else:
                    required, is_kept = "inf", got == np.inf
                if not np.all(is_kept):
                    text = f"{WAYS[way][1]} {t.elementwise().written(got)}"
                    yield Fault(None, logits, labels, text, required, {"reduction": reduction})


@law("grad", "An infinite logit has the gradient 1 - y or -y, by autodiff too.", FLAT)
def infinite_logits_have_a_finite_gradient(t: Interface, x: Values, y: Values) -> Faults:
    logits = np.copysign(np.inf, x)
    for way in t.ways("grad"):
        asked = {"reduction": t.reductions[0]}
        got = t.values(way, logits, y, **asked)
        wanted, ones = (logits > 0) - y, np.ones(x.shape)
        yield from apart(t, way, logits, y, got, wanted, ones, asked)


@law("jit", "Compiled by `jax.jit`, loss and gradient are what they are without.", ((2,), (2, 3)))
def compiled_calls_give_the_same(t: Interface, x: Values, y: Values) -> Faults:
    jit = importlib.import_module("jax").jit
    for way in t.ways("loss", "grad"):
        for reduction in t.reductions:
            asked: dict[str, Any] = {"reduction": reduction}

            def call(logits: Any, targets: Any, way: str = way, asked: Any = asked) -> Any:
                return t.run(way, logits, targets, asked)

            try:
                got = t.library.values(jit(call)(t.array(x), t.array(y)))
            except Exception as error_of_jit:
                text = f"{type(error_of_jit).__name__} under `jax.jit`"
                yield Fault(None, x, y, text, "no exception", asked)
                continue
            wanted, sizes = expected(t, WAYS[way][0], x, y, **asked)
            yield from apart(t, way, x, y, got, wanted, sizes, asked)


@law("lazy", "A call with Dask arrays computes no value.", THREE)
def lazy_calls_compute_nothing(t: Interface, x: Values, y: Values) -> Faults:
    dask = importlib.import_module("dask")
    computations: list[Any] = []

    def refused(*arguments: Any, **keywords: Any) -> Any:
        computations.append(arguments)
        raise RuntimeError("a value was computed")

    for way in t.ways("loss", "grad"):
        for reduction in t.reductions:
            arrays = t.array(x), t.array(y)
            with dask.config.set(scheduler=refused), suppress(RuntimeError):
                t.run(way, *arrays, {"reduction": reduction})
            if computations:
                text = f"{WAYS[way][1]} computed during the call"
                yield Fault(None, x, y, text, "a lazy array", {"reduction": reduction})


# In the order of reports.
INTERFACE_LAWS: tuple[Law, ...] = tuple(one for one in vars().values() if isinstance(one, Law))
