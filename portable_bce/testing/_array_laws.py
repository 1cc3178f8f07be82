"""Laws of arrays (dtypes, memory, NaN, errors), of derivatives, limits and compiled calls."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from portable_bce.testing._comparisons import (
    ANY,
    FACTORS,
    FLAT,
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
from portable_bce.testing._law import FailureError, Fault, Law, Shapes, exact, law
from portable_bce.testing._library import Values, dtype_name

# Logits in whose tail a right answer is still a normal number.
TAILS = {
    "float16": (6.0, 9.0),
    "bfloat16": (20.0, 40.0, 80.0),
    "float32": (20.0, 40.0, 80.0),
    "float64": (40.0, 200.0, 600.0),
}

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


@law("loss", "Every keyword, reduction and kind of target leaves the dtype of the logits.", FLAT)
def results_keep_the_dtype_of_the_logits(t: Interface, x: Values, y: Values) -> Faults:
    given, labels = everything(t, x), y >= 0.5
    numbers = {name: 2.5 for name in FACTORS[:2] if name in given}
    kinds: list[tuple[Any, dict[str, Any]]] = [(y, {}), (y, given)]
    kinds += [(y, numbers), (labels, {}), (labels.astype(np.int64), {})]
    for targets, keywords in kinds:
        for reduction in t.reductions:
            asked = {"reduction": reduction, **keywords}
            for way in t.ways(*ANY):
                try:
                    kind = dtype_name(t.call(way, x, targets, asked))
                except FailureError:
                    if targets is y and keywords is not numbers:
                        raise
                    continue  # what a loss takes is for other laws
                if kind != t.dtype:
                    got = f"{WAYS[way][1]} of dtype {kind} from {targets.dtype} targets"
                    yield Fault(None, x, targets, got, t.dtype, asked)


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
    for way, asked in calls(t, x):
        passed = t.arrays(x, y, asked)
        t.call(way, x, y, asked, passed)
        now = {"logits": passed[0], "targets": passed[1], **passed[2]}
        for name, before in {"logits": x, "targets": y, **asked}.items():
            after = t.library.values(now[name]) if isinstance(before, np.ndarray) else before
            if not np.array_equal(after, before):
                got = f"{name} {after.tolist()} after asking for the {WAYS[way][1]}"
                yield Fault(None, x, y, got, f"{name} {before.tolist()}, as before", asked)


@law("loss", "No result shares memory with an argument.", FLAT)
def results_are_no_views_of_arguments(t: Interface, x: Values, y: Values) -> Faults:
    for way, asked in calls(t, x):
        passed = t.arrays(x, y, asked)
        result = memory(t.call(way, x, y, asked, passed))
        for name, value in {"logits": passed[0], "targets": passed[1], **passed[2]}.items():
            other = memory(value)
            if result is not None and other is not None and np.shares_memory(result, other):
                got = f"{WAYS[way][1]} in the memory of {name}"
                yield Fault(None, x, y, got, "an array of its own", asked)


def calls(t: Interface, x: Values) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every way and reduction, without other keywords and with all."""
    for reduction in t.reductions:
        for keywords in ({}, everything(t, x)):
            for way in t.ways(*ANY):
                yield way, {"reduction": reduction, **keywords}


def memory(array: Any) -> Any:
    """Return a NumPy array of the same memory where an array of NumPy or PyTorch has one."""
    if isinstance(array, np.ndarray):
        return array
    try:
        return array.detach().numpy()
    except Exception:  # another library, a GPU, a dtype that NumPy lacks
        return None


@law("none", "NaN in a logit, a target or a weight is NaN there, and nowhere else.", FLAT)
def nan_stays_where_it_is(t: Interface, x: Values, y: Values) -> Faults:
    names = ("logits", "targets", *{"weight"} & t.supports)
    return not_nan(t, names, x, y, {})


@law("reduction", "NaN in a logit or a target makes the sum and the mean NaN.", FLAT)
def nan_is_not_left_out_of_sums(t: Interface, x: Values, y: Values) -> Faults:
    for reduction in ("sum", "mean"):
        yield from not_nan(t, ("logits", "targets"), x, y, {"reduction": reduction})


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
ARRAY_LAWS: tuple[Law, ...] = tuple(one for one in vars().values() if isinstance(one, Law))
