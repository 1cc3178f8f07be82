"""CuPy: the losses summed in the kernel that computes them.

A loss that is only summed need not be written to memory and read again: a mean and its
gradient move 12 bytes an element of float32 in place of 20.

`cupy.fuse` cannot do it. A sum beside an elementwise output takes its second fuser, which
keeps what lies between in memory all the same, on no more threads than one multiprocessor
holds (cupy#9008). So the operation that it traced from the formula is put inside a loop that
sums, in a kernel of the same public kind, `cupy.ElementwiseKernel`. Each thread sums every
n-th loss, each block its threads in pairs, and a second launch the blocks, if there are
several.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from portable_bce._inputs import Inputs
from portable_bce._reduction import Reduction

THREADS = 512  # of a block; a power of two
# Enough to keep any device busy, few enough that their sums are nothing beside the losses.
BLOCKS = 8192
# Up to so many elements one block sums them all, which spares the second launch.
ALONE = 8 * THREADS
# Configurations kept; a training needs two or three.
KERNELS = 256

SUM = """
// A sum and what its roundings lost (Neumaier 1974, with Knuth's two-sum).
struct Sum {
  double head, lost;
  __device__ void add(float term) { head += term; }  // 29 bits to spare
  __device__ void add(double term) {
    const double sum = head + term, part = sum - head;
    lost += (head - (sum - part)) + (term - part);
    head = sum;
  }
  __device__ void add(const Sum &other) { add(other.head); lost += other.lost; }
  // Beside an infinite sum, what was lost is NaN.
  __device__ double value() const { return isinf(head) ? head : head + lost; }
};
"""
LOOP = """
for (ptrdiff_t j = i; j < count; j += _ind.size()) {{
  {operands}
  {operation}
  sum.add({term});
}}
"""
FINISH = """
__shared__ Sum sums[{threads}];
sums[threadIdx.x] = sum;
for (unsigned int half = {threads} / 2; half > 0; half /= 2) {{
  __syncthreads();
  if (threadIdx.x < half) sums[threadIdx.x].add(sums[threadIdx.x + half]);
}}
if (threadIdx.x == 0) {{
  if (gridDim.x == 1) total[0] = static_cast<T>(sums[0].value() / divisor);
  else partial[blockIdx.x] = sums[0].value();
}}
"""


class Launch(NamedTuple):
    """A kernel of `cupy.fuse` and the arguments that it was about to be launched with."""

    kernel: Any
    arguments: tuple[Any, ...]


class Operand(NamedTuple):
    """A parameter of a kernel: "number", array of "one" element, or of one for "each" loss."""

    name: str
    dtype: Any
    kind: str

    def declared(self) -> str:
        is_number = self.kind == "number"
        return f"{self.dtype} {self.name}" if is_number else f"raw {self.dtype} given_{self.name}"

    def read(self) -> str:
        """Return the statement that gives the element its name."""
        if self.kind == "number":
            return ""
        return f"const auto &{self.name} = given_{self.name}[{'j' if self.kind == 'each' else 0}];"


def is_whole(inputs: Inputs, reduction: Reduction, wanted: tuple[str, ...]) -> bool:
    """Tell whether all losses, and there are some, are summed to one number."""
    x = inputs.x
    is_summed = "loss" in wanted and reduction.name != "none"
    return is_summed and len(reduction.axes) == x.ndim and x.size > 0


def watched(xp: Any, x: Any) -> Any:
    """Return a view of an array for which CuPy does not launch a kernel but hands it over.

    By its protocol for arrays that launch kernels in their own way (CuPy 13 and later).
    """
    return x.view(_watched(xp))


@lru_cache(maxsize=KERNELS)
def _watched(xp: Any) -> Any:
    class Watched(xp.ndarray):  # type: ignore[misc]  # which base, the caller's array tells
        def __cupy_override_elementwise_kernel__(self, kernel: Any, *arguments: Any) -> Launch:
            return Launch(kernel, (self.view(xp.ndarray), *arguments[1:]))

    return Watched


def evaluate(
    launch: Launch, inputs: Inputs, wanted: tuple[str, ...], dtypes: tuple[Any, ...], divisor: Any
) -> tuple[Any, ...]:
    """Return derivatives of each element, and one loss: summed, divided, rounded once."""
    xp, shape, count = inputs.xp, inputs.x.shape, inputs.x.size
    values = [
        xp.empty(1, dtype=inputs.dtype) if name == "loss" else xp.empty(shape, dtype=dtype)
        for name, dtype in zip(wanted, dtypes, strict=True)
    ]
    place = wanted.index("loss")
    blocks = 1 if count <= ALONE else min(-(-count // THREADS), BLOCKS)
    partial = xp.empty(blocks, dtype=xp.float64)
    if divisor is None or isinstance(divisor, float):
        divisor = np.float64(1 if divisor is None else divisor)
    kinds = tuple(_kind(xp, one) for one in launch.arguments)
    arguments = (
        xp.broadcast_to(one, shape) if kind == "each" and one.shape != shape else one
        for one, kind in zip(launch.arguments, kinds, strict=True)
    )
    shares = _kind(xp, divisor)
    kernel = _beside(xp, launch.kernel, place, kinds, shares)
    results = (*values[:place], *values[place + 1 :], partial, values[place])
    kernel(*arguments, count, divisor, *results, size=blocks * THREADS, block_size=THREADS)
    if blocks > 1:
        last = _last(xp, shares)
        last(partial, blocks, divisor, partial, values[place], size=THREADS, block_size=THREADS)
    values[place] = xp.reshape(values[place], ())
    return tuple(values)


def _kind(xp: Any, value: Any) -> str:
    if not isinstance(value, xp.ndarray):
        return "number"
    return "one" if value.size == 1 else "each"


@lru_cache(maxsize=KERNELS)
def _beside(xp: Any, kernel: Any, place: int, kinds: tuple[str, ...], shares: str) -> Any:
    """Return the kernel of `cupy.fuse`, whose result at ``place`` is summed, not written."""
    operands = tuple(
        Operand(one.name, one.dtype, kind)
        for one, kind in zip(kernel.in_params, kinds, strict=True)
    )
    results = [*kernel.out_params]
    loss = results.pop(place)
    written = "".join(f"auto &{one.name} = given_{one.name}[j];" for one in results)
    operation = f"{loss.ctype} {loss.name}; {written}\n{kernel.operation}"
    outputs = tuple(f"raw {one.dtype} given_{one.name}" for one in results)
    return _summing(xp, operands, outputs, operation, loss.name, shares, kernel.preamble)


@lru_cache(maxsize=KERNELS)
def _last(xp: Any, shares: str) -> Any:
    """Return the kernel that sums the sums of blocks."""
    return _summing(xp, (Operand("term", "float64", "each"),), (), "", "term", shares)


def _summing(
    xp: Any,
    operands: tuple[Operand, ...],
    outputs: tuple[str, ...],
    operation: str,
    term: str,
    shares: str,
    preamble: str = "",
) -> Any:
    divisor = Operand("divisor", "float64", shares)
    given = (*(one.declared() for one in operands), "int64 count", divisor.declared())
    reads = "\n".join(one.read() for one in operands)
    return xp.ElementwiseKernel(
        ", ".join(given),
        ", ".join((*outputs, "raw float64 partial", "raw T total")),
        LOOP.format(operands=reads, operation=operation, term=term),
        name="binary_cross_entropy_sum",
        preamble=preamble + SUM,
        loop_prep=f"Sum sum = {{0, 0}}; {divisor.read()}",
        after_loop=FINISH.format(threads=THREADS),
        no_return=True,
    )
