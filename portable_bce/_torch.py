"""PyTorch: the gradient from the pass that computes the loss, in blocks on the CPU.

Operation by operation, autograd keeps every intermediate result and travels them all again
backwards: on the CPU that takes five times as long as the native loss, and compiled up to
three times. Whatever else PyTorch can do with a function (map, trace, push forward,
differentiate twice) it does with the plain operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.forward_ad import unpack_dual

from portable_bce import _plain
from portable_bce._cuts import Cut, cuts, in_terms, known, logarithms
from portable_bce._inputs import Inputs
from portable_bce._plain import Formula, divided, divisor_of, element_dtypes, masked, operands
from portable_bce._reduce import Reduction, Total

# Of one operand in the working dtype, for each thread.
BLOCK_BYTES = 2**19
# Odds from which a product of halves costs less than the logarithms that it spares.
_WORTHWHILE = 2**16


def evaluate(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns, to what a block's length changes in exp."""
    tensors = inputs.arrays()
    tracked = [name for name, one in tensors.items() if one.requires_grad]
    evaluated = _plain.evaluate
    if torch.compiler.is_compiling() or _unwatched(tensors):
        if not torch.is_grad_enabled() or not tracked:
            evaluated = _unrecorded(inputs, reduction)
        elif wanted == ("loss",) and tracked == ["x"]:
            return (_Loss.apply(inputs.x, formula, inputs, reduction, total),)
    return evaluated(formula, inputs, reduction, wanted, rounded, total)


def _unwatched(tensors: dict[str, torch.Tensor]) -> bool:
    """Tell whether these are tensors of PyTorch itself, and only autograd looks on."""
    return not (
        torch.jit.is_tracing()
        # Not public; torch.autograd.Function and torch.utils ask them themselves.
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
    ) and all(
        type(one) in (torch.Tensor, torch.nn.Parameter)
        and one.layout == torch.strided
        and unpack_dual(one).tangent is None
        for one in tensors.values()
    )


class _Loss(torch.autograd.Function):  # type: ignore[misc]
    """The loss as a function of the logits, whose gradient is known with it."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, formula: Formula, inputs: Inputs, reduction: Reduction, total: Total
    ) -> Any:
        inputs = inputs._replace(x=x)
        evaluated = _unrecorded(inputs, reduction)
        loss, slope = evaluated(formula, inputs, reduction, ("loss", "grad"), False, total)
        tensors = inputs.arrays()
        ctx.save_for_backward(slope, *tensors.values())
        ctx.names, ctx.bare = tuple(tensors), inputs.mapped(lambda _: None)
        ctx.rest = formula, reduction, total
        return loss

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        slope, *tensors = ctx.saved_tensors
        inputs = ctx.bare._replace(**dict(zip(ctx.names, tensors, strict=True)))
        formula, reduction, total = ctx.rest
        twice = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if twice:  # the gradient will be differentiated itself
            (slope,) = _plain.evaluate(formula, inputs, reduction, ("grad",), False, total)
        elif _is_last(cotangent):
            return slope.to(inputs.dtype), None, None, None, None
        for axis in reduction.axes:
            cotangent = cotangent.unsqueeze(axis)
        product = masked(inputs, cotangent.to(inputs.work) * slope)
        return product.to(inputs.dtype), None, None, None, None


def _is_last(cotangent: torch.Tensor) -> bool:
    """Tell whether this is loss.backward(): times 1, and the saved gradient is not used again.

    Memory for a product costs more than the look, 2 ns an element at 10^7.
    """
    return (
        not torch.compiler.is_compiling()
        and _unwatched({"cotangent": cotangent})
        and not torch._C._autograd._get_current_graph_task_keep_graph()  # AOTAutograd asks it
        and cotangent.device.type == "cpu"
        and not cotangent.ndim
        and cotangent.item() == 1
    )


def _unrecorded(inputs: Inputs, reduction: Reduction) -> Callable[..., tuple[Any, ...]]:
    """Return what evaluates without a graph: in blocks if that is for us to do, and pays."""
    one = reduction.name == "none" or len(reduction.axes) == inputs.x.ndim
    eager = inputs.x.device.type == "cpu" and not torch.compiler.is_compiling()
    return _in_blocks if one and eager else _plain.evaluate


@torch.no_grad()  # type: ignore[untyped-decorator]
def _in_blocks(
    formula: Formula,
    inputs: Inputs,
    reduction: Reduction,
    wanted: tuple[str, ...],
    rounded: bool,
    total: Total,
) -> tuple[Any, ...]:
    """Return what `_plain.evaluate` returns."""
    x, work = inputs.x, inputs.work
    size = BLOCK_BYTES * torch.get_num_threads() // work.itemsize
    whole = x.numel() <= size
    if not whole:
        inputs = inputs.mapped(lambda one: one.expand(x.shape))
    divisor = divisor_of(inputs, reduction, total)
    summed = "loss" in wanted and reduction.name != "none"
    apart = summed and x.numel() >= _WORTHWHILE
    asked = in_terms(formula, inputs, wanted) if apart else wanted
    if isinstance(divisor, torch.Tensor):
        divisor = divisor.reshape(())
    dtypes = element_dtypes(inputs, reduction, wanted, rounded)
    sums: list[torch.Tensor] = []

    def block(part: Inputs) -> list[Any]:
        found: list[Any] = []
        values = _values(formula, part, asked)
        for name, value, dtype in zip(asked, values, dtypes, strict=True):
            if summed and name in ("loss", "terms"):
                sums.extend(_sums(part, value))
                found.append(None)
            else:
                shared = value if name == "loss" else divided(part.xp, value, divisor, work)
                found.append(masked(part, shared).to(dtype))
        return found

    if whole:
        results = block(inputs)
    else:
        results = [
            None if summed and name == "loss" else torch.empty_like(x, dtype=dtype)
            for name, dtype in zip(wanted, dtypes, strict=True)
        ]
        for cut in cuts(x.shape, x.stride(), size):
            for result, value in zip(results, block(_part(inputs, cut)), strict=True):
                if value is not None:
                    result[cut] = value
    if summed:
        whole_sum = sums[0] if len(sums) == 1 else torch.stack(sums).sum()
        loss = divided(inputs.xp, whole_sum, divisor, whole_sum.dtype)
        results[wanted.index("loss")] = loss.to(inputs.dtype)
    return tuple(results)


def _values(formula: Formula, part: Inputs, asked: tuple[str, ...]) -> tuple[Any, ...]:
    x, y, w, p = operands(part)
    told = known(formula, asked, lambda: math.isfinite(x.sum().item()))
    return formula(part.xp, asked, x, y, w, p, part.label_smoothing, **told)


def _sums(part: Inputs, value: Any) -> list[torch.Tensor]:
    """Return what a block's losses add up to, or their parts x d and log1p(e)."""
    if isinstance(value, tuple):
        along, odds = value
        flat = masked(part, odds).reshape(-1)
        terms = [masked(part, along), *logarithms(torch, flat, _WORTHWHILE)]
    else:
        terms = [masked(part, value)]
    return [one.sum(dtype=torch.float64) for one in terms]


def _part(inputs: Inputs, cut: Cut) -> Inputs:
    return inputs.mapped(lambda one: one[cut])
