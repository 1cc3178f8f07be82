"""What Dask's workers run: chunks go in, and sums, derivatives and losses come out.

Plain functions and tuples, which can be sent to another process and named by their contents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from array_api_compat import array_namespace

from portable_bce._formula import with_logits
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula, divided, masked, product, quiet, settled, shares
from portable_bce._reduction import Reduction, denominator, is_counted
from portable_bce._sums import compensated, two_sum, wide

# A sum, and what its additions rounded away.
Sum: TypeAlias = tuple[Any, Any]
# Of the losses, if they are summed, and of what the denominator counts, if it is counted.
Sums: TypeAlias = tuple[Sum, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated of every chunk.

    ``inputs`` is without arrays, whose ``names`` these are, in the order in which their
    chunks are passed; ``loose`` says along which of its axes a chunk may be broadcast.
    """

    inputs: Inputs
    names: tuple[str, ...]
    loose: tuple[tuple[bool, ...], ...]
    reduction: Reduction
    wanted: tuple[str, ...]
    rounded: bool
    summing: bool
    counting: bool
    divisor: float | None

    @property
    def reduced(self) -> bool:
        """Whether there is a reduction at all."""
        return self.reduction.name != "none"

    @property
    def settled(self) -> Any:
        """The dtype of derivatives."""
        return self.inputs.dtype if self.rounded else self.inputs.work

    @property
    def wide(self) -> Any:
        """The dtype in which sums travel."""
        return wide(self.inputs.work)


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Evaluate a chunk: (its sums, then each name wanted)."""

    runner_of: Callable[[Any], Any]
    formula: Formula
    plan: Plan

    def __call__(self, *blocks: Any) -> tuple[Any, ...]:
        plan, xp = self.plan, array_namespace(blocks[0])
        arrays = dict(zip(plan.names, map(xp.asarray, blocks), strict=True))
        chunk = plan.inputs._replace(xp=xp, **arrays)
        _check(chunk, plan, self.formula)
        values = self._run(self.formula, chunk, plan.wanted)
        sums: Sums = ()
        if plan.summing:
            sums = (_kept(chunk, plan, values[plan.wanted.index("loss")]),)
        if plan.counting:
            sums = (*sums, _kept(chunk, plan, self._count(chunk)))
        with quiet(xp):
            return sums, *map(partial(_elementwise, chunk, plan), plan.wanted, values)

    def _run(self, formula: Formula, chunk: Inputs, wanted: tuple[str, ...]) -> tuple[Any, ...]:
        """Evaluate by the row of the chunk's library: sums wide, derivatives not divided yet."""
        runner, plan = self.runner_of(chunk.xp), self.plan
        if plan.reduced:
            chunk = chunk._replace(dtype=plan.wide)
        reduction = Reduction("sum" if plan.reduced else "none", plan.reduction.axes)
        rounded = plan.rounded and not plan.reduced
        found: tuple[Any, ...] = runner.evaluate(
            formula, chunk, reduction, wanted, rounded, runner.total
        )
        return found

    def _count(self, chunk: Inputs) -> Any:
        """Return what a chunk adds to the denominator."""
        xp, x, reduction = chunk.xp, chunk.x, self.plan.reduction
        if not is_counted(reduction, x.shape, chunk.weight, chunk.where):
            shape = tuple(n for axis, n in enumerate(x.shape) if axis not in reduction.axes)
            length = denominator(reduction, xp, x, None, None, self.runner_of(xp).total)
            return xp.full(shape, length, dtype=self.plan.wide)
        only = chunk._replace(targets=0.0, pos_weight=None)
        return self._run(partial(shares, reduction=reduction), only, ("loss",))[0]


def called(name: str, formula: Formula) -> str:
    """Return the caller's word for an operand."""
    if formula is product:
        return {"x": "loss", "weight": "cotangent"}.get(name, name)
    return ("logits" if formula is with_logits else "probabilities") if name == "x" else name


def _check(chunk: Inputs, plan: Plan, formula: Formula) -> None:
    """Require what could not be required before: lengths that were unknown, or wrong."""
    expected = chunk.x.shape
    for name, loose in zip(plan.names, plan.loose, strict=True):
        found = getattr(chunk, name).shape
        beside = zip(found, expected[len(expected) - len(found) :], loose, strict=True)
        if not all(one == other or (free and one == 1) for one, other, free in beside):
            verb = "have" if name == "targets" else "broadcast to"
            raise ValueError(
                f"`{called(name, formula)}` must {verb} the shape of `{called('x', formula)}`, "
                f"{expected}; got {found}. These are two chunks, whose lengths were not known "
                "before: select both alike"
            )


def _kept(chunk: Inputs, plan: Plan, total: Any) -> Sum:
    """Give a sum its axes back, with length 1."""
    axes = plan.reduction.axes
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(chunk.x.shape))
    return chunk.xp.reshape(total, shape), 0.0


def _elementwise(chunk: Inputs, plan: Plan, name: str, value: Any) -> Any:
    """Divide by what is known, and round; nothing of a loss that went into the sums."""
    if name == "loss" and plan.summing:
        return None
    if plan.counting or not plan.reduced:
        return value
    if plan.divisor is not None:
        value /= plan.divisor  # its own array, fresh from the formula
    return settled(chunk.xp, value, plan.settled)


def picked(index: int, part: tuple[Any, ...]) -> Any:
    """Return what a task has evaluated under an index."""
    return part[index]


def sums_of(part: tuple[Any, ...], axis: Any, keepdims: bool) -> Sums:
    """Return a task's sums, as the leaf of a tree."""
    sums: Sums = part[0]
    return sums


def added(parts: Any, axis: Any, keepdims: bool) -> Sums:
    """Add sums, keeping what rounds away, so that the shape of the tree does not matter."""
    return tuple(map(_sum, zip(*_leaves(parts), strict=True)))


def _leaves(parts: Any) -> Iterator[Sums]:
    if isinstance(parts, list):
        for part in parts:
            yield from _leaves(part)
    else:
        yield parts


def _sum(terms: Iterable[Sum]) -> Sum:
    (high, low), *rest = terms
    with quiet(array_namespace(high)):
        for term, lost in rest:
            high, rounded_away = two_sum(high, term)
            low = low + lost + rounded_away
    return high, low


def finished(plan: Plan, sums: Sums) -> Any:
    """Return the loss at the root of the tree."""
    xp = array_namespace(sums[0][0])
    with quiet(xp):
        divisor = compensated(xp, *sums[1]) if plan.counting else plan.divisor
        loss = compensated(xp, *sums[0])
        return settled(xp, loss if divisor is None else loss / divisor, plan.inputs.dtype)


def shared(plan: Plan, index: int, part: tuple[Any, ...], sums: Sums, where: Any = None) -> Any:
    """Return a chunk's derivative divided by what was counted at the root of the tree."""
    xp = array_namespace(part[index])
    with quiet(xp):
        value = divided(xp, part[index], compensated(xp, *sums[-1]), plan.inputs.work)
        chunk = plan.inputs._replace(xp=xp, where=where)
        return settled(xp, masked(chunk, value), plan.settled)
