"""Try the laws on anybody's binary cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from portable_bce._contract import Bounds
from portable_bce.testing._elementwise import LAWS
from portable_bce.testing._law import Fault, Function, Law, Trial
from portable_bce.testing._library import Library, library
from portable_bce.testing._points import first_fault
from portable_bce.testing._report import Broken, Report
from portable_bce.testing.strategies import FORMATS


def check(
    implementation: Function,
    *,
    xp: Any,
    dtypes: Iterable[str] = ("float32", "float64"),
    laws: Iterable[Law] | None = None,
    bounds: Bounds | None = None,
    gradient: Function | None = None,
    hessian: Function | None = None,
    examples: int = 200,
    flushes_subnormals: bool = False,
) -> Report:
    """Try laws on an elementwise binary cross-entropy of logits, and report which it breaks.

    Every law sees the same fixed pairs of logits and targets, in which known defects show,
    and the same drawn ones; a failure is reduced to the smallest pair that shows it.

    Parameters
    ----------
    implementation : callable
        ``f(logits, targets) -> loss``, of two arrays of one shape and dtype, one loss per
        element. An exception on valid input breaks the law that was tried.
    xp : module
        The library whose arrays it takes: an array API namespace, or ``numpy``, ``torch``,
        ``jax.numpy``, ``cupy``, ``dask.array`` themselves.
    dtypes : iterable of str
        Of "float16", "bfloat16", "float32" and "float64".
    laws : iterable of Law, optional
        Which to try; all, ``LAWS``, if not given.
    bounds : Bounds, optional
        The largest errors that are allowed, in ULP, of hard and soft labels in every dtype.
        What portable_bce promises operation by operation (`bounds_for`) if not given.
    gradient, hessian : callable, optional
        First and second derivative with respect to the logits, called as `implementation`. Laws
        that need what is not given are not tried, and reported as such.
    examples : int
        How many arrays of 8 pairs hypothesis draws.
    flushes_subnormals : bool
        Whether the library takes subnormal numbers for zero, as XLA on a CPU does. None is
        passed then, and a result may be off by as much as the smallest normal number.

    Returns
    -------
    Report
        What is broken, with examples; what holds; what was not tried.

    Raises
    ------
    TypeError
        An argument of another kind.
    ValueError
        A dtype that is not known, or that the library does not have; no dtype, no law or no
        example.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.testing import LAWS, check
    >>> def loss(logits, targets):
    ...     return np.log1p(np.exp(logits)) - logits * targets
    >>> report = check(loss, xp=np, dtypes=["float64"], laws=LAWS[8:9], examples=20)
    >>> print(report)
    binary cross-entropy in float64: of its laws 1 broken, 0 kept, 0 not tried
    <BLANKLINE>
    BROKEN loss_of_finite_logits_is_finite [float64]
        The loss of a finite logit and a target in [0, 1] is neither NaN nor, unless the
        exact one overflows, infinite.
        logits 1.7976931348623157e+308, targets 0.0
        got      inf
        required 1.7976931348623157e+308
    """
    functions = _functions(implementation, gradient, hessian)
    library = _library_of(xp)
    names = _checked_dtypes(library, dtypes)
    chosen = _checked_laws(LAWS if laws is None else laws)
    _check_settings(bounds, examples, flushes_subnormals)
    tried = [law for law in chosen if law.needs in functions]
    broken = [
        _broken(law, name, fault)
        for law in tried
        for name in names
        if (fault := _tried(law, library, functions, name, bounds, examples, flushes_subnormals))
    ]
    failed = {one.law for one in broken}
    return Report(
        tuple(broken),
        tuple(law for law in tried if law not in failed),
        tuple(law for law in chosen if law.needs not in functions),
        names,
    )


def _tried(
    law: Law,
    library: Library,
    functions: Mapping[str, Function],
    dtype: str,
    bounds: Bounds | None,
    examples: int,
    flushes: bool,
) -> Fault | None:
    return first_fault(law, Trial(library, functions, dtype, bounds, flushes), examples)


def _broken(law: Law, dtype: str, fault: Fault) -> Broken:
    carrier = np.dtype("float32" if dtype == "bfloat16" else dtype)
    logits, targets = (np.asarray(one, dtype=carrier)[()] for one in (fault.logits, fault.targets))
    return Broken(law, dtype, logits, targets, fault.got, fault.required)


def _functions(
    implementation: Function, gradient: Function | None, hessian: Function | None
) -> dict[str, Function]:
    """Require functions; return those given by what they return."""
    if not callable(implementation):
        raise TypeError(_no_function("implementation", "loss", implementation))
    found = {"loss": implementation}
    for keyword, name, function in (("gradient", "grad", gradient), ("hessian", "hess", hessian)):
        if function is None:
            continue
        if not callable(function):
            raise TypeError(_no_function(keyword, keyword, function))
        found[name] = function
    return found


def _no_function(name: str, what: str, got: Any) -> str:
    return (
        f"`{name}` must be a function of (logits, targets); got {type(got).__name__}. "
        f"Pass the function that returns the {what} of each element, not what it returned"
    )


def _library_of(xp: Any) -> Library:
    """Require a library that makes arrays."""
    if not hasattr(xp, "asarray"):
        raise TypeError(
            "`xp` must be an array library: a module with `asarray`; "
            f"got {type(xp).__name__}. Use `xp=numpy`, or `torch`, `jax.numpy`, `cupy`"
        )
    return library(xp)


def _checked_dtypes(found: Library, names: Iterable[str]) -> tuple[str, ...]:
    """Require names of dtypes that the library has."""
    if isinstance(names, str):
        raise TypeError(f'`dtypes` must be several names; got a string. Use `dtypes=["{names}"]`')
    if not isinstance(names, Iterable):
        raise TypeError(
            f"`dtypes` must be names of dtypes; got {type(names).__name__}. "
            'Use `dtypes=["float32"]`'
        )
    known = tuple(names)
    for name in known:
        if not isinstance(name, str):
            raise TypeError(
                f"`dtypes` must be names; got {type(name).__name__}. "
                'Use "float32" in place of a dtype'
            )
        if name not in FORMATS:
            wanted = ", ".join(f'"{one}"' for one in FORMATS)
            raise ValueError(
                f'`dtypes` must be of {wanted}; got "{name}". The laws are about real floats'
            )
        if not found.holds(name):
            mend = (
                "Leave it out"
                if "jax" not in found.xp.__name__ or name != "float64"
                else 'Leave it out, or call `jax.config.update("jax_enable_x64", True)` before'
            )
            raise ValueError(f"`dtypes` must be dtypes that the library has; {name} is not. {mend}")
    if not known:
        raise ValueError("`dtypes` must name one dtype at least; got none. Leave it out for two")
    return known


def _checked_laws(given: Iterable[Law]) -> tuple[Law, ...]:
    """Require laws."""
    if isinstance(given, Law) or not isinstance(given, Iterable):
        raise TypeError(
            f"`laws` must be several laws; got {type(given).__name__}. Use `laws=[law]`"
        )
    known = tuple(given)
    for one in known:
        if not isinstance(one, Law):
            raise TypeError(
                f"`laws` must be laws of `portable_bce.testing.LAWS`; got {type(one).__name__}. "
                'Use `[law for law in LAWS if law.name == "..."]`'
            )
    if not known:
        raise ValueError("`laws` must be one law at least; got none. Leave it out for all")
    return known


def _check_settings(bounds: Any, examples: Any, flushes_subnormals: Any) -> None:
    """Require bounds, a number of examples, and a yes or no."""
    if bounds is not None and not isinstance(bounds, Bounds):
        raise TypeError(
            f"`bounds` must be Bounds, in ULP; got {type(bounds).__name__}. "
            "Use `Bounds(loss=4, grad=4, hess=5)`"
        )
    if isinstance(examples, bool) or not isinstance(examples, int):
        raise TypeError(
            f"`examples` must be a Python int; got {type(examples).__name__}. Use `examples=200`"
        )
    if examples < 1:
        raise ValueError(f"`examples` must be 1 at least; got {examples}. Use `examples=200`")
    if not isinstance(flushes_subnormals, bool):
        raise TypeError(
            f"`flushes_subnormals` must be True or False; got {type(flushes_subnormals).__name__}. "
            "True is for XLA on a CPU"
        )
