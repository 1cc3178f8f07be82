"""PyTorch: one node of autograd, around the compiled kernels on the CPU.

Operation by operation, autograd keeps every intermediate result and visits each of them again
on the way back. The node computes the gradient in the pass that computes the loss, and saves
that alone. Whatever else PyTorch does with a function (map it, trace it, push tangents forward,
differentiate it twice) is done with the plain operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch.autograd import forward_ad

from portable_bce import _kernels
from portable_bce._arguments import Arguments
from portable_bce._formula import cotangent_product
from portable_bce._job import Job
from portable_bce._reduction import Reduction, library_total
from portable_bce._runners.numpy import RESULT, call, divisor_for
from portable_bce._runners.plain import Plain, masked

if TYPE_CHECKING:
    from portable_bce._kernels._compiled import Level

if not hasattr(torch._C.DispatchKeySet, "raw_repr"):  # which PyTorch 2.5 brought
    raise ImportError(
        f"portable_bce needs PyTorch 2.5 or newer; got {torch.__version__}. Use "
        '`pip install --upgrade "portable-bce[torch]"`'
    )

_PLAIN = Plain(library_total)
_TYPES = (torch.Tensor, torch.nn.Parameter)
_COMPUTED = (torch.float32, torch.float64)
# How NumPy names the dtypes that kernels read. They take bfloat16 by its bits.
_DTYPES = {
    getattr(torch, name): np.dtype(name if name != "bfloat16" else "uint16")
    for name in (
        *("float16", "bfloat16", "float32", "float64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
    if hasattr(torch, name)  # PyTorch 2.3 brought the wider unsigned integers
}
_FORMATS = {dtype: (known.str, known.itemsize) for dtype, known in _DTYPES.items()}
# About half a millisecond of one thread's work, below which starting another does not pay.
_FEW = 2**17
_MOST_DIMENSIONS = 32  # of an array before NumPy 2


def _keys(*names: str) -> int:
    """Return the dispatch keys of a tensor as one number."""
    raw = 0
    for name in names:
        key = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, name))
        raw |= key.raw_repr()
    return raw


# The keys of a tensor whose elements lie in memory as it says: with autograd, and in inference
# mode. Every other kind of tensor (on a device, sparse, nested, negated lazily, known to be
# zero, without values, wrapped by a transform or a batch) has more keys, or others.
_ORDINARY = frozenset(
    [
        _keys("CPU", "AutocastCPU"),
        _keys("CPU", "AutocastCPU", "ADInplaceOrView", "AutogradCPU"),
    ]
)
# PyTorch's functions that are asked in each call. None of these is public, but
# torch.autograd.Function and torch.utils ask them themselves.
_keys_of = torch._C._dispatch_keys
_are_transforms_active = torch._C._are_functorch_transforms_active
_len_dispatch_stack = torch._C._len_torch_dispatch_stack
_tracing_state = torch._C._get_tracing_state


def _is_watched() -> bool:
    """Tell whether more than autograd has to see the operations."""
    return bool(
        _are_transforms_active()
        or _len_dispatch_stack()
        or _tracing_state()
        or forward_ad._current_level >= 0
    )


def _lies_in_memory(tensor: Any) -> bool:
    """Tell whether a tensor's elements may be read and written at their addresses."""
    return type(tensor) in _TYPES and _keys_of(tensor).raw_repr() in _ORDINARY


def _is_own(operand: Any) -> bool:
    """Tell whether an operand is a number, or a tensor of PyTorch itself, on any device."""
    is_tensor = type(operand) in _TYPES and operand.layout == torch.strided
    return is_tensor or operand is None or type(operand) is float


class _Memory:
    """Memory of a tensor, as NumPy reads it.

    ``Tensor.numpy`` would mark the storage as one that can never be resized.
    """

    __slots__ = ("__array_interface__", "tensor")

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor  # NumPy's array keeps this object, and so the memory
        typestr, size = _FORMATS[tensor.dtype]
        self.__array_interface__ = {
            "data": (tensor.data_ptr(), False),
            "shape": tensor.shape,
            "typestr": typestr,
            "version": 3,
        }
        if not tensor.is_contiguous():
            strides = tuple([size * step for step in tensor.stride()])
            self.__array_interface__["strides"] = strides


# Operands or results as NumPy's arrays, and which of them hold bfloat16, one bit each.
_Views: TypeAlias = tuple[tuple[Any, ...], int]


def _views(operands: tuple[Any, ...]) -> _Views | None:
    """Return views of tensors; None if kernels cannot read one of these."""
    bits = 0
    views: list[Any] = []
    for place, operand in enumerate(operands):
        if operand is None or type(operand) is float:
            views.append(operand)
        elif (
            type(operand) in _TYPES
            and _keys_of(operand).raw_repr() in _ORDINARY
            and (dtype := operand.dtype) in _FORMATS
        ):
            views.append(np.asarray(_Memory(operand)))
            if dtype is torch.bfloat16:
                bits |= 1 << place
        else:
            return None
    return tuple(views), bits


class Torch:
    """The row of PyTorch's tensors; without a level every operation is PyTorch's."""

    def __init__(self, level: Level | None) -> None:
        self._level = level

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return one tensor for each output of the job."""
        given = job.arguments
        views = None
        if not torch.compiler.is_compiling():
            if _is_watched():
                return _PLAIN.evaluate(job)
            views = self.views(given)
            if views is None and not all(map(_is_own, _operands(given))):
                return _PLAIN.evaluate(job)
        if torch.is_grad_enabled():
            for operand in (given.targets, given.weight, given.pos_weight):
                if operand is not None and type(operand) is not float and operand.requires_grad:
                    return _PLAIN.evaluate(job)
            if given.x.requires_grad:
                # The node knows the gradient of a loss, and not that of a pullback's product.
                if job.outputs != ("loss",) or job.formula is cotangent_product:
                    return _PLAIN.evaluate(job)
                apply = _Loss.apply if views is None else _apply
                return (apply(given.x, job, views),)
        return self.values(job, views)

    def views(self, given: Arguments) -> _Views | None:
        """Return views of the operands; None where kernels do not serve."""
        if (
            self._level is None
            or given.compute_dtype not in _COMPUTED
            or given.x.ndim > _MOST_DIMENSIONS
        ):
            return None
        return _views(_operands(given))

    def values(self, job: Job, views: _Views | None) -> tuple[Any, ...]:
        """Return one tensor for each output of the job, without a graph."""
        if views is None or self._level is None:
            return _PLAIN.evaluate(job)
        x = job.arguments.x
        threads = torch.get_num_threads() if x.numel() >= _FEW else 1
        operands, bits = views
        results, filled = _empties(job)
        if job.arguments.result_dtype is torch.bfloat16:
            bits |= 3 << RESULT  # of results that are integers to NumPy; another is what it is
        divisor = divisor_for(self._level, job, operands, bits, threads)
        call(self._level, job, operands, divisor, filled, bits, threads)
        return tuple(results)


def _operands(given: Arguments) -> tuple[Any, ...]:
    return given.x, given.targets, given.weight, given.pos_weight, given.where


def _empties(job: Job) -> tuple[list[torch.Tensor], list[Any]]:
    """Return a tensor for each output, and views of them; elementwise ones lie as the logits do."""
    given, (name, axes), outputs = job.arguments, job.reduction, job.outputs
    x, dtype = given.x, given.result_dtype
    results, filled = [], []
    if outputs[0] == "loss" and name != "none":
        if len(axes) == x.ndim:  # one number: NumPy's memory costs a third of PyTorch's
            total = np.empty((), _DTYPES[dtype])
            filled.append(total)
            loss = torch.from_numpy(total)
            results.append(loss.view(dtype) if dtype is torch.bfloat16 else loss)
        else:
            kept = [n for axis, n in enumerate(x.shape) if axis not in axes]
            results.append(x.new_empty(kept, dtype=dtype))
            filled.append(np.asarray(_Memory(results[0])))
        outputs = outputs[1:]
    for output in outputs:
        if output != "loss":
            dtype = job.derivative_dtype
        result = torch.empty_like(x) if dtype is x.dtype else torch.empty_like(x, dtype=dtype)
        results.append(result)
        filled.append(np.asarray(_Memory(result)))
    return results, filled


class _Loss(torch.autograd.Function):  # type: ignore[misc]
    """The loss as a function of the logits, whose gradient is known with it."""

    @staticmethod
    def forward(ctx: Any, x: Any, job: Job, views: _Views | None) -> Any:
        given = job.arguments
        if views is None:  # as PyTorch's compiler passes x
            given = given._replace(x=x)
        waiting = given.compute_dtype
        both = Job(job.formula, given, job.reduction, ("loss", "grad"), waiting, job.denominator)
        loss, slope = RUNNER.values(both, views)
        # PyTorch keeps the tensors: it counts their changes, and frees them after the last use.
        xp, _, y, w, p, mask, *settings = given
        ctx.save_for_backward(
            slope,
            given.x,
            None if type(y) is float else y,
            None if type(w) is float else w,
            None if type(p) is float else p,
            mask,
        )
        bare = Arguments(
            xp,
            None,
            y if type(y) is float else None,
            w if type(w) is float else None,
            p if type(p) is float else None,
            None,
            *settings,
        )
        ctx.job = Job(job.formula, bare, job.reduction, ("grad",), waiting, job.denominator)
        return loss

    @staticmethod
    def backward(ctx: Any, cotangent: Any) -> Any:
        slope, x, y, w, p, mask = ctx.saved_tensors
        job: Job = ctx.job
        is_compiling = torch.compiler.is_compiling()
        is_twice = torch.is_grad_enabled() and not is_compiling
        can_read = not (is_twice or is_compiling or _is_watched()) and _lies_in_memory(cotangent)
        if can_read and _is_last() and _is_one(cotangent):
            dtype = job.arguments.result_dtype
            return (slope if slope.dtype == dtype else slope.to(dtype)), None, None
        xp, _, y_number, w_number, p_number, _, *settings = job.arguments
        given = Arguments(
            xp,
            x,
            y_number if y is None else y,
            w_number if w is None else w,
            p_number if p is None else p,
            mask,
            *settings,
        )
        if is_twice:  # the gradient will be differentiated itself
            (slope,) = _PLAIN.evaluate(job._replace(arguments=given))
        for axis in job.reduction.axes:
            cotangent = cotangent.unsqueeze(axis)
        if can_read:
            product = _product(given, slope, cotangent)
            return RUNNER.values(product, RUNNER.views(product.arguments))[0], None, None
        product = masked(given, cotangent.to(given.compute_dtype) * slope)
        return product.to(given.result_dtype), None, None


# `_Loss.apply` without its questions about transforms, which `evaluate` has asked.
_apply = super(torch.autograd.Function, _Loss).apply


def _product(given: Arguments, slope: Any, cotangent: Any) -> Job:
    """Return the job of multiplying the slope by the cotangent, where elements are kept."""
    scaled = given._replace(
        x=slope, targets=0.0, weight=cotangent, pos_weight=None, label_smoothing=0.0, eps=None
    )
    return Job(cotangent_product, scaled, Reduction("none", ()), ("loss",))


def _is_one(cotangent: torch.Tensor) -> bool:
    """Tell whether all of the cotangent is 1, if one look is enough: a sum's is one number."""
    if cotangent.ndim:
        if any(cotangent.stride()) or not cotangent.numel():
            return False
        cotangent = cotangent.as_strided((), ())
    return bool(cotangent.item() == 1)


def _is_last() -> bool:
    """Tell whether the graph is freed now, so that nobody asks for the saved slope again.

    Memory for a product costs more than the product, 2 ns per element at 10^7.
    """
    return not torch._C._autograd._get_current_graph_task_keep_graph()  # AOTAutograd asks it


RUNNER = Torch(_kernels.levels[0] if _kernels.levels else None)
