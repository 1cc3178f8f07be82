"""Find the constants of primitives.h again, with the errors of the polynomials.

``python portable_bce/_kernels/coefficients.py`` prints the block of constants in
primitives.h; a test compares the two. The script needs mpmath. Each polynomial interpolates
its function at Chebyshev's nodes; the best polynomial would be at most a few per cent better.
"""

from collections.abc import Callable, Iterator
from typing import Any

import mpmath

DIGITS = 40
LN2_HIGH_BITS = 42  # k LN2_HIGH is exact for an integer |k| < 2^11, because 42 + 11 = 53
MARGIN = mpmath.mpf("1.0005")  # r may pass ln2 / 2 a little, because LOG2_E is rounded


def exp_remainder(start: int) -> Callable[[Any], Any]:
    """Return the function (exp(r) - its terms of degree below start) / r^start."""
    return lambda r: mpmath.fsum(r**i / mpmath.factorial(i + start) for i in range(30))


def log1p_remainder(z: Any) -> Any:
    """Return (log1p(f) - t) / t^3 for z = t^2 and t = 2 f / (2 + f): the series of artanh."""
    return mpmath.fsum(z**i / (2 * i + 3) / mpmath.mpf(4) ** (i + 1) for i in range(60))


def polynomials() -> Iterator[tuple[str, list[Any], Any]]:
    """Yield the name, the coefficients from degree 0 up, and the relative error of the result."""
    limit = mpmath.log(2) / 2 * MARGIN
    # EXP_DOUBLE is multiplied by r (r^2 / 2), because r^2 / 2 is there: hence its factor of 2.
    for name, start, count, factor in (("EXP_SINGLE", 2, 7, 1), ("EXP_DOUBLE", 3, 10, 2)):
        terms, error = mpmath.chebyfit(exp_remainder(start), [-limit, limit], count, error=True)
        yield (
            name,
            [factor * term for term in terms[::-1]],
            error * limit**start * mpmath.exp(limit),
        )
    limit = mpmath.mpf(4) / 9  # t^2 at f = 1
    for name, count in (("LOG1P_SINGLE", 7), ("LOG1P_DOUBLE", 11)):
        terms, error = mpmath.chebyfit(log1p_remainder, [0, limit], count, error=True)
        yield name, terms[::-1], error * limit


def block() -> str:
    """Return the lines that stand between two marks of primitives.h."""
    with mpmath.workdps(DIGITS):
        ln2 = mpmath.log(2)
        high = mpmath.floor(ln2 * 2**LN2_HIGH_BITS) / 2**LN2_HIGH_BITS
        numbers = {"LOG2_E": 1 / ln2, "LN2": ln2, "LN2_HIGH": high, "LN2_LOW": ln2 - high}
        lines = [f"#define {name} {float(value)!r}\n" for name, value in numbers.items()]
        for name, terms, error in polynomials():
            bits = float(mpmath.log(error, 2))
            lines.append(
                f"/* The relative error is {float(error):.1e}, which is 2^{bits:.1f}. */\n"
            )
            lines.append(f"static const double {name}[] = {{\n")
            lines.extend(f"    {float(term)!r},\n" for term in terms)
            lines.append("};\n")
    return "".join(lines)


if __name__ == "__main__":
    print(block(), end="")  # noqa: T201
