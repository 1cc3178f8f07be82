"""Every tolerance in one table: what the library promises, in units in the last place (ULP).

One ULP is the gap between the exact result's two neighbours in the output dtype, in the
binade of the exact result; below the normal range, the smallest subnormal. A gradient is
measured in ULP of the larger of its size and (A + B) min(sigmoid(x), sigmoid(-x)): where
the target is close to sigmoid(x) it cancels by its nature (docs/derivation.md).

Values, one element each: the compiled kernels (NumPy, PyTorch and Dask on a CPU)
    ROUNDED_ONCE .501 (float32 and below)
        Computed in float64 within 1e-4 ULP of float32, and rounded once, with every keyword.
        A half is rounded by way of float32, which adds 2^-13 of an ULP.
    FAITHFUL 1 (float64)
        Every rounding but the last is kept in a pair of doubles. Measured: 0.60, and 0.75 where
        exp(-x) is close to the subnormal numbers. With factors where it is normal, |x| < 690:
        a large weight that scales up a subnormal number also scales up its rounding error.
    SUBNORMAL 1.1 (float64: the loss from logits, the Hessian from probabilities)
        Measured: 1.05 for a soft label close to sigmoid(x), where both terms of the loss are
        subnormal, and 1.04 for a subnormal probability: the low parts of their pairs are lost.

Values, one element each: operation by operation
    HARD 4, 4, 5; SOFT 4.6, 5, 5 (loss, gradient, Hessian; float32)
        docs/derivation.md proves them from the errors of NumPy's exp and log1p; the division,
        products and sums half an ULP each, doubled just above a power of two. AVX-512 has the
        largest: 4.55 for a soft loss, of which 3.61 were found.
    DOUBLE 2.5, 3, 4; XLA_DOUBLE 3, 3, 4 (float64)
        Measured: no library bounds its float64 exp and log1p.
    WEIGHT 1
        One more rounding of A, of B and of the product with log1p or q: of 10^8 random points
        of float32 with a weight one reaches 5.06 for the Hessian, beyond the 5 without.
    PER_FACTOR 2
        pos_weight and smoothing enter before the sum: each rounds A, B and A + B once more.
    ROUNDED_ONCE .501
        Halves computed in float32, float32 in float64: the last rounding, and what a dtype
        of at least 13 more bits adds to it.
    PROBABILITY 4, PROBABILITY_HESS 6
        log and log1p within 1.5, products, quotients and the sum half an ULP each; two
        quotients and a rounded 1 - q in each term of the Hessian.
    XLA_LOG1P 130
        XLA's float64 log1p is off by up to 129 ULP between -1/2 and -0.3 (measured, jaxlib
        0.10.2 on a CPU; 1 to 2 ULP elsewhere, 1.6 in float32), and log(1 - q) comes from
        there. Logits only need log1p of [0, 1].

Sums and agreement
    SUM 2
        Terms summed wide or in pairs, one division, one rounding.
    NARROW_SUM 4
        Without float64, numerator and denominator are summed in float32, in pairs or in
        XLA's tree: log2(n) roundings each, which for the 60 to 10^6 terms of the tests stay
        within 2 ULP. Not promised of JAX without x64 for every shape: on a CPU XLA adds up to
        32 terms along each axis one by one, which costs 10 ULP at 31 x 31.
    COUNTED 1
        A derivative on Dask whose denominator is counted waits for it in float64: one rounding
        more than in memory, where the division comes before the only one.
    CONTRACTED 2
        The same formula inside another compiled program: XLA may fuse a product and a sum,
        which moves each of two terms by half an ULP.
    AUTODIFF 2
        A gradient by automatic differentiation against that of value_and_grad: m (A + B) and
        then e / (1 + e) are multiplied in another order, which rounds each once more; the
        sum with d is rounded by both. (PyTorch's backward is the same number.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format: bits of the significand, smallest and largest exponent."""

    name: str
    bits: int
    least: int
    most: int

    @property
    def eps(self) -> float:
        """The gap between 1 and the next number."""
        return 2.0 ** (1 - self.bits)

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number of full precision."""
        return 2.0**self.least

    @property
    def smallest(self) -> float:
        """The smallest positive number, which is subnormal."""
        return 2.0 ** (self.least + 1 - self.bits)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - self.eps) * 2.0**self.most

    @property
    def carrier(self) -> str:
        """The NumPy dtype whose arrays hold its numbers: NumPy has no bfloat16 of its own."""
        return "float32" if self.name == "bfloat16" else self.name

    @property
    def wide(self) -> str:
        """The NumPy dtype in which errors of this format are measured."""
        return "longdouble" if self.name == "float64" else "float64"


FORMATS = {
    "float16": Format("float16", 11, -14, 15),
    "bfloat16": Format("bfloat16", 8, -126, 127),
    "float32": Format("float32", 24, -126, 127),
    "float64": Format("float64", 53, -1022, 1023),
}
DTYPES = tuple(FORMATS)

ROUNDED_ONCE = 0.501
FAITHFUL = 1.0
SUBNORMAL = 1.1
NORMAL = 690.0  # up to this logit exp(-x) is a normal float64, and its pair is whole
PER_FACTOR = 2.0
WEIGHT = 1.0
PROBABILITY = 4.0
PROBABILITY_HESS = 6.0
XLA_LOG1P = 130.0
SUM = 2.0
NARROW_SUM = 4.0
COUNTED = 1.0
CONTRACTED = 2.0
AUTODIFF = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest errors that are allowed, in ULP.

    Parameters
    ----------
    loss, grad, hess : float
        Bound of the loss, of its gradient and of its Hessian by the logits.

    Examples
    --------
    >>> from portable_bce.testing import Bounds
    >>> Bounds(loss=4.0, grad=4.0, hess=5.0).widened(1.0)
    Bounds(loss=5.0, grad=5.0, hess=6.0)
    """

    loss: float
    grad: float
    hess: float

    def widened(self, by: float) -> Bounds:
        """Return the bounds with ``by`` added to each."""
        return Bounds(self.loss + by, self.grad + by, self.hess + by)


HARD = Bounds(4.0, 4.0, 5.0)
SOFT = Bounds(4.6, 5.0, 5.0)
DOUBLE = Bounds(2.5, 3.0, 4.0)
XLA_DOUBLE = Bounds(3.0, 3.0, 4.0)
ONCE = Bounds(ROUNDED_ONCE, ROUNDED_ONCE, ROUNDED_ONCE)
COMPILED_DOUBLE = Bounds(SUBNORMAL, FAITHFUL, FAITHFUL)
# From probabilities, without factors and with one more of each.
PROBABILITIES = Bounds(PROBABILITY, PROBABILITY, PROBABILITY_HESS)
COMPILED_PROBABILITIES = Bounds(FAITHFUL, FAITHFUL, SUBNORMAL)


def bounds_for(
    dtype: str,
    compute_dtype: str | None = None,
    *,
    hard: bool = False,
    weighted: bool = False,
    factors: int = 0,
    library: str = "numpy",
    compiled: bool = False,
) -> Bounds:
    """Return what is promised for a dtype, from logits.

    Parameters
    ----------
    dtype : str
        "float16", "bfloat16", "float32" or "float64", of the logits.
    compute_dtype : str, optional
        The dtype computed in, if one was asked for.
    hard : bool
        Whether every target is 0 or 1.
    weighted : bool
        Whether there is a weight.
    factors : int
        How many of pos_weight and label_smoothing are in use.
    library : str
        Whose exp and log1p; only "jax" differs, in float64.
    compiled : bool
        Whether the compiled kernels compute, which round once: NumPy, and PyTorch on a CPU,
        where the package was installed with a C compiler.

    Returns
    -------
    Bounds
        In ULP of the dtype.

    Raises
    ------
    TypeError, ValueError
        A dtype is not one of these names.

    Examples
    --------
    >>> from portable_bce.testing import bounds_for
    >>> bounds_for("float32")
    Bounds(loss=4.6, grad=5.0, hess=5.0)
    >>> bounds_for("float32", "float64")
    Bounds(loss=0.501, grad=0.501, hess=0.501)
    >>> bounds_for("float64", compiled=True)
    Bounds(loss=1.1, grad=1.0, hess=1.0)
    """
    _check("dtype", dtype)
    if compute_dtype is not None:
        _check("compute_dtype", compute_dtype)
    if dtype in ("float16", "bfloat16") or (dtype == "float32" and compute_dtype == "float64"):
        return ONCE
    if compiled:
        return COMPILED_DOUBLE if dtype == "float64" else ONCE
    if dtype == "float64":
        plain = XLA_DOUBLE if library == "jax" else DOUBLE
    else:
        plain = HARD if hard and not (weighted or factors) else SOFT
    return plain.widened(WEIGHT * weighted + PER_FACTOR * factors)


def probability_bounds_for(
    dtype: str, *, factors: int = 0, library: str = "numpy", compiled: bool = False
) -> Bounds:
    """Return what is promised for a dtype, from probabilities; arguments as `bounds_for`."""
    if compiled:
        return COMPILED_PROBABILITIES if dtype == "float64" else ONCE
    bounds = PROBABILITIES
    if library == "jax" and dtype == "float64":
        bounds = Bounds(XLA_LOG1P, bounds.grad, bounds.hess)
    return bounds.widened(PER_FACTOR * factors)


def _check(name: str, dtype: Any) -> None:
    """Require a name that the table knows."""
    if isinstance(dtype, str) and dtype in DTYPES:
        return
    known = ", ".join(f'"{one}"' for one in DTYPES)
    if not isinstance(dtype, str):
        raise TypeError(
            f'`{name}` must be a name, {known}; got {type(dtype).__name__}. Use "float32"'
        )
    raise ValueError(f'`{name}` must be one of {known}; got "{dtype}"')
