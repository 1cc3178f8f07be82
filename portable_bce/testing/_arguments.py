"""What `check` may be given, and the errors that say so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portable_bce._contract import Bounds
from portable_bce.testing._law import Function, Law
from portable_bce.testing._library import Library, library
from portable_bce.testing.strategies import FORMATS


def functions(
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


def library_of(xp: Any) -> Library:
    """Require a library that makes arrays."""
    if not hasattr(xp, "asarray"):
        raise TypeError(
            "`xp` must be an array library: a module with `asarray`; "
            f"got {type(xp).__name__}. Use `xp=numpy`, or `torch`, `jax.numpy`, `cupy`"
        )
    return library(xp)


def dtypes(found: Library, names: Iterable[str]) -> tuple[str, ...]:
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


def laws(given: Iterable[Law]) -> tuple[Law, ...]:
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


def settings(bounds: Any, examples: Any, flushes_subnormals: Any) -> None:
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
