"""CuPy: the formula and all that is done around it, in one kernel.

Operation by operation, CuPy launches some twenty kernels, each of which fills an array. Here
a job becomes one kernel, in four steps:

1. `described` keeps what a kernel depends on: a dtype in place of each array, the type float
   in place of each number. Kernels are cached by this description.
2. `body_of` calls the functions of the plain row with symbols in place of arrays
   (`portable_bce._runners.trace`). So casts, masks, the formula, the division by the
   denominator and the rounding are recorded as they would have been computed.
3. The operations are printed as CUDA, a line for each, in the compute dtype. Operations on
   numbers alone are not printed: Python computes them, and the kernel takes their results.
4. The lines become the body of CuPy's public `ElementwiseKernel`, which broadcasts, reads
   each array once, in its own dtype and layout, and writes the outputs.

A loss that is only summed need not be written to memory and read again: a mean and its
gradient move 12 bytes per element of float32 in place of 20. So if all losses are summed to
one number, the same lines become the body of a loop. Each thread sums every n-th loss, each
block sums its threads in pairs, and a second launch sums the blocks, if there are several.
Sums along some axes are CuPy's own.

`source` returns the text of a kernel, for which it needs no device.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from portable_bce._arguments import OPERANDS, Arguments
from portable_bce._job import Job
from portable_bce._reduction import Reduction, library_total
from portable_bce._runners import plain
from portable_bce._runners.plain import Plain
from portable_bce._runners.trace import Namespace, Number, Operation, Symbol, Trace, assigned

THREADS = 512  # of a block; a power of two
# Enough to keep any device busy, few enough that their sums take no time compared with the losses.
BLOCKS = 8192
# Up to this number of elements one block sums alone, which saves the second launch.
ALONE = 8 * THREADS
# The number of descriptions in the cache; a training needs two or three.
KERNELS = 256

INPUTS = (*OPERANDS, "label_smoothing", "eps")
C_TYPES = {"float16": "float16", "float32": "float", "float64": "double", "bool": "bool"}
OPERATORS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "logical_and": "&&",
    "logical_or": "||", "greater_equal": ">=", "less_equal": "<=", "greater": ">", "less": "<",
    "equal": "==", "not_equal": "!=",
}  # fmt: skip

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
  // What an infinite sum lost is NaN.
  __device__ double value() const { return isinf(head) ? head : head + lost; }
};
"""
LOOP = """
for (ptrdiff_t j = i; j < length; j += _ind.size()) {{
  {body}
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
  if (gridDim.x == 1) total[0] = static_cast<T>(sums[0].value() / {denominator});
  else partial[blockIdx.x] = sums[0].value();
}}
"""


class CuPy:
    """The row of CuPy: a job that no kernel can be made for takes the plain row."""

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return what the plain row returns."""
        if not has_kernels(job.arguments):
            return Plain(library_total).evaluate(job)
        job = plain.widened(job)
        divisor = self.divisor_of(job)
        with np.errstate(over="ignore"):  # a number beyond the compute dtype is infinite
            if reduces_to_one(job):
                return _summed(job, divisor)
            values = _elementwise(job, divisor)
        return tuple(
            plain.reduced(job, value, divisor, library_total) if name == "loss" else value
            for name, value in zip(job.outputs, values, strict=True)
        )

    def divisor_of(self, job: Job) -> Any:
        """Return what a sum is divided by, counted in the same way as losses are summed."""
        if not counts(job):
            return plain.divisor_of(job, library_total)
        xp, shape, axes = job.arguments.xp, job.arguments.x.shape, job.reduction.axes
        (count,) = self.evaluate(plain.counting(job, xp.float64))
        return xp.reshape(count, tuple(1 if axis in axes else n for axis, n in enumerate(shape)))


RUNNER = CuPy()


def has_kernels(given: Arguments) -> bool:
    """Tell whether the library makes kernels, and they cast all dtypes: not bfloat16."""
    dtypes = [given.compute_dtype, *(array.dtype for array in given.arrays().values())]
    is_known = all(np.dtype(dtype).kind in "biuf" for dtype in dtypes)
    return is_known and hasattr(given.xp, "ElementwiseKernel")


def reduces_to_one(job: Job) -> bool:
    """Tell whether there are losses and all of them are summed to one number."""
    return job.sums_loss and job.reduces_all and job.arguments.x.size > 0


def counts(job: Job) -> bool:
    """Tell whether the denominator has to be counted first."""
    return job.is_counted and job.denominator is None


def source(job: Job) -> str:
    """Return the text of the kernel for a job on arrays of CuPy or, without a device, NumPy."""
    divisor = np.empty(()) if counts(job) else plain.divisor_of(job, library_total)
    body = body_of(*described(job, divisor))
    return str(body.summing(single(job)) if reduces_to_one(job) else body.elementwise())


def described(job: Job, divisor: Any) -> tuple[Job, Any]:
    """Return a job and its divisor with dtypes in place of arrays, float in place of numbers."""

    def kind(value: Any) -> Any:
        if value is None:
            return None
        return float if isinstance(value, float) else value.dtype

    given = job.arguments
    kinds = given._replace(
        **{name: kind(getattr(given, name)) for name in (*OPERANDS, "eps")},
        xp=None,
        label_smoothing=kind(given.label_smoothing or None),
        result_dtype=np.dtype(given.result_dtype),
        compute_dtype=np.dtype(given.compute_dtype),
        device=None,
    )
    reduction = Reduction("sum" if job.sums_loss else "none", ())
    waiting = None if job.waiting is None else np.dtype(job.waiting)
    job = job._replace(arguments=kinds, reduction=reduction, waiting=waiting, denominator=None)
    return job, kind(divisor)


def single(job: Job) -> frozenset[str]:
    """Return the names of arrays of one element, as the divisor of a sum to one number is."""
    arrays = job.arguments.arrays().items()
    return frozenset({"divisor", *(name for name, array in arrays if array.size == 1)})


class Text(NamedTuple):
    """The arguments of `cupy.ElementwiseKernel`."""

    name: str
    in_params: str
    out_params: str
    operation: str
    preamble: str = ""
    loop_prep: str = ""
    after_loop: str = ""

    def __str__(self) -> str:
        code = (self.preamble, self.loop_prep, self.operation, self.after_loop)
        head = f"// {self.name}: {self.in_params} -> {self.out_params}"
        return "\n".join([head, *(part.strip("\n") for part in code if part)])

    def compiled(self, xp: Any) -> Any:
        """Return a kernel, which CuPy compiles when it is called first."""
        return xp.ElementwiseKernel(**self._asdict(), return_tuple=True)


class Body(NamedTuple):
    """The lines of a kernel, and what they read and assign.

    ``arrays`` and ``numbers`` have the dtype of each input by its name, ``outputs`` the name
    of the value and the dtype of each output. A denominator that was counted is an array.
    """

    trace: Trace
    arrays: dict[str, str]
    numbers: dict[str, str]
    lines: list[str]
    outputs: dict[str, tuple[str, str]]
    is_counted: bool

    def inputs(self, job: Job, divisor: Any) -> dict[str, Any]:
        """Return the arrays and numbers of a job, in the order of a kernel's parameters."""
        given = {name: getattr(job.arguments, name) for name in INPUTS}
        values = assigned(self.trace.numbers, None, {**given, "divisor": divisor})
        return {name: values[name] for name in (*self.arrays, *self.numbers)}

    def elementwise(self) -> Text:
        """Return the kernel that writes each output of each element."""
        inputs = {**self.arrays, **self.numbers}
        return Text(
            "binary_cross_entropy",
            ", ".join(f"{dtype} {name}" for name, dtype in inputs.items()),
            ", ".join(f"{dtype} {name}" for name, (_, dtype) in self.outputs.items()),
            "\n".join(
                [*self.lines, *(f"{name} = {value};" for name, (value, _) in self.outputs.items())]
            ),
        )

    def summing(self, single: frozenset[str]) -> Text:
        """Return the kernel that writes derivatives and sums losses.

        All elements share the arrays in ``single``.
        """
        outputs = self.outputs.copy()
        term, _ = outputs.pop("loss")
        places = {name: 0 if name in single else "j" for name in self.arrays}
        return summing_text(
            [
                *(f"raw {dtype} {name}_" for name, dtype in self.arrays.items()),
                *(f"{dtype} {name}" for name, dtype in self.numbers.items()),
            ],
            [f"raw {dtype} {name}" for name, (_, dtype) in outputs.items()],
            [
                *(f"const auto &{name} = {name}_[{place}];" for name, place in places.items()),
                *self.lines,
                *(f"{name}[j] = {value};" for name, (value, _) in outputs.items()),
            ],
            term,
            self.is_counted,
        )


def summing_text(
    inputs: list[str], outputs: list[str], lines: list[str], term: str, is_counted: bool
) -> Text:
    """Return the kernel that sums a term in each block, and divides if there is one block."""
    raw, place = ("raw ", "[0]") if is_counted else ("", "")
    return Text(
        "binary_cross_entropy_sum",
        ", ".join([*inputs, "int64 length", f"{raw}float64 denominator"]),
        ", ".join([*outputs, "raw float64 partial", "raw T total"]),
        LOOP.format(body="\n  ".join(lines), term=term),
        SUM,
        "Sum sum = {0, 0};",
        FINISH.format(threads=THREADS, denominator=f"denominator{place}"),
    )


@lru_cache(maxsize=KERNELS)
def body_of(job: Job, divisor: Any) -> Body:
    """Trace the plain row for a description, and print the operations as CUDA."""
    trace = Trace(options=("label_smoothing",))
    given = job.arguments
    kinds = {name: getattr(given, name) for name in INPUTS} | {"divisor": divisor}
    symbols: dict[str, Any] = {
        name: Number(trace, name, "number", None)
        if kind is float
        else Symbol(trace, name, "bool" if kind == np.bool_ else "number", kind)
        for name, kind in kinds.items()
        if kind is not None
    }
    given = given._replace(
        xp=Namespace(trace, np.finfo),
        label_smoothing=symbols.get("label_smoothing", 0.0),
        **{name: symbols.get(name) for name in (*OPERANDS, "eps")},
    )
    symbolic = job._replace(arguments=given)
    values = plain.elements(symbolic, plain.operands(given), symbols.get("divisor"))
    trace.outputs = tuple(value.name for value in values)
    trace.drop_unused()
    compute_dtype = given.compute_dtype.name
    operations = trace.operations.items()
    read = {"x", *(argument for _, one in operations for argument in one.arguments)}
    return Body(
        trace,
        {name: kinds[name].name for name in symbols if name in read and kinds[name] is not float},
        {name: compute_dtype for name in symbols if name in read and kinds[name] is float}
        | {
            name: "bool" if operation.kind == "bool" else compute_dtype
            for name, operation in trace.numbers.items()
            if name in read
        },
        [printed(name, operation, compute_dtype) for name, operation in operations],
        {
            name: (value.name, value.dtype.name)
            for name, value in zip(job.outputs, values, strict=True)
        },
        isinstance(divisor, np.dtype),
    )


def printed(name: str, operation: Operation, compute_dtype: str) -> str:
    """Return the statement of an operation."""

    def argument(value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, np.dtype):
            return C_TYPES[value.name]
        if isinstance(value, bool):
            return str(value).lower()
        # A literal without its suffix would make the compiler compute in double.
        return f"{float(value)!r}{'f' if compute_dtype == 'float32' else ''}"

    function, arguments, kind = operation
    first, *others = map(argument, arguments)
    ctype = "bool" if kind == "bool" else C_TYPES[compute_dtype]
    if function in OPERATORS:
        expression = f"{first} {OPERATORS[function]} {others[0]}"
    elif function == "where":
        expression = f"{first} ? {others[0]} : {others[1]}"
    elif function == "astype":
        ctype, expression = others[0], f"static_cast<{others[0]}>({first})"
    else:
        expression = f"-{first}" if function == "negative" else f"{function}({first})"
    return f"const {ctype} {name} = {expression};"


@lru_cache(maxsize=KERNELS)
def kernel_of(xp: Any, job: Job, divisor: Any, single: frozenset[str] | None) -> Any:
    """Return the kernel for a description: elementwise if ``single`` is None."""
    body = body_of(job, divisor)
    return (body.elementwise() if single is None else body.summing(single)).compiled(xp)


@lru_cache(maxsize=KERNELS)
def last_kernel(xp: Any, is_counted: bool) -> Any:
    """Return the kernel that sums the sums of blocks."""
    lines = ["const double term = terms[j];"]
    return summing_text(["raw float64 terms"], [], lines, "term", is_counted).compiled(xp)


def _elementwise(job: Job, divisor: Any) -> tuple[Any, ...]:
    """Return each output of each element; losses to be summed are not rounded yet."""
    description = described(job, divisor)
    inputs = body_of(*description).inputs(job, divisor)
    values: tuple[Any, ...] = kernel_of(job.arguments.xp, *description, None)(*inputs.values())
    return values


def _summed(job: Job, divisor: Any) -> tuple[Any, ...]:
    """Return derivatives of each element, and one loss: summed, divided, rounded once."""
    xp, x = job.arguments.xp, job.arguments.x
    description, shared = described(job, divisor), single(job)
    body = body_of(*description)
    inputs = body.inputs(job, divisor)
    for name in body.arrays.keys() - shared:
        if inputs[name].shape != x.shape:
            inputs[name] = xp.broadcast_to(inputs[name], x.shape)
    derivatives = {
        name: xp.empty(x.shape, dtype=dtype)
        for name, (_, dtype) in body.outputs.items()
        if name != "loss"
    }
    blocks = 1 if x.size <= ALONE else min(-(-x.size // THREADS), BLOCKS)
    partial = xp.empty(blocks, dtype=xp.float64)
    total = xp.empty(1, dtype=job.arguments.result_dtype)
    share = 1.0 if divisor is None else divisor
    arguments = (*inputs.values(), x.size, share, *derivatives.values(), partial, total)
    kernel = kernel_of(xp, *description, shared)
    kernel(*arguments, size=blocks * THREADS, block_size=THREADS)
    if blocks > 1:
        last = last_kernel(xp, body.is_counted)
        last(partial, blocks, share, partial, total, size=THREADS, block_size=THREADS)
    results = {"loss": xp.reshape(total, ()), **derivatives}
    return tuple(results[name] for name in job.outputs)
