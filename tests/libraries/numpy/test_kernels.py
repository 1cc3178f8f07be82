"""What a compiled call must not do: trap, leak, depend on its caller's state, or on a layout."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from mpmath import mp

import portable_bce
from portable_bce import _contract as contract
from portable_bce import _kernels
from portable_bce._job import Runner
from portable_bce.testing import reference, ulp
from tests import rows

FUNCTIONS = ("bce_with_logits", "bce")
DTYPES = ("float16", "float32", "float64")
SIZE = 3001  # no multiple of a block, of a slice or of a vector

# Where an operation overflows, underflows, divides by zero or is invalid.
EDGES = [
    0.0, -0.0, 1e-45, -1e-45, 1e-38, 5e-324, 1e-300, 0.5, 1.0, -1.0, 88.8, -88.8, 103.9, -104.0,
    709.9, -745.2, 3e38, -3e38, 1e308, -1e308, math.inf, -math.inf, math.nan,
]  # fmt: skip


def cast(values: Any, dtype: str) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(dtype)


def everything(x: Any, y: Any, name: str = "bce_with_logits", **keywords: Any) -> list[Any]:
    """Return what each function of the library has to say."""
    by_x, by_y = getattr(portable_bce, f"{name}_vjp")(x, y, **keywords)[1](1.0)
    return [
        *getattr(portable_bce, f"{name}_value_and_grad")(x, y, **keywords),
        *getattr(portable_bce, f"{name}_grad_and_hess")(x, y, **keywords),
        *(by_x, by_y),
    ]


def bits(values: list[Any]) -> list[bytes]:
    """Return values as bytes, with one NaN for all."""
    alike = (np.where(np.isnan(one), np.asarray(np.nan, one.dtype), one) for one in values)
    return [np.ascontiguousarray(one).tobytes() for one in alike]


def problem(dtype: str = "float32", size: int = SIZE) -> tuple[Any, Any, dict[str, Any]]:
    """Return an ordinary call of every keyword."""
    rng = np.random.default_rng(5)
    x = rng.normal(0, 9, size).astype(dtype)
    keywords = {
        "weight": rng.uniform(0.5, 2, size).astype(dtype),
        "pos_weight": 1.5,
        "label_smoothing": 0.1,
        "where": rng.random(size) < 0.9,
    }
    return x, rng.random(size).astype(dtype), keywords


# Floating-point state


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_exception_leaves_a_call(numpy_row: Runner, name: str, dtype: str) -> None:
    x = cast(np.repeat(EDGES, len(EDGES)), dtype)
    weight = cast(np.abs(np.tile(EDGES, len(EDGES))), dtype)
    for keywords in (
        {},
        {"weight": weight},
        {"weight": weight, "pos_weight": weight, "label_smoothing": 0.1},
        {"weight": weight, "where": weight > 1},
        {"eps": 0.25} if name == "bce" else {"compute_dtype": np.float64},
    ):
        for y in (0.0, 1.0, cast(np.linspace(0, 1, x.size), dtype)):
            for reduction in ("none", "sum", "mean", "weighted_mean"):
                quiet = everything(x, y, name, reduction=reduction, **keywords)
                with np.errstate(all="raise"):
                    loud = everything(x, y, name, reduction=reduction, **keywords)
                assert bits(loud) == bits(quiet)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_divided_by_nothing_is_silent(numpy_row: Runner, name: str) -> None:
    with np.errstate(all="raise"):
        for x in (np.zeros(0), np.full(3, 0.5)):
            nothing = np.zeros(x.shape, dtype=bool)
            loss, *slopes = everything(x, 1.0, name, where=nothing)
            assert np.isnan(loss)
            assert all(np.all(one == 0) for one in slopes)


@contextmanager
def rounding(mode: int) -> Iterator[None]:
    """Let the processor round another way."""
    libm = ctypes.CDLL(None)
    if not hasattr(libm, "fesetround"):
        libm = ctypes.CDLL("libm.so.6")
    before = libm.fegetround()
    if libm.fesetround(mode):
        pytest.skip("this processor does not have that rounding mode")
    try:
        yield
        assert libm.fegetround() == mode, "the caller's rounding mode was changed"
    finally:
        libm.fesetround(before)


# FE_DOWNWARD, FE_UPWARD and FE_TOWARDZERO of x86 and of aarch64
MODES = {
    "x86_64": {"down": 0x400, "up": 0x800, "to zero": 0xC00},
    "aarch64": {"down": 0x800000, "up": 0x400000, "to zero": 0xC00000},
}.get(os.uname().machine if hasattr(os, "uname") else "", {})


@rows.every_level
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_rounding_mode(level: str, mode: str, dtype: str) -> None:
    x, y, keywords = problem(dtype)
    # NumPy itself rounds what a keyword's number is multiplied by; no such thing is here.
    with rows.in_use(rows.COMPILED[level]):
        wanted = bits(everything(x, y, **keywords))
        with rounding(MODES[mode]):
            got = bits(everything(x, y, **keywords))
    assert got == wanted


@rows.every_level
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_do_not_depend_on_flushing_subnormals(level: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    edge = 100.0 if dtype == "float32" else 740.0
    x = np.linspace(-edge - 3, edge, SIZE).astype(dtype)
    tiny = np.full(SIZE, np.finfo(dtype).smallest_subnormal)
    smallest = np.finfo(dtype).smallest_normal
    with rows.in_use(rows.COMPILED[level]):
        for weight in (None, tiny):
            wanted = everything(x, 0.0, weight=weight, reduction="none")
            if not torch.set_flush_denormal(True):
                pytest.skip("this processor does not flush subnormals")
            try:
                got = everything(x, 0.0, weight=weight, reduction="none")
                assert float(tiny[0]) * 1.0 == 0, "the caller's flushing was changed"
            finally:
                torch.set_flush_denormal(False)
            assert bits(got) == bits(wanted)
            assert np.any((wanted[0] > 0) & (wanted[0] < smallest))


# Threads, processes, signals


def test_eight_threads_get_the_same_bits(numpy_row: Runner) -> None:
    x, y, keywords = problem(size=50_000)
    wanted = bits(everything(x, y, **keywords))
    start = threading.Barrier(8)

    def call(_: int) -> list[bytes]:
        start.wait()
        return bits(everything(x, y, **keywords))

    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(call, range(8)):
            assert got == wanted


@rows.every_level
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_the_number_of_threads(level: str, dtype: str) -> None:
    """PyTorch's tensors are evaluated by as many threads as PyTorch has."""
    torch = pytest.importorskip("torch")
    x, y, keywords = problem(dtype, size=1_000_003)
    keywords |= {"weight": torch.asarray(keywords["weight"])}
    keywords |= {"where": torch.asarray(keywords["where"])}
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 8):
            torch.set_num_threads(count)
            results = portable_bce.bce_with_logits_value_and_grad(
                torch.asarray(x), torch.asarray(y), **keywords
            )
            found.append(bits([one.numpy() for one in results]))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def run(script: str, *, seconds: int = 60) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own, with this process's row in its table."""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=seconds, check=False
    )


HEAD = """
import os, sys, resource, signal, time
import numpy as np
import portable_bce
from portable_bce import _evaluate
from tests import rows
_evaluate._RUNNERS["numpy"] = rows.ROWS[{row!r}]
"""
EVERY = pytest.mark.parametrize("row", [one for one in rows.ROWS if one != "sliced finely"])


@EVERY
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_can_call(row: str) -> None:
    done = run(
        HEAD.format(row=row)
        + """
x = np.linspace(-9, 9, 300_000, dtype=np.float32)
wanted = portable_bce.bce_with_logits_value_and_grad(x, 1)
child = os.fork()
same = [one.tobytes() for one in portable_bce.bce_with_logits_value_and_grad(x, 1)] == [
    one.tobytes() for one in wanted
]
if child == 0:
    os._exit(0 if same else 1)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) or not same)
"""
    )
    assert done.returncode == 0, done.stderr


@EVERY
def test_ctrl_c_during_a_long_call_is_a_keyboard_interrupt(row: str) -> None:
    done = run(
        HEAD.format(row=row)
        + """
x = np.broadcast_to(np.linspace(-9, 9, 1000), (100_000, 1000))
portable_bce.bce_with_logits(x[:2], 1)
signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
try:
    portable_bce.bce_with_logits(x, 1)
except KeyboardInterrupt:
    print("interrupted")
print(float(portable_bce.bce_with_logits(np.zeros(3), 1)))
"""
    )
    assert done.stdout.split() == ["interrupted", str(math.log(2))], done.stderr


# Memory

MEBIBYTE = 2**20


@EVERY
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["float32", "int64 targets", "transposed", "every second"])
def test_resident_memory_grows_by_the_results_and_a_mebibyte(row: str, kind: str) -> None:
    """By what the system counts, which sees what tracemalloc does not."""
    done = run(
        HEAD.format(row=row)
        + f"""
def high():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

def call(n):
    x, y = np.ones((n, n), dtype=np.float32), np.ones((n, n), dtype=np.float32)
    if {kind!r} == "int64 targets":
        y = y.astype(np.int64)
    if {kind!r} == "transposed":
        x = x.T
    if {kind!r} == "every second":
        x, y = x[::2], y[::2]
    for reset in (False, True):
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")  # forget the peak
        before = high()
        results = portable_bce.bce_with_logits_value_and_grad(x, y, weight=y[:1], where=x > 0)
    return high() - before - sum(one.nbytes for one in results) - x.size

call(30)
print(call(4000))
"""
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= (MEBIBYTE if row != "sliced" else 4 * MEBIBYTE)


@EVERY
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_too_little_memory_is_a_memory_error(row: str) -> None:
    done = run(
        HEAD.format(row=row)
        + """
x = np.ones((3000, 3000))
few = portable_bce.bce_with_logits_value_and_grad(x[:5], 1)
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + x.nbytes // 2,) * 2)
for _ in range(20):
    try:
        portable_bce.bce_with_logits_value_and_grad(x, 1, weight=x[:1])
    except MemoryError as error:
        said = str(error)
    else:
        sys.exit("no error")
again = portable_bce.bce_with_logits_value_and_grad(x[:5], 1)
print(all(np.array_equal(one, other) for one, other in zip(few, again)))
"""
    )
    assert done.stdout.strip() == "True", done.stderr


@EVERY
def test_calls_and_their_errors_leave_nothing_behind(row: str) -> None:
    x, y, keywords = problem(size=40)
    y = y.astype(np.longdouble)
    results = [np.empty(0)]
    calls: list[Callable[[], Any]] = [
        lambda: portable_bce.bce_with_logits_value_and_grad(x, y, **keywords),
        lambda: portable_bce.bce_with_logits(x, x > 0, weight=x[::-1], where=x > 1),
        lambda: portable_bce.bce_with_logits(x, y[:3]),
        lambda: portable_bce.bce_with_logits(x, x.astype(complex)),
        lambda: portable_bce.bce(x, y, weight="heavy"),
        lambda: portable_bce.bce_with_logits(np.broadcast_to(x, (9, 40)), 1, axis=7),
    ]

    def all_of_them(times: int) -> None:
        for _ in range(times):
            for call in calls:
                with suppress(TypeError, ValueError):
                    results[0] = call()

    with rows.in_use(rows.ROWS[row]):
        all_of_them(20)
        held = (x, y, keywords["weight"], keywords["where"])
        counts = [sys.getrefcount(one) for one in held]
        tracemalloc.start()
        try:
            all_of_them(20)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            all_of_them(10_000 // len(calls))
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert [sys.getrefcount(one) for one in held] == counts
    assert after - before <= 24_000  # an object of 16 bytes per call would be 26,000


# Operands


def frozen(x: Any) -> Any:
    x.flags.writeable = False
    return x


def unaligned(x: Any) -> Any:
    """Return an array one byte off."""
    memory = np.zeros(x.nbytes + 1, dtype=np.uint8)[1:]
    moved = memory.view(x.dtype).reshape(x.shape)
    moved[...] = x
    assert x.itemsize == 1 or not moved.flags.aligned
    return moved


def records(x: Any) -> Any:
    """Return a field of packed records, at an odd distance."""
    table = np.zeros(x.shape, dtype=[("before", np.uint8), ("value", x.dtype)])
    table["value"] = x
    return table["value"]


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "C": lambda x: x,
    "F": np.asfortranarray,
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "every second": lambda x: np.repeat(np.repeat(x, 2, 0), 2, 1)[::2, ::2],
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "read-only": lambda x: frozen(x.copy()),
    "unaligned": unaligned,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder("S")),
    "field of records": records,
}


def grid(dtype: Any, shape: tuple[int, int] = (7, 11)) -> Any:
    """Return values that a dtype can hold."""
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return np.arange(77).reshape(shape) % 3 > 0
    if dtype.kind in "iu":
        return (np.arange(77).reshape(shape) % 2).astype(dtype)
    return np.linspace(0, 1, 77).reshape(shape).astype(np.float16).astype(dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("operand", ["logits", "targets", "weight", "pos_weight", "where"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_do_not_matter(numpy_row: Runner, operand: str, layout: str, dtype: str) -> None:
    given = {
        "logits": (17 * grid(dtype) - 9).astype(dtype),
        "targets": grid(dtype),
        "weight": grid(dtype) + 1,
        "pos_weight": grid(dtype)[:, :1] + 1,
        "where": grid(bool),
    }
    for reduction, axis in (("none", None), ("sum", 0), ("mean", 1), ("weighted_mean", None)):

        def call(given: dict[str, Any], reduction: str = reduction, axis: Any = axis) -> Any:
            rest = dict(given)
            x, y = rest.pop("logits"), rest.pop("targets")
            return everything(x, y, reduction=reduction, axis=axis, **rest)

        wanted = call(given)
        got = call(given | {operand: LAYOUTS[layout](given[operand])})
        for index, (one, other) in enumerate(zip(got, wanted, strict=True)):
            assert one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=")
            # The order of a sum is that of the memory; a sum may differ in its last bit.
            apart = 1 if index == 0 and reduction != "none" else 0
            native = one.astype(other.dtype)
            assert ulp.distance(native, other).max(initial=0) <= apart


INTEGERS = ["bool", *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64))]
FLOATS = ["float16", "float32", "float64", "longdouble"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", INTEGERS + FLOATS)
def test_dtypes_of_targets_and_weights_do_not_matter(
    numpy_row: Runner, kind: str, layout: str
) -> None:
    """Of a value that every dtype holds, none is better than another."""
    x = (17 * grid("float32") - 9).astype(np.float32)
    y = grid(kind)
    exact = y.astype(np.float32)
    laid_out = LAYOUTS[layout](y)
    assert bits(everything(x, laid_out, reduction="none")[:4]) == bits(
        everything(x, exact, reduction="none")[:4]
    )
    keywords = [{"weight": laid_out}, {"pos_weight": laid_out}, {"weight": laid_out[:1]}]
    plain: list[dict[str, Any]]
    plain = [{"weight": exact}, {"pos_weight": exact}, {"weight": exact[:1]}]
    if kind in ("float64", "longdouble"):  # a slice with such a weight is computed in float64
        plain = [one | {"compute_dtype": np.float64} for one in plain]
    for given, wanted in zip(keywords, plain, strict=True):
        for reduction in ("none", "weighted_mean"):
            got = everything(x, exact, reduction=reduction, **given)
            same = everything(x, exact, reduction=reduction, **wanted)
            assert bits(got[1:]) == bits(same[1:])


@pytest.mark.parametrize("layout", ["C", "F", "reversed", "every second"])
def test_bfloat16_is_read_as_it_is(numpy_row: Runner, layout: str) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    y = grid("float32").astype(bfloat16)
    x = (17 * grid("float32") - 9).astype(np.float32)
    exact = y.astype(np.float32)
    got = everything(x, LAYOUTS[layout](y), weight=LAYOUTS[layout](y), reduction="none")
    assert bits(got[:4]) == bits(everything(x, exact, weight=exact, reduction="none")[:4])
    own = everything(LAYOUTS[layout](x.astype(bfloat16)), exact, reduction="none")
    wide = everything(x.astype(bfloat16).astype(np.float32), exact, reduction="none")
    for one, other in zip(own[:4], wide[:4], strict=True):
        assert one.dtype == bfloat16
        # Rounded once from float32's rounding, or from more: a tie may fall either way.
        other_bits = other.astype(bfloat16).view(np.uint16).astype(int)
        assert np.abs(one.view(np.uint16).astype(int) - other_bits).max() <= 1


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1, 1, 1), (2, 1, 0, 4)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_empty_and_0_d_operands_have_their_shapes(
    numpy_row: Runner, name: str, shape: tuple[int, ...]
) -> None:
    x = np.full(shape, 0.5, dtype=np.float32)
    for keywords in ({}, {"weight": x}, {"where": x > 0}, {"pos_weight": np.asarray(2.0)}):
        results = everything(x, x, name, reduction="none", **keywords)
        assert all(one.shape == shape for one in results)
        for axis in (None, *range(len(shape))):
            total = getattr(portable_bce, name)(x, x, reduction="sum", axis=axis, **keywords)
            assert total.shape == (() if axis is None else shape[:axis] + shape[axis + 1 :])
            assert x.size or np.all(total == 0)


@pytest.mark.parametrize("where", [None, (2, 3), (3,), (2, 1)])
@pytest.mark.parametrize("weight", [None, (), (1,), (3,), (2, 1), (4, 1, 1)])
def test_broadcast_operands_are_what_they_stand_for(
    numpy_row: Runner, weight: Any, where: Any
) -> None:
    x = np.linspace(-9, 9, 24, dtype=np.float32).reshape(4, 2, 3)
    keywords: dict[str, Any] = {}
    if weight is not None:
        keywords["weight"] = np.linspace(1, 2, math.prod(weight)).reshape(weight)
    if where is not None:
        keywords["where"] = np.arange(math.prod(where)).reshape(where) % 3 > 0
    whole = {one: np.broadcast_to(values, x.shape).copy() for one, values in keywords.items()}
    for reduction in ("none", "sum", "mean", "weighted_mean"):
        for axis in (None,) if reduction == "none" else (None, 0, 1, 2, (0, 2)):
            got = everything(x, 0.25, reduction=reduction, axis=axis, **keywords)
            wanted = everything(x, 0.25, reduction=reduction, axis=axis, **whole)
            for one, other in zip(got, wanted, strict=True):
                assert ulp.distance(one, other).max(initial=0) <= 1


class Rows(np.ndarray[Any, Any]):
    """An array whose product is that of matrices, as that of numpy.matrix."""

    def __mul__(self, other: Any) -> Any:
        return np.dot(np.asarray(self), np.asarray(other))

    __rmul__ = __mul__

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("operand", ["targets", "weight", "pos_weight", "logits"])
@pytest.mark.parametrize("kind", [np.matrix, Rows])
@pytest.mark.parametrize("size", [2, 200])
def test_operators_of_a_subclass_are_not_called(
    numpy_row: Runner, kind: Any, operand: str, size: int
) -> None:
    """SciPy's `todense` gives a matrix, whose `*` would be another product."""
    x = np.linspace(-2, 3, size * size, dtype=np.float32).reshape(size, size)
    given = {"logits": x, "targets": (x > 0) + 0.0, "weight": x**2, "pos_weight": x**2 + 1}

    def call(given: dict[str, Any], reduction: str) -> Any:
        rest = dict(given)
        return everything(rest.pop("logits"), rest.pop("targets"), reduction=reduction, **rest)

    strange = given | {operand: given[operand].view(kind)}
    for reduction in ("none", "mean", "weighted_mean"):
        results = call(strange, reduction)
        assert bits(results) == bits(call(given, reduction))
        assert all(type(one) in (np.ndarray, np.float32, np.float64) for one in results)


# Weights out of the ordinary


@rows.every_level
def test_a_weight_beyond_the_range_of_the_logits_is_infinite_where_that_is_right(
    level: str,
) -> None:
    """float64 weights are read as float64: infinity times 0 would be NaN."""
    x = np.asarray([0.0, 5.0, -5.0, 200.0, -200.0, np.inf, -np.inf], dtype=np.float32)
    weight = np.full(7, 1e39)
    with rows.in_use(rows.COMPILED[level]):
        loss, grad = portable_bce.bce_with_logits_value_and_grad(
            x, 1.0, weight=weight, reduction="none"
        )
    wanted = [1e39 * float(reference.logit_loss(float(one), 1.0)) for one in x]
    for got, exact in zip(loss, wanted, strict=True):
        assert ulp.error(got, exact, "float32") <= contract.ROUNDED_ONCE
    assert grad.tolist()[3] == pytest.approx(-1e39 * math.exp(-200), rel=1e-6)
    assert grad.tolist()[5] == 0
    assert grad.tolist()[6] == -math.inf


@rows.every_level
@pytest.mark.parametrize("factors", ["weight", "weight and pos_weight"])
@pytest.mark.parametrize("y", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_large_weights_at_large_logits_are_right(
    level: str, kind: str, y: float, factors: str
) -> None:
    """exp(-300) is nothing to float32, but not 3e38 times 3e38 times it."""
    x = np.asarray([88, 90, 103, 104, 110, 150, 200, 250, 300, np.inf], dtype=np.float32)
    x = np.concatenate([x, -x])
    keywords = {"weight": np.full(x.shape, 3e38, dtype=kind)}
    p = 3e38 if factors != "weight" else 1.0
    if factors != "weight":
        keywords["pos_weight"] = np.full(x.shape, p, dtype=kind)
    with rows.in_use(rows.COMPILED[level]):
        loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, reduction="none", **keywords)
        _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y, reduction="none", **keywords)
    w = float(keywords["weight"][0])
    p = float(keywords["pos_weight"][0]) if "pos_weight" in keywords else 1.0
    with mp.workprec(2000):
        for at, one, slope, curve in zip(x.tolist(), loss, grad, hess, strict=True):
            for got, exact in (
                (one, reference.logit_loss(at, y, w, p)),
                (slope, reference.logit_grad(at, y, w, p)),
                (curve, reference.logit_hess(at, y, w, p)),
            ):
                assert ulp.error(got, exact, "float32") <= contract.ROUNDED_ONCE, at


# Wrong calls


@rows.every_level
def test_a_wrong_call_of_the_module_raises_and_reads_no_memory(level: str) -> None:
    kernels = next(one for one in _kernels.levels if one.name == level)
    x = np.zeros(3)

    def call(formula: int, outputs: int, first: Any) -> bool:
        operands = (x, 0.5, None, None, None)
        return kernels.evaluate(
            formula, outputs, True, *operands, 0.0, None, 1.0, first, None, None, 0, 1
        )

    for formula, outputs in ((-1, 0), (len(_kernels.formulas), 0), (0, len(_kernels.outputs))):
        with pytest.raises(ValueError, match=r"^there is no kernel"):
            call(formula, outputs, np.empty(3))
    with pytest.raises(ValueError, match=r"^there is no kernel"):
        call(0, 1, np.empty(3))  # loss and gradient have two results
    for wrong in (np.empty(4), np.empty(1), np.empty((3, 1)), None):
        with pytest.raises(ValueError, match=r"does not fit|no kernel"):
            call(0, 0, wrong)
    frozen = np.empty(3)
    frozen.flags.writeable = False
    assert not call(0, 0, frozen)
    assert not call(0, 0, np.empty(3, dtype=int))
    with pytest.raises(TypeError, match="cannot create"):
        type(kernels)()
