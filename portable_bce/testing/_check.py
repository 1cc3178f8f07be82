"""Try the laws on anybody's binary cross-entropy."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from portable_bce._contract import Bounds
from portable_bce.testing._array_laws import ARRAY_LAWS
from portable_bce.testing._elementwise import LAWS
from portable_bce.testing._interface import KEYWORDS, Autodiff, Interface
from portable_bce.testing._keyword_laws import KEYWORD_LAWS
from portable_bce.testing._law import Fault, Function, Law
from portable_bce.testing._options import (
    checked_bounds,
    checked_dtypes,
    checked_examples,
    checked_flag,
    checked_functions,
    checked_interface,
    checked_laws,
    checked_library,
)
from portable_bce.testing._points import first_fault
from portable_bce.testing._probe import check_mistakes
from portable_bce.testing._report import Broken, Report

# In the order of reports.
INTERFACE_LAWS: tuple[Law, ...] = (*KEYWORD_LAWS, *ARRAY_LAWS)


def check(
    implementation: Function,
    *,
    xp: Any,
    dtypes: Iterable[str] = ("float32", "float64"),
    laws: Iterable[Law | str] | None = None,
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
    laws : iterable of Law or str, optional
        Which to try, or their names; all, ``LAWS``, if not given.
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
    functions = checked_functions(
        "implementation", implementation, gradient=gradient, hessian=hessian
    )
    trial = Interface(
        checked_library(xp),
        functions,
        bounds=checked_bounds(bounds),
        flushes=checked_flag("flushes_subnormals", flushes_subnormals),
    )
    checked_examples(examples)
    names, chosen = checked_dtypes(trial.library, dtypes), checked_laws(laws, LAWS)
    check_mistakes(trial.of(names[-1]), "`implementation`", is_elementwise=True)
    return _report(trial, names, chosen, examples)


def check_interface(
    loss: Callable[..., Any],
    *,
    xp: Any,
    dtypes: Iterable[str] = ("float32", "float64"),
    value_and_grad: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
    hessian: Callable[..., Any] | None = None,
    autodiff: str | Autodiff | None = None,
    supports: Iterable[str] = KEYWORDS,
    names: Mapping[str, Any] = MappingProxyType({}),
    conventions: Mapping[str, str] = MappingProxyType({}),
    bounds: Bounds | None = None,
    examples: int = 200,
    laws: Iterable[Law | str] | None = None,
    flushes_subnormals: bool = False,
) -> Report:
    """Try all laws on a loss with its keywords: reductions, weights, masks, dtypes, derivatives.

    A mistake that is common (a loss that is reduced, arguments that changed places,
    probabilities in place of logits) raises one error before any law is tried.

    Parameters
    ----------
    loss : callable
        ``loss(logits, targets, **keywords)``, with the keywords that `supports` names.
    xp : module
        As for `check`.
    dtypes : iterable of str
        As for `check`.
    value_and_grad : callable, optional
        Called as `loss`. Returns the loss and the gradient of the (reduced) loss.
    gradient, hessian : callable, optional
        Called as `loss`. The derivatives of the (reduced) loss with respect to each logit.
    autodiff : {"torch", "jax"} or callable, optional
        How `loss` is differentiated: ``autodiff(function, logits)`` returns the gradient of a
        function of logits that returns a number.
    supports : iterable of str
        The keywords that `loss` has, of "reduction" (of "none", "sum", "mean"), "weight",
        "pos_weight", "where" (a mask: True is kept) and "label_smoothing". Laws of others are
        not tried.
    names : mapping of str
        What `loss` calls a keyword or a reduction, as in ``{"weight": "sample_weight", "none":
        None}``. Logits and targets are positional; a name makes them keywords, and a number is
        their position.
    conventions : mapping of str to str
        Where libraries rightly differ; the first is taken if nothing is said. "reduction" of a
        loss without that keyword: "none", "sum", "mean". "mean_divides_by": "elements",
        "weights". "masked_mean_divides_by": "kept", "all". "mean_of_nothing": "nan", "zero".
        "certain_and_wrong" (the loss of a wrong infinite logit): "infinite", "clamped".
        "targets": "same_shape", "broadcast".
    bounds : Bounds, optional
        As for `check`.
    examples : int
        As for `check`.
    laws : iterable of Law or str, optional
        Which laws to try, or their names; all of ``LAWS`` and ``INTERFACE_LAWS`` if not given.
    flushes_subnormals : bool
        As for `check`.

    Returns
    -------
    Report
        What is broken, with examples; what holds; what was not tried.

    Raises
    ------
    TypeError
        An argument of another kind, or a loss that cannot be called.
    ValueError
        A name that is not known, or a loss that is clearly of something else.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.testing import check_interface
    >>> def loss(logits, targets, *, reduction="mean"):
    ...     each = np.logaddexp(0, logits) - logits * targets
    ...     return each if reduction == "none" else each.sum()
    >>> laws = ["mean_is_the_sum_divided_by_the_number"]
    >>> report = check_interface(loss, xp=np, dtypes=["float32"], supports=["reduction"], laws=laws)
    >>> print(report)  # doctest: +ELLIPSIS
    binary cross-entropy in float32: of its laws 1 broken, 0 kept, 0 not tried
    <BLANKLINE>
    BROKEN mean_is_the_sum_divided_by_the_number [float32]
        The mean is the sum of all elements, divided by their number.
        logits [ 2. -1.], targets [1. 0.], reduction 'mean'
        got      loss 0.440189...
        required 0.220094...
    """
    options = dict(locals())  # the arguments, by their names
    return _report(*_prepared(options), examples)


def laws_for(loss: Callable[..., Any], **keywords: Any) -> Callable[..., None]:
    """Make a pytest test of each law: ``test_my_loss = laws_for(my_loss, xp=numpy)``.

    Laws of what the loss has not (a keyword, a Hessian) are left out. A common mistake is one
    error while the tests are collected.

    Parameters
    ----------
    loss : callable
        As for `check_interface`.
    **keywords : Any
        As for `check_interface`.

    Returns
    -------
    callable
        A test that pytest runs once per law and dtype.

    Raises
    ------
    TypeError, ValueError
        As for `check_interface`.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.testing import laws_for
    >>> def loss(logits, targets):
    ...     return np.logaddexp(0, logits) - logits * targets
    >>> test_loss = laws_for(loss, xp=np, supports=[])
    >>> test_loss.pytestmark[0].args[0]
    ('law', 'dtype')
    """
    pytest = importlib.import_module("pytest")
    given = inspect.signature(check_interface).bind(loss, **keywords)
    given.apply_defaults()
    trial, names, chosen = _prepared(given.arguments)
    examples = given.arguments["examples"]
    tried = [law for law in chosen if not law._missing(trial.given_for(law))]

    def test(law: Law, dtype: str) -> None:
        _report(trial, (dtype,), (law,), examples).raise_if_broken()

    cases = [(law, dtype) for law in tried for dtype in names]
    marked: Callable[..., None] = pytest.mark.parametrize(("law", "dtype"), cases, ids=str)(test)
    return marked


def _prepared(options: Mapping[str, Any]) -> tuple[Interface, tuple[str, ...], tuple[Law, ...]]:
    """Return what is tried, in which dtypes, on which laws, if the loss is not something else."""
    trial = checked_interface(options)
    checked_examples(options["examples"])
    names = checked_dtypes(trial.library, options["dtypes"])
    chosen = checked_laws(options["laws"], (*LAWS, *INTERFACE_LAWS))
    check_mistakes(trial.of(names[-1]), "`loss`", is_elementwise=False)
    return trial, names, chosen


def _report(
    trial: Interface, dtypes: tuple[str, ...], laws: tuple[Law, ...], examples: int
) -> Report:
    """Try laws in every dtype."""
    tried = [law for law in laws if not law._missing(trial.given_for(law))]
    broken = [
        _broken(law, dtype, fault)
        for law in tried
        for dtype in dtypes
        if (fault := first_fault(law, trial.of(dtype), examples))
    ]
    failed = {one.law for one in broken}
    return Report(
        tuple(broken),
        tuple(law for law in tried if law not in failed),
        tuple(law for law in laws if law not in tried),
        dtypes,
    )


def _broken(law: Law, dtype: str, fault: Fault) -> Broken:
    carrier = np.dtype("float32" if dtype == "bfloat16" else dtype)
    logits, targets = (np.asarray(one, dtype=carrier)[()] for one in (fault.logits, fault.targets))
    return Broken(law, dtype, logits, targets, fault.got, fault.required, fault.keywords)
