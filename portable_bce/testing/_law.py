"""A law, what it is tried on, and the exact values that results are compared with."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from mpmath import mp, mpf

from portable_bce._contract import Bounds, bounds_for
from portable_bce.testing import reference
from portable_bce.testing._library import Library, Values
from portable_bce.testing.strategies import rounded
from portable_bce.testing.ulp import smallest_normal, spacing

# (logits, targets) -> one value per element
Function: TypeAlias = Callable[[Any, Any], Any]
WORDS = {"loss": "loss", "grad": "gradient", "hess": "Hessian"}
_EXACT = {
    "loss": reference.logit_loss,
    "grad": reference.logit_grad,
    "hess": reference.logit_hess,
}


class Exact(NamedTuple):
    """An exact value, and the two float64 that are next to it in sum."""

    value: Any
    high: float
    low: float


@lru_cache(maxsize=2**17)
def exact(name: str, x: float, y: float) -> Exact:
    """Return the loss, gradient or Hessian of one pair."""
    with mp.workprec(reference.BITS):
        value = _EXACT[name](x, y)
        high = float(value)
        return Exact(value, high, float(value - mpf(high)) if np.isfinite(high) else 0.0)


def exacts(name: str, x: Values, y: Values) -> list[Exact]:
    """Return the exact values of pairs."""
    return [exact(name, one, other) for one, other in zip(x.tolist(), y.tolist(), strict=True)]


def tail(x: Values) -> Values:
    """Return min(sigmoid(x), sigmoid(-x)), in whose ULP a soft label's gradient is measured."""
    e = np.exp(-np.abs(x))
    return np.asarray(e / (1 + e))


def unit(size: Values, dtype: str, *, flushes: bool = False) -> Values:
    """Return one ULP of float64 values in a dtype; of a power of two, that of the binade below."""
    least = float(smallest_normal(dtype))
    gap = float(spacing(least, dtype)) / least
    size = np.minimum(np.nextafter(np.abs(size), 0), np.finfo(np.float64).max)
    binade = np.ldexp(1.0, np.frexp(np.maximum(size, least))[1] - 1)
    return np.asarray(np.maximum(binade * gap, least if flushes else 0.0))


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a law is broken: ``at`` which of the pairs, by passing what."""

    at: int | None
    logits: Values
    targets: Values
    got: str
    required: str
    keywords: Mapping[str, Any] = field(default_factory=dict)


class FailureError(Exception):
    """The implementation raised, or what it returned is no array of the right shape."""

    def __init__(
        self, logits: Values, targets: Values, got: str, required: str, **keywords: Any
    ) -> None:
        super().__init__(got)
        self.fault = Fault(None, logits, targets, got, required, keywords)


def told(error: BaseException) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")


@dataclass(frozen=True, slots=True)
class Trial:
    """An implementation, by the names of what it returns, in one dtype of one library."""

    library: Library
    functions: Mapping[str, Function]
    dtype: str
    bounds: Bounds | None = None
    flushes: bool = False

    def call(self, name: str, x: Any, y: Any, given: tuple[Values, Values]) -> Any:
        """Return what the implementation returns for two arrays of the library."""
        try:
            with np.errstate(all="ignore"):
                return self.functions[name](x, y)
        except Exception as error:
            raise FailureError(*given, told(error), f"a {WORDS[name]}, no exception") from error

    def values(self, name: str, x: Any, y: Any, given: tuple[Values, Values]) -> Values:
        """Return what is returned for two arrays of the library, one value per element."""
        result = self.call(name, x, y, given)
        try:
            with np.errstate(all="ignore"):
                values = self.library.values(result)
        except Exception as error:
            got = f"{type(result).__name__}, which is no array"
            raise FailureError(*given, got, f"an array of the {WORDS[name]}") from error
        if values.shape != given[0].shape:
            got = f"{WORDS[name]} of shape {values.shape} from logits of shape {given[0].shape}"
            raise FailureError(*given, got, "one value per element")
        return values

    def array(self, values: Values) -> Any:
        """Return a new array of the library."""
        return self.library.array(values, self.dtype)

    def value(self, name: str, x: Values, y: Values) -> Values:
        """Return what is returned for arrays of these values."""
        return self.values(name, self.array(x), self.array(y), (x, y))

    def bound(self, name: str, *, hard: bool = False) -> float:
        """Return the largest error that is allowed, in ULP."""
        bounds = self.bounds or bounds_for(self.dtype, hard=hard)
        return float(getattr(bounds, name))

    def unit(self, name: str, x: Values, *sizes: Values) -> Values:
        """Return one ULP of the largest of some results."""
        scale = tail(x) if name == "grad" else np.zeros(x.shape)
        size = np.max([np.nan_to_num(np.abs(one)) for one in (scale, *sizes)], axis=0)
        return unit(size, self.dtype, flushes=self.flushes)

    def rounded(self, values: Values) -> Values:
        """Round to the dtype."""
        return np.asarray(rounded(values, self.dtype), dtype=np.float64)

    def written(self, values: Any) -> str:
        """Return values in the fewest digits that tell floats of the dtype apart."""
        carrier = "float32" if self.dtype == "bfloat16" else self.dtype
        with np.errstate(all="ignore"):
            short = np.asarray(values, dtype=np.float64).astype(carrier)
        if short.ndim == 0:
            return str(short[()])
        return np.array2string(short, separator=", ", threshold=16, edgeitems=3)

    def fault(self, at: int, x: Values, y: Values, got: Any, required: str) -> Fault:
        """Return that a law is broken at one of the pairs."""
        text = got if isinstance(got, str) else self.written(got)
        return Fault(at, x.reshape(-1)[at], y.reshape(-1)[at], text, required)

    def fault_among(self, at: int, x: Values, y: Values, got: str, required: str) -> Fault:
        """Return that a law is broken at one of the pairs, by passing all of them."""
        if x.size == 1:
            return self.fault(at, x, y, got, required)
        index = np.unravel_index(at, x.shape)
        where = ", ".join(str(one) for one in index)
        return Fault(at, x, y, f"{got} at index ({where}{',' * (len(index) == 1)})", required)

    def disagreements(
        self, name: str, x: Values, y: Values, one: Values, other: Values, what: str
    ) -> Iterator[Fault]:
        """Yield where two results of the same pairs are further apart than their two errors."""
        with np.errstate(invalid="ignore"):
            allowed = 2 * self.bound(name) * self.unit(name, x, one, other)
            same = (one == other) | (np.isnan(one) & np.isnan(other))
            apart = ~(same | (np.abs(one - other) <= allowed))
        for i in np.flatnonzero(apart).tolist():
            got, wanted = (self.written(values.reshape(-1)[i]) for values in (one, other))
            yield self.fault_among(i, x, y, f"{WORDS[name]} {got}", f"{wanted}, as {what}")


# Laws of the interface are about an Interface in place of a Trial.
Holds: TypeAlias = Callable[[Any, Values, Values], Iterable[Fault]]
Shapes: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Law:
    """What holds for every binary cross-entropy of logits that is right.

    ``LAWS`` has those of one value per element, and ``INTERFACE_LAWS`` those of the rest.
    ``str`` of a law is its name, so that pytest can show it.

    Parameters
    ----------
    name : str
        A sentence in snake_case.
    statement : str
        The law in one sentence.
    needs : str
        What it cannot do without, in words with spaces between them: "loss", "grad", "hess", a
        keyword or a reduction.

    Examples
    --------
    >>> from portable_bce.testing import LAWS
    >>> print(LAWS[0], "needs the", LAWS[0].needs)
    loss_of_hard_labels_is_within_its_bound needs the loss
    """

    name: str
    statement: str
    needs: str
    _holds: Holds = field(repr=False, compare=False)
    _shapes: Shapes | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.name

    def _missing(self, given: Container[str]) -> list[str]:
        """Return what it cannot do without and is not given."""
        return [word for word in self.needs.split() if word not in given]

    def _faults(self, trial: Any, x: Values, y: Values) -> list[Fault]:
        """Return where it is broken among some pairs."""
        try:
            return list(self._holds(trial, x, y))
        except FailureError as failure:
            return [failure.fault]


def law(needs: str, statement: str, shapes: Shapes | None = None) -> Callable[[Holds], Law]:
    """Make a law of a function that yields where it is broken, by the function's name."""

    def decorate(holds: Holds) -> Law:
        return Law(holds.__name__, statement, needs, holds, shapes)

    return decorate
