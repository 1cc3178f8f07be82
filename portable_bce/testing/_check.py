"""Try the laws on anybody's binary cross-entropy."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

import numpy as np

from portable_bce._contract import Bounds
from portable_bce.testing._elementwise import LAWS
from portable_bce.testing._interface import (
    CONVENTIONS,
    KEYWORDS,
    REDUCTIONS,
    Autodiff,
    Interface,
    named_autodiff,
)
from portable_bce.testing._interface_laws import INTERFACE_LAWS
from portable_bce.testing._law import Fault, Function, Law
from portable_bce.testing._library import Library, library
from portable_bce.testing._points import first_fault
from portable_bce.testing._probe import check_mistakes
from portable_bce.testing._report import Broken, Report
from portable_bce.testing.strategies import FORMATS


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
    functions = _functions("implementation", implementation, gradient=gradient, hessian=hessian)
    _check_settings(bounds, examples, flushes_subnormals)
    trial = Interface(_library_of(xp), functions, bounds=bounds, flushes=flushes_subnormals)
    names = _checked_dtypes(trial.library, dtypes)
    chosen = _checked_laws(laws, LAWS)
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
    ...     return each if reduction == "none" else getattr(each, reduction)(axis=-1)
    >>> law = "mean_is_the_sum_divided_by_the_number"
    >>> print(check_interface(loss, xp=np, dtypes=["float64"], supports=["reduction"], laws=[law]))
    binary cross-entropy in float64: of its laws 1 broken, 0 kept, 0 not tried
    <BLANKLINE>
    BROKEN mean_is_the_sum_divided_by_the_number [float64]
        The mean is the sum of all elements, divided by their number.
        logits [[ 2. -1.]], targets [[1. 0.]], reduction 'mean'
        got      loss of shape (1,)
        required shape ()
    """
    trial = _interface(
        loss,
        xp,
        {"value_and_grad": value_and_grad, "gradient": gradient, "hessian": hessian},
        autodiff,
        supports,
        names,
        conventions,
        (bounds, examples, flushes_subnormals),
    )
    return _report(trial, *_prepared(trial, dtypes, laws), examples)


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
    'law, dtype'
    """
    pytest = importlib.import_module("pytest")
    given = inspect.signature(check_interface).bind(loss, **keywords)
    given.apply_defaults()
    options = given.arguments
    examples = options["examples"]
    trial = _interface(
        loss,
        options["xp"],
        {way: options[way] for way in ("value_and_grad", "gradient", "hessian")},
        options["autodiff"],
        options["supports"],
        options["names"],
        options["conventions"],
        (options["bounds"], examples, options["flushes_subnormals"]),
    )
    names, chosen = _prepared(trial, options["dtypes"], options["laws"])
    tried = [law for law in chosen if not law._missing(trial.given_for(law))]

    def test(law: Law, dtype: str) -> None:
        _report(trial, (dtype,), (law,), examples).raise_if_broken()

    cases = [(law, dtype) for law in tried for dtype in names]
    marked: Callable[..., None] = pytest.mark.parametrize(("law", "dtype"), cases, ids=str)(test)
    return marked


def _interface(
    loss: Any,
    xp: Any,
    others: Mapping[str, Any],
    autodiff: Any,
    supports: Any,
    names: Any,
    conventions: Any,
    settings: tuple[Any, Any, Any],
) -> Interface:
    """Check what `check_interface` was given."""
    functions = _functions("loss", loss, **others)
    if not (autodiff is None or autodiff in ("torch", "jax") or callable(autodiff)):
        raise ValueError(
            f'`autodiff` must be "torch", "jax" or a function; got {autodiff!r}. Pass '
            "`lambda function, logits: ...`, which returns the gradient of function at logits"
        )
    _check_settings(*settings)
    is_named = isinstance(autodiff, str)
    return Interface(
        _library_of(xp),
        functions,
        named_autodiff(autodiff) if is_named else autodiff,
        is_named,
        _known("supports", supports, KEYWORDS),
        _checked_names(names),
        _checked_conventions(conventions),
        settings[0],
        settings[2],
    )


def _prepared(trial: Interface, dtypes: Any, laws: Any) -> tuple[tuple[str, ...], tuple[Law, ...]]:
    """Return the dtypes and the laws, if the loss is not clearly something else."""
    names = _checked_dtypes(trial.library, dtypes)
    chosen = _checked_laws(laws, (*LAWS, *INTERFACE_LAWS))
    check_mistakes(trial.of(names[-1]), "`loss`", is_elementwise=False)
    return names, chosen


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


def _functions(keyword: str, loss: Any, **others: Any) -> dict[str, Any]:
    """Require functions, and return those given by what they return."""
    for name, function in {keyword: loss, **others}.items():
        if not (callable(function) or (function is None and name != keyword)):
            raise TypeError(_no_function(name, "loss" if name == keyword else name, function))
    return {"loss": loss} | {name: one for name, one in others.items() if one is not None}


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


def _checked_laws(given: Any, known: tuple[Law, ...]) -> tuple[Law, ...]:
    """Require laws, or their names, and return the laws."""
    if given is None:
        return known
    if isinstance(given, Law | str) or not isinstance(given, Iterable):
        raise TypeError(
            f"`laws` must be several laws; got {type(given).__name__}. Use `laws=[law]`"
        )
    by_name = {law.name: law for law in known}
    chosen = []
    for one in given:
        if not isinstance(one, Law | str):
            raise TypeError(
                f"`laws` must be laws or their names; got {type(one).__name__}. "
                "Use `laws=[law.name]`"
            )
        if isinstance(one, str) and one not in by_name:
            similar = get_close_matches(one, by_name, 1, 0) or [known[0].name]
            raise ValueError(
                f'`laws` must be laws that are known; got "{one}". Use "{similar[0]}", or a '
                "name that `LAWS` or `INTERFACE_LAWS` has"
            )
        chosen.append(one if isinstance(one, Law) else by_name[one])
    if not chosen:
        raise ValueError("`laws` must be one law at least; got none. Leave it out for all")
    return tuple(chosen)


def _known(argument: str, given: Any, known: Iterable[str]) -> frozenset[str]:
    """Require several words that are known."""
    words = ", ".join(f'"{word}"' for word in known)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`{argument}` must be several of {words}; got {type(given).__name__}")
    for word in (words_given := list(given)):
        if word not in known:
            raise ValueError(f"`{argument}` must be of {words}; got {word!r}")
    return frozenset(words_given)


def _checked_names(names: Any) -> dict[str, Any]:
    """Require names, or the positions of logits and targets, of what is known."""
    if not isinstance(names, Mapping):
        raise TypeError(
            f"`names` must be a mapping; got {type(names).__name__}. "
            'Use `names={"targets": "labels"}`'
        )
    _known("names", names, ("logits", "targets", *KEYWORDS, *REDUCTIONS))
    return dict(names)


def _checked_conventions(conventions: Any) -> dict[str, str]:
    """Require conventions that are known, and return all of them."""
    if not isinstance(conventions, Mapping):
        raise TypeError(
            f"`conventions` must be a mapping; got {type(conventions).__name__}. "
            'Use `conventions={"mean_of_nothing": "zero"}`'
        )
    _known("conventions", conventions, CONVENTIONS)
    for name, value in conventions.items():
        _known(f"conventions[{name}]", [value], CONVENTIONS[name])
    return {name: known[0] for name, known in CONVENTIONS.items()} | dict(conventions)


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
