"""The formula as it is computed: its trace, its kernel in C, and its kernel in CUDA.

Nothing is compiled or run, so no compiler and no GPU is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import array_api_compat.numpy as xp

from portable_bce import _formula
from portable_bce._arguments import check_arguments
from portable_bce._commands.machine import UnavailableError
from portable_bce._job import Job
from portable_bce._kernels import generate
from portable_bce._reduction import reduction_of
from portable_bce._runners import cupy

# What `--outputs` may name, in the order in which a kernel writes it.
OUTPUTS = ("loss", "grad", "hess", "grad_targets")


class Request(NamedTuple):
    """Which kernel to print; the names are those of `generate`."""

    formula: str
    outputs: tuple[str, ...]
    factors: str
    dtype: str
    reduction: str


def text(language: str, request: Request) -> str:
    """Return the trace or the kernel that was asked for."""
    factors = generate.FORMULAS[request.formula].factors
    if request.factors not in factors:
        known = " or ".join(f'"{one}"' for one in factors)
        raise UnavailableError(
            f'`--factors` must be {known} for {request.formula}; got "{request.factors}"'
        )
    outputs = generate.FORMULAS[request.formula].outputs
    # A trace and CUDA may have any outputs, if the formula has several.
    if request.outputs not in outputs and (language == "c" or len(outputs) == 1):
        known = " or ".join(f'"{" ".join(one)}"' for one in outputs)
        where = " in C" if len(outputs) > 1 else ""
        raise UnavailableError(
            f"`--outputs` must be {known} for {request.formula}{where}; "
            f'got "{" ".join(request.outputs)}"'
        )
    return {"c": _c, "cuda": _cuda, "trace": _trace}[language](request)


def _trace(request: Request) -> str:
    return str(generate.trace_of(request.formula, request.outputs, request.factors))


def _c(request: Request) -> str:
    precision = "double" if request.dtype == "float64" else "single"
    kernel = generate.kernel(request.formula, request.outputs, request.factors, precision)
    return f"/* Its functions are in portable_bce/_kernels/primitives.h. */\n{kernel}".rstrip()


def _cuda(request: Request) -> str:
    return cupy.source(_job(request))


def _job(request: Request) -> Job:
    """Return a job of arrays that nothing reads."""
    formula = generate.FORMULAS[request.formula]
    present = generate.FACTORS[request.factors]
    # More elements than one, or the kernel would take it for all.
    x = xp.zeros(2, dtype=request.dtype)
    operands: dict[str, Any] = {"weight": x if "w" in present else None}
    operands["pos_weight"] = x if "p" in present else None
    arguments = check_arguments(
        "logits",
        x,
        x,
        **operands,
        label_smoothing=0.1 if "u" in present else 0.0,
        eps=0.1 if "eps" in formula.options else None,
    )
    return Job(
        getattr(_formula, formula.function),
        arguments,
        reduction_of(request.reduction, None, x.ndim),
        request.outputs,
    )
