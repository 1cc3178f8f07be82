"""Laws about arrays: shapes, dtypes, views, neighbours, and what a call leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from portable_bce.testing._law import WORDS, Fault, Trial, law
from portable_bce.testing._library import Values, dtype_name

SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (5,), (2, 3), (3, 1), (2, 0)]
ALONE = 3


@law(
    "loss",
    "Every result has the shape and the dtype of the logits; none, one and many axes, and "
    "axes without elements, included.",
)
def results_have_the_shape_and_dtype_of_the_logits(
    trial: Trial, x: Values, y: Values
) -> Iterator[Fault]:
    for shape in SHAPES:
        logits, labels = np.resize(x, shape), np.resize(y, shape)
        for name in trial.functions:
            given = (logits, labels)
            result = trial.call(name, trial.array(logits), trial.array(labels), given)
            found, kind = tuple(getattr(result, "shape", ())), dtype_name(result)
            if found != shape or kind != trial.dtype:
                got = f"{WORDS[name]} of dtype {kind} and shape {found}"
                yield Fault(None, logits, labels, got, f"dtype {trial.dtype} and shape {shape}")


@law("loss", "A call changes neither its logits nor its targets.")
def inputs_are_left_as_they_were(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    for name in trial.functions:
        logits, labels = trial.array(x), trial.array(y)
        trial.values(name, logits, labels, (x, y))
        for what, before, now in (("logits", x, logits), ("targets", y, labels)):
            after = trial.library.values(now)
            for i in np.flatnonzero(
                (after != before) | (np.signbit(after) != np.signbit(before))
            ).tolist():
                got = f"{what} {trial.written(after[i])} after asking for the {WORDS[name]}"
                yield trial.fault(i, x, y, got, f"{what} {trial.written(before[i])}, as before")


@law("loss", "The same inputs give the same results again, to the bounds.")
def repeated_calls_agree(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    for name in trial.functions:
        first, again = trial.value(name, x, y), trial.value(name, x, y)
        yield from trial.disagreements(name, x, y, again, first, "the first time")


@law("loss", "A value is the same, to the bounds, beside other elements and alone.")
def values_do_not_depend_on_their_neighbours(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    even = np.arange(len(x)) % 2 == 0
    for name in trial.functions:
        together = trial.value(name, x, y)
        for kept in (even, ~even):
            calm = trial.value(name, np.where(kept, x, 0.0), np.where(kept, y, 0.5))
            beside = np.where(kept, calm, together)
            yield from trial.disagreements(name, x, y, together, beside, "beside other elements")
        alone = together.copy()
        for i in range(min(len(x), ALONE)):
            alone[i] = trial.value(name, x[i : i + 1], y[i : i + 1])[0]
        yield from trial.disagreements(name, x, y, together, alone, "alone")


@law("loss", "A transposed or strided view of an array gives what its copy gives, to the bounds.")
def views_give_what_their_copies_give(trial: Trial, x: Values, y: Values) -> Iterator[Fault]:
    shape = (2, -(-len(x) // 2) + 1)
    logits, labels = np.resize(x, shape), np.resize(y, shape)
    turned = np.ascontiguousarray(logits.T)
    for name in trial.functions:
        plain = trial.value(name, logits, labels)
        for what, one, other in (
            (
                "transposed logits",
                trial.library.transposed(trial.array(turned)),
                trial.array(labels),
            ),
            ("every second element", _every_second(trial, logits), _every_second(trial, labels)),
        ):
            seen, given = trial.values(name, one, other, (logits, labels)), (logits, labels)
            yield from trial.disagreements(name, *given, seen, plain, f"from a copy of {what}")


def _every_second(trial: Trial, values: Values) -> Any:
    return trial.array(np.repeat(values, 2, axis=1))[:, ::2]
