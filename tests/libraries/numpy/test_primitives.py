"""exp, log1p, log and the pairs of primitives.h are as exact as they say, against mpmath."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

mpmath = pytest.importorskip("mpmath")

from portable_bce._kernels import coefficients  # noqa: E402

SOURCE = Path(__file__).with_name("primitives.c")
HEADER = Path(coefficients.__file__).with_name("primitives.h")
BEGIN = "/* BEGIN COEFFICIENTS (printed by coefficients.py) */\n"
END = "/* END COEFFICIENTS */\n"
COMPILER = shutil.which(os.environ.get("CC", "cc"))
FLAGS = ("-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
X86_FLAGS = ("-mavx2", "-mfma")
LOOPS_IN_SOURCE = 12
SAMPLES = 600
DIGITS = 60

# Without the sources there is nothing to compile; `nox -s package` runs among them.
pytestmark = pytest.mark.skipif(not HEADER.exists(), reason="primitives.h is not installed")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")

# The relative error of each polynomial, as coefficients.py prints it, and for the *_single
# functions 2^-47 for the roundings of about forty operations in double.
SINGLE_ROUNDINGS = 2.0**-47
EXP_SINGLE_ERROR = 4.6e-12 + SINGLE_ROUNDINGS
LOG_SINGLE_ERROR = 2.7e-13 + SINGLE_ROUNDINGS
# Roundings of the low part: it is at most 0.007 (exp) times the high part of at least 0.7,
# and each of its five roundings is at most 2^-53 of it: 2^-57.3.
EXP_DOUBLE_ERROR = 2.0**-57.3
# log1p: at f = 1 the low part is 0.027 of 0.69; seven roundings of 2^-53 each: 2^-55.
# The largest that 10^7 samples showed is 2^-55.7.
LOG1P_DOUBLE_ERROR = 2.0**-55
# log: |f| <= 0.42, where t^3/12 is 1.5 % of t at most, but log(m) may be as large as the result.
LOG_DOUBLE_ERROR = 2.0**-56.5
# A result is rounded once more, by half an ULP; a relative error of 2^-55 is a quarter of an
# ULP at most. A subnormal pair has two parts, each rounded once: 1 ULP.
FLOAT64_ULP = 0.75
SUBNORMAL_ULP = 1.0
# The same for float32: half an ULP, and 2^24 times the error of exp_single.
FLOAT32_ULP = 0.5 + 2.0**24 * EXP_SINGLE_ERROR

RNG = np.random.default_rng(0)


def uniform(low: float, high: float) -> Any:
    return RNG.uniform(low, high, SAMPLES)


def build(folder: Path, *flags: str) -> ctypes.CDLL:
    library = folder / "primitives.so"
    shared = ("-shared", "-fPIC", str(SOURCE), "-o", str(library), "-lm")
    subprocess.run([str(COMPILER), *FLAGS, *flags, *shared], check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    # Without flags for FMA the compiler calls the C library's fma, which has the same bits.
    return build(tmp_path_factory.mktemp("O2"), "-O2")


def call(library: ctypes.CDLL, name: str, arguments: Sequence[Any], results: int) -> list[Any]:
    inputs = [np.ascontiguousarray(argument, np.float64) for argument in arguments]
    outputs = [np.empty_like(inputs[0]) for _ in range(results)]
    pointers = (ctypes.c_void_p(array.ctypes.data) for array in (*inputs, *outputs))
    getattr(library, name)(ctypes.c_size_t(inputs[0].size), *pointers)
    return outputs


def exact_exp(x: Any) -> Any:
    return mpmath.exp(x)


def exact_log1p(x: Any) -> Any:
    return mpmath.log1p(x)


def exact_log(x: Any) -> Any:
    return mpmath.log(x)


def arguments_of_exp() -> Any:
    halves = -np.log(2) * (RNG.integers(0, 1021, SAMPLES) + 0.5)  # where k changes
    near = -np.log(2) * RNG.integers(1, 1021, SAMPLES) * (1 + 1e-12 * uniform(-1, 1))
    small = -np.exp2(-uniform(0, 60))
    return np.concatenate((-uniform(0, 40), -uniform(0, 707), halves, near, small, [0.0]))


def arguments_of_log1p() -> Any:
    return np.concatenate(
        (uniform(0, 1), 1 - np.exp2(-uniform(1, 53)), np.exp2(-uniform(0, 960)), [1])
    )


def arguments_of_log() -> Any:
    powers = np.exp2(uniform(-1074, 1023))
    root = np.sqrt(0.5) * (1 + 1e-3 * uniform(-1, 1))  # where k changes
    return np.concatenate((arguments_of_log1p(), powers, root, [5e-324]))


def arguments_of_log1p_negative() -> Any:
    root = np.sqrt(0.5) - 1 + 1e-3 * uniform(-1, 1)
    half = -0.5 + 1e-3 * uniform(-1, 1)
    inside = -arguments_of_log1p()[:-1]
    return np.concatenate((inside, root, half, uniform(0, 3), np.exp2(uniform(0, 1000))))


CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any], float]] = {
    "exp_single": (arguments_of_exp, exact_exp, EXP_SINGLE_ERROR),
    "exp_double": (arguments_of_exp, exact_exp, EXP_DOUBLE_ERROR),
    "log1p_single": (arguments_of_log1p, exact_log1p, LOG_SINGLE_ERROR),
    "log1p_double": (arguments_of_log1p, exact_log1p, LOG1P_DOUBLE_ERROR),
    "log_single": (arguments_of_log, exact_log, LOG_SINGLE_ERROR),
    "log_double": (arguments_of_log, exact_log, LOG_DOUBLE_ERROR),
    "log1p_negative_single": (arguments_of_log1p_negative, exact_log1p, LOG_SINGLE_ERROR),
    "log1p_negative_double": (arguments_of_log1p_negative, exact_log1p, LOG_DOUBLE_ERROR),
}


@needs_compiler
@pytest.mark.parametrize("name", CASES)
def test_the_relative_error_is_as_the_header_says(library: ctypes.CDLL, name: str) -> None:
    make_arguments, exact, bound = CASES[name]
    x = make_arguments()
    x = x[exact_is_not_zero(x, name)]
    # The low part of a pair below 2^-960 is subnormal and loses bits; ULP are measured below.
    if name.startswith("exp"):
        x = x[x > -960 * np.log(2)]
    high, low = call(library, f"loop_{name}", (x,), 2)
    with mpmath.workdps(DIGITS):
        values = [exact(mpmath.mpf(float(item))) for item in x]
        errors = [
            float(abs((mpmath.mpf(float(h)) + mpmath.mpf(float(lo)) - value) / value))
            for h, lo, value in zip(high, low, values, strict=True)
        ]
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound, x[worst]


def exact_is_not_zero(x: Any, name: str) -> Any:
    zero = {"log1p": 0.0, "log": 1.0}.get(name.rpartition("_")[0].removesuffix("_negative"))
    return np.ones(x.shape, bool) if zero is None else x != zero


SUBNORMAL = -np.concatenate((np.linspace(708.4, 746, 1000), [745.13, 745.14]))


@needs_compiler
@pytest.mark.parametrize("name", ["exp_single", "exp_double"])
def test_subnormal_exponentials_are_within_one_of_their_ulp(
    library: ctypes.CDLL, name: str
) -> None:
    high, low = call(library, f"loop_{name}", (SUBNORMAL,), 2)
    with mpmath.workdps(DIGITS):
        exact = [mpmath.exp(mpmath.mpf(float(item))) for item in SUBNORMAL]
        tolerance = [SUBNORMAL_ULP * 2.0**-1074 + EXP_SINGLE_ERROR * float(v) for v in exact]
        if name == "exp_double":
            tolerance = [SUBNORMAL_ULP * 2.0**-1074] * len(exact)
        wrong = [
            item
            for item, value, v, bound in zip(SUBNORMAL, high + low, exact, tolerance, strict=True)
            if abs(mpmath.mpf(float(value)) - v) > bound
        ]
    assert not wrong


SPECIAL = {
    "exp": ([-np.inf, -1e300, -746.0, -0.0, np.nan], [0.0, 0.0, 0.0, 1.0, np.nan]),
    "log1p": ([0.0, np.nan], [0.0, np.nan]),
    "log": (
        [0.0, -0.0, 1.0, -5e-324, -1.0, -np.inf, np.inf, np.nan],
        [-np.inf, -np.inf, 0.0, np.nan, np.nan, np.nan, np.inf, np.nan],
    ),
    "log1p_negative": (
        [-1.0, 0.0, -1.0000000000000002, -np.inf, np.inf, np.nan],
        [-np.inf, 0.0, np.nan, np.nan, np.inf, np.nan],
    ),
}


@needs_compiler
@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_arguments(library: ctypes.CDLL, name: str, precision: str) -> None:
    arguments, expected = SPECIAL[name]
    high, low = call(library, f"loop_{name}_{precision}", (arguments,), 2)
    with np.errstate(invalid="ignore"):
        total = high + low
    # As pair_rounded does.
    np.testing.assert_array_equal(np.where(np.isnan(total), high, total), expected)


def ulps(got: Any, exact: Any, scale: Any, dtype: Any) -> float:
    info = np.finfo(dtype)
    magnitude = max(abs(scale), mpmath.mpf(float(info.smallest_normal)))
    _, exponent = mpmath.frexp(magnitude)
    return float(abs(mpmath.mpf(float(got)) - exact) / mpmath.mpf(2) ** (exponent - info.nmant - 1))


def exact_logits(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Return (value, scale) of loss, gradient and Hessian, without any cancellation."""
    e = mpmath.exp(-abs(x))
    q = e / (1 + e)
    d, sign = (1 - y, -1) if x >= 0 else (-y, 1)
    loss, grad, hess = d * x + mpmath.log1p(e), d + sign * q, q / (1 + e)
    return (loss, loss), (grad, max(abs(grad), q)), (hess, hess)


def exact_probabilities(x: Any, y: Any) -> tuple[Any, Any, Any]:
    loss = (-y * mpmath.log(x) if y else 0) - ((1 - y) * mpmath.log1p(-x) if y != 1 else 0)
    grad = (x - y) / (x * (1 - x)) if 0 < y < 1 else (1 / (1 - x) if y == 0 else -1 / x)
    hess = y / (x * x) + (1 - y) / ((1 - x) * (1 - x))
    return (loss, loss), (grad, grad), (hess, hess)


def logits_and_targets() -> tuple[Any, Any]:
    x = np.concatenate(
        (uniform(-40, 40), uniform(-700, 700), np.exp2(-uniform(0, 60)), uniform(-4, 4))
    )
    with np.errstate(over="ignore"):
        near = 1 / (1 + np.exp(-x)) * (1 + RNG.uniform(-1, 1, x.size) * 2.0**-30)
    hard = (RNG.random(x.size) < 0.5).astype(float)
    soft = RNG.random(x.size)
    return np.tile(x, 3), np.concatenate((hard, soft, np.minimum(near, 1.0)))


def probabilities_and_targets() -> tuple[Any, Any]:
    x = np.concatenate((uniform(0, 1), np.exp2(-uniform(0, 60)), 1 - np.exp2(-uniform(1, 24))))
    hard = (RNG.random(x.size) < 0.5).astype(float)
    near = np.minimum(x * (1 + RNG.uniform(-1, 1, x.size) * 2.0**-20), 1.0)
    return np.tile(x, 3), np.concatenate((hard, RNG.random(x.size), near))


FORMULAS: dict[str, tuple[Callable[[], Any], Callable[[Any, Any], Any]]] = {
    "logits": (logits_and_targets, exact_logits),
    "probabilities": (probabilities_and_targets, exact_probabilities),
}


@needs_compiler
@pytest.mark.parametrize(
    ("precision", "dtype", "bound"),
    [("double", np.float64, FLOAT64_ULP), ("single", np.float32, FLOAT32_ULP)],
)
@pytest.mark.parametrize("name", FORMULAS)
def test_loss_gradient_and_hessian_are_faithful(
    library: ctypes.CDLL, name: str, precision: str, dtype: Any, bound: float
) -> None:
    make_arguments, exact = FORMULAS[name]
    x, y = (argument.astype(dtype).astype(np.float64) for argument in make_arguments())
    inside = (x != 0) & ((name == "logits") | (x != 1))
    x, y = x[inside], y[inside]
    with np.errstate(over="ignore"):
        results = [r.astype(dtype) for r in call(library, f"{name}_{precision}", (x, y), 3)]
    worst = [0.0, 0.0, 0.0]
    with mpmath.workdps(DIGITS):
        for i in range(x.size):
            values = exact(mpmath.mpf(float(x[i])), mpmath.mpf(float(y[i])))
            for j, (value, scale) in enumerate(values):
                worst[j] = max(worst[j], ulps(results[j][i], value, scale, dtype))
    assert max(worst) <= bound, worst


@needs_compiler
@pytest.mark.parametrize("precision", ["single", "double"])
def test_infinite_logits_have_the_limit(library: ctypes.CDLL, precision: str) -> None:
    inf = np.inf
    x = [inf, inf, inf, -inf, -inf, -inf, np.nan]
    y = [0.0, 0.25, 1.0, 0.0, 0.25, 1.0, 0.5]
    loss, grad, hess = call(library, f"logits_{precision}", (x, y), 3)
    np.testing.assert_array_equal(loss, [inf, inf, 0, 0, inf, inf, np.nan])
    np.testing.assert_array_equal(grad, [1, 0.75, 0, 0, -0.25, -1, np.nan])
    np.testing.assert_array_equal(hess, [0, 0, 0, 0, 0, 0, np.nan])


@needs_compiler
def test_pairs_keep_the_infinities_and_nan_of_doubles(library: ctypes.CDLL) -> None:
    ends = np.array([-np.inf, -1.5, -0.0, 0.0, 0.5, 1.0, 1.5, np.inf, np.nan])
    x, y = np.repeat(ends, 3), np.tile([0.0, 0.25, 1.0], ends.size)
    for name in FORMULAS:
        doubles, pairs = (call(library, f"{name}_{p}", (x, y), 3) for p in ("single", "double"))
        np.testing.assert_allclose(pairs, doubles, rtol=1e-11, atol=0)


def has_avx2_and_fma() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    words = cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.exists() else []
    return {"avx2", "fma"} <= set(words)


@needs_compiler
def test_bits_do_not_depend_on_optimisation(tmp_path: Path) -> None:
    libraries = []
    for level in ("-O0", "-O3"):
        folder = tmp_path / level
        folder.mkdir()
        vectors = X86_FLAGS if level == "-O3" and has_avx2_and_fma() else ()
        libraries.append(build(folder, level, *vectors))
    for name, (make_arguments, _) in FORMULAS.items():
        arguments = make_arguments()
        for precision in ("single", "double"):
            plain, fast = (call(lib, f"{name}_{precision}", arguments, 3) for lib in libraries)
            np.testing.assert_array_equal(plain, fast)


@needs_compiler
def test_every_loop_is_vectorised(tmp_path: Path) -> None:
    version = subprocess.run(
        [str(COMPILER), "--version"], capture_output=True, text=True, check=True
    )
    clang = "clang" in version.stdout
    if platform.machine() not in {"x86_64", "aarch64"} or (
        not clang and platform.system() != "Linux"
    ):
        pytest.skip("the levels are x86-64 and aarch64, by GCC or Clang")
    report, sign = (
        ("-Rpass=loop-vectorize", "vectorized loop")
        if clang
        else ("-fopt-info-vec", "loop vectorized")
    )
    flags = (*FLAGS, "-O3", report, *(X86_FLAGS if platform.machine() == "x86_64" else ()))
    command = [str(COMPILER), *flags, "-c", str(SOURCE), "-o", str(tmp_path / "primitives.o")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    places = {line.split(": ")[0] for line in ended.stderr.splitlines() if sign in line}
    assert len(places) == LOOPS_IN_SOURCE


# mpmath 1.4 asks for an order that mpmath 1.3 does not know.
@pytest.mark.filterwarnings("ignore:Descending:DeprecationWarning")
def test_the_header_holds_the_coefficients_that_the_script_finds() -> None:
    _, _, after = HEADER.read_text(encoding="utf-8").partition(BEGIN)
    assert after.partition(END)[0] == coefficients.block()
