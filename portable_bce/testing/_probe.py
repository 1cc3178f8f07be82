"""Recognise the commonest mistakes before any law is tried, and say how to mend each.

A loss is called once, with a few pairs. If its results are wrong, it is called with what it
may take its arguments for, and its results are compared with what is right then.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from portable_bce.testing._comparisons import expected
from portable_bce.testing._interface import WAYS, Interface
from portable_bce.testing._law import told
from portable_bce.testing._library import Values

# All lie between 0 and 1, so that they can change places and can be probabilities.
_LOGITS = np.array([0.25, 0.875, 0.5, 0.75])
_TARGETS = np.array([0.75, 0.125, 0.25, 0.5])
_FIT = 0.02  # relative: the losses of other mistakes differ by more, and those of halves by less


def check_mistakes(trial: Interface, name: str, *, is_elementwise: bool) -> None:
    """Raise one error, which names the mend, if a function is clearly of something else.

    ``name`` is what the loss is called as an argument of `check` (``is_elementwise``), or else
    of `check_interface`.
    """
    _check_signature(trial, name)
    for way in trial.functions:
        _check_result(trial, way, name if way == "loss" else f"`{way}`", is_elementwise)


def _check_signature(trial: Interface, name: str) -> None:
    """Require that the loss can be called with logits, targets and a reduction."""
    try:
        signature = inspect.signature(trial.functions["loss"])
    except (TypeError, ValueError):  # some builtins have none
        return
    args, keywords = trial.placed(0, 0, {"reduction": trial.reductions[0]})
    try:
        signature.bind(*args, **keywords)
    except TypeError as error:
        asked = ", ".join(["array"] * len(args) + [f"{keyword}=..." for keyword in keywords])
        raise TypeError(
            f"{name} must take ({asked}); got a function of {signature}: {error}. Wrap it in a "
            "function that takes these, or tell `check_interface` its `supports` and `names`"
        ) from error


def _check_result(trial: Interface, way: str, name: str, is_elementwise: bool) -> None:
    """Require an array of the right shape, whose values are of no mistake that is known."""
    kind, reduction = WAYS[way][0], trial.reductions[0]
    try:
        result = trial.call(way, _LOGITS, _TARGETS, {"reduction": reduction})
    except Exception as error:
        _check_meaning(trial, way, name, is_elementwise)
        raise ValueError(
            f"{name} must return a {WAYS[way][1]}; with logits {_LOGITS.tolist()} and targets "
            f"{_TARGETS.tolist()} of {trial.dtype} it raised {told(error.__cause__ or error)}. "
            "Call it with these"
        ) from error
    if isinstance(result, tuple | list) or result is None:
        raise TypeError(
            f"{name} must return an array; got {type(result).__name__}. Return the "
            f"{WAYS[way][1]} alone; both together are `value_and_grad` of `check_interface`"
        )
    try:
        got = trial.library.values(result)
    except Exception as error:
        raise TypeError(
            f"{name} must return an array of real numbers; got {type(result).__name__}. "
            f"Return the {WAYS[way][1]} as an array of the library"
        ) from error
    wanted, _ = expected(trial, kind, _LOGITS, _TARGETS, reduction=reduction)
    if got.shape != wanted.shape:
        raise ValueError(_shape_message(trial, name, got, is_elementwise))
    if _fits(got, wanted):
        return
    if kind == "loss":
        _check_meaning(trial, way, name, is_elementwise)
    elif reduction == "none" and _fits(got, wanted / wanted.size):
        raise ValueError(
            f"{name} must be that of each loss; got that of their mean, {wanted.size} times "
            "smaller. Differentiate their sum"
        )


def _shape_message(trial: Interface, name: str, got: Values, is_elementwise: bool) -> str:
    losses, _ = expected(trial, "loss", _LOGITS, _TARGETS)
    mend = "Take two arrays of one shape, element by element"
    what = f"shape {got.shape}"
    if got.size == 1:
        sums = {"sum": losses.sum(), "mean": losses.mean()}
        words = [word for word, value in sums.items() if _fits(got, value)]
        what = f"one number{''.join(f', their {word},' for word in words)}"
        mend = 'Switch its reduction off, for example by `reduction="none"`'
        if not is_elementwise:
            mend += f', or say `conventions={{"reduction": "{(words or ["mean"])[0]}"}}`'
    return f"{name} must return one value per element; got {what} for {losses.size}. {mend}"


def _check_meaning(trial: Interface, way: str, name: str, is_elementwise: bool) -> None:
    """Raise if a loss is right of something else than logits and targets from 0 to 1."""
    x, y, reduction = _LOGITS, _TARGETS, trial.reductions[0]
    signs = np.array([1.0, -1.0, -1.0, 1.0])
    swap = "`lambda logits, targets: f(targets, logits)`"
    names = '`names={"logits": 1, "targets": 0}`'
    meanings = [
        # what it takes, a call that shows it, what is right then, how to mend it
        (
            "targets before logits",
            (y, x),
            expected(trial, "loss", x, y)[0],
            f"Use {swap if is_elementwise else names}",
        ),
        (
            "probabilities in place of logits",
            (x, y),
            -(y * np.log(x) + (1 - y) * np.log(1 - x)),
            "Pass the loss of logits, not of sigmoid(logits), which loses the tails",
        ),
        (
            "labels -1 and 1 in place of 0 and 1",
            (x, signs),
            expected(trial, "loss", x, (signs + 1) / 2)[0],
            "Use `lambda logits, targets: f(logits, 2 * targets - 1)`",
        ),
    ]
    for what, pair, losses, mend in meanings:
        wanted = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]
        try:
            got = trial.values(way, *pair, reduction=reduction)
        except Exception:
            continue
        if WAYS[way][0] == "loss" and _fits(got, wanted):
            raise ValueError(
                f"{name} must take logits, then targets from 0 to 1; it takes {what}. {mend}"
            )


def _fits(got: Any, wanted: Any) -> bool:
    return bool(np.allclose(got, wanted, rtol=_FIT, atol=0))
