"""What `check` and `check_interface` are given, checked: every error says how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from portable_bce._contract import Bounds
from portable_bce.testing._interface import (
    CONVENTIONS,
    KEYWORDS,
    REDUCTIONS,
    Interface,
    named_autodiff,
)
from portable_bce.testing._law import Law
from portable_bce.testing._library import Library, library
from portable_bce.testing.strategies import FORMATS


def _text(argument: str, required: str, got: str, mend: str) -> str:
    return f"`{argument}` must be {required}; got {got}. {mend}"


def _kind(value: Any) -> str:
    return type(value).__name__


def checked_interface(options: Mapping[str, Any]) -> Interface:
    """Return what the arguments of `check_interface` describe."""
    ways = ("value_and_grad", "gradient", "hessian")
    autodiff = options["autodiff"]
    if not (autodiff is None or autodiff in ("torch", "jax") or callable(autodiff)):
        mend = (
            "Pass `lambda function, logits: ...`, which returns the gradient of function at logits"
        )
        required = '"torch", "jax" or a function'
        raise ValueError(_text("autodiff", required, repr(autodiff), mend))
    return Interface(
        checked_library(options["xp"]),
        checked_functions("loss", options["loss"], **{way: options[way] for way in ways}),
        named_autodiff(autodiff) if isinstance(autodiff, str) else autodiff,
        isinstance(autodiff, str),
        frozenset(_checked_words("supports", options["supports"], KEYWORDS)),
        _checked_names(options["names"]),
        _checked_conventions(options["conventions"]),
        checked_bounds(options["bounds"]),
        checked_flag("flushes_subnormals", options["flushes_subnormals"]),
    )


def checked_functions(keyword: str, loss: Any, **others: Any) -> dict[str, Any]:
    """Require functions, and return those given by what they return."""
    for name, function in {keyword: loss, **others}.items():
        if not (callable(function) or (function is None and name != keyword)):
            what = "loss" if name == keyword else name
            mend = (
                f"Pass the function that returns the {what} of each element, not what it returned"
            )
            required = "a function of (logits, targets)"
            raise TypeError(_text(name, required, _kind(function), mend))
    return {"loss": loss} | {name: one for name, one in others.items() if one is not None}


def checked_library(xp: Any) -> Library:
    """Require a library that makes arrays."""
    if not hasattr(xp, "asarray"):
        required = "an array library: a module with `asarray`"
        mend = "Use `xp=numpy`, or `torch`, `jax.numpy`, `cupy`"
        raise TypeError(_text("xp", required, _kind(xp), mend))
    return library(xp)


def checked_dtypes(found: Library, names: Any) -> tuple[str, ...]:
    """Require names of dtypes that the library has."""
    if isinstance(names, str):
        raise TypeError(_text("dtypes", "several names", "a string", f'Use `dtypes=["{names}"]`'))
    if not isinstance(names, Iterable):
        mend = 'Use `dtypes=["float32"]`'
        raise TypeError(_text("dtypes", "names of dtypes", _kind(names), mend))
    known = tuple(names)
    for name in known:
        if not isinstance(name, str):
            mend = 'Use "float32" in place of a dtype'
            raise TypeError(_text("dtypes", "names", _kind(name), mend))
        if name not in FORMATS:
            required = "of " + ", ".join(f'"{one}"' for one in FORMATS)
            raise ValueError(
                _text("dtypes", required, f'"{name}"', "The laws are about real floats")
            )
        if not found.holds(name):
            mend = "Leave it out"
            if "jax" in found.xp.__name__ and name == "float64":
                mend += ', or call `jax.config.update("jax_enable_x64", True)` before'
            raise ValueError(f"`dtypes` must be dtypes that the library has; {name} is not. {mend}")
    if not known:
        raise ValueError("`dtypes` must name one dtype at least; got none. Leave it out for two")
    return known


def checked_laws(given: Any, known: tuple[Law, ...]) -> tuple[Law, ...]:
    """Require laws, or their names, and return the laws."""
    if given is None:
        return known
    if isinstance(given, Law | str) or not isinstance(given, Iterable):
        raise TypeError(_text("laws", "several laws", _kind(given), "Use `laws=[law]`"))
    by_name = {law.name: law for law in known}
    chosen = []
    for one in given:
        if not isinstance(one, Law | str):
            mend = "Use `laws=[law.name]`"
            raise TypeError(_text("laws", "laws or their names", _kind(one), mend))
        if isinstance(one, str) and one not in by_name:
            (similar,) = get_close_matches(one, by_name, 1, 0)
            mend = f'Use "{similar}", or a name that `LAWS` or `INTERFACE_LAWS` has'
            raise ValueError(_text("laws", "laws that are known", f'"{one}"', mend))
        chosen.append(one if isinstance(one, Law) else by_name[one])
    if not chosen:
        raise ValueError("`laws` must be one law at least; got none. Leave it out for all")
    return tuple(chosen)


def _checked_words(argument: str, given: Any, known: Iterable[str]) -> list[str]:
    """Require several words that are known."""
    words = ", ".join(f'"{word}"' for word in known)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`{argument}` must be several of {words}; got {_kind(given)}")
    for word in (found := list(given)):
        if word not in known:
            raise ValueError(f"`{argument}` must be of {words}; got {word!r}")
    return found


def _checked_names(names: Any) -> dict[str, Any]:
    """Require names, or the positions of logits and targets, of what is known."""
    if not isinstance(names, Mapping):
        mend = 'Use `names={"targets": "labels"}`'
        raise TypeError(_text("names", "a mapping", _kind(names), mend))
    _checked_words("names", names, ("logits", "targets", *KEYWORDS, *REDUCTIONS))
    return dict(names)


def _checked_conventions(conventions: Any) -> dict[str, str]:
    """Require conventions that are known, and return all of them."""
    if not isinstance(conventions, Mapping):
        mend = 'Use `conventions={"mean_of_nothing": "zero"}`'
        raise TypeError(_text("conventions", "a mapping", _kind(conventions), mend))
    _checked_words("conventions", conventions, CONVENTIONS)
    for name, value in conventions.items():
        _checked_words(f"conventions[{name}]", [value], CONVENTIONS[name])
    return {name: known[0] for name, known in CONVENTIONS.items()} | dict(conventions)


def checked_bounds(bounds: Any) -> Bounds | None:
    """Require bounds, or None."""
    if not isinstance(bounds, Bounds | None):
        mend = "Use `Bounds(loss=4, grad=4, hess=5)`"
        raise TypeError(_text("bounds", "Bounds, in ULP", _kind(bounds), mend))
    return bounds


def checked_examples(examples: Any) -> int:
    """Require a number of examples."""
    mend = "Use `examples=200`"
    if isinstance(examples, bool) or not isinstance(examples, int):
        raise TypeError(_text("examples", "a Python int", _kind(examples), mend))
    if examples < 1:
        raise ValueError(_text("examples", "1 at least", str(examples), mend))
    return examples


def checked_flag(argument: str, given: Any) -> bool:
    """Require a yes or no."""
    if not isinstance(given, bool):
        mend = "True is for XLA on a CPU"
        raise TypeError(_text(argument, "True or False", _kind(given), mend))
    return given
