"""Try the laws on anybody's binary cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from portable_bce._contract import Bounds
from portable_bce.testing import _arguments
from portable_bce.testing._law import Fault, Function, Law, Trial
from portable_bce.testing._laws import LAWS
from portable_bce.testing._library import Library
from portable_bce.testing._report import Broken, Report
from portable_bce.testing._search import first_fault


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
        ``f(logits, targets) -> loss``, of two arrays of one shape and dtype, one loss an
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
        that
        need what is not given are not tried, and reported as such.
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
    functions = _arguments.functions(implementation, gradient, hessian)
    library = _arguments.library_of(xp)
    names = _arguments.dtypes(library, dtypes)
    chosen = _arguments.laws(LAWS if laws is None else laws)
    _arguments.settings(bounds, examples, flushes_subnormals)
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
