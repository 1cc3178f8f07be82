"""The formula from the other end, of x = sigmoid(logit), with the same masses A and B.

loss = -A log(x) - B log(1 - x)
grad = B / (1 - x) - A / x
hess = B / (1 - x)^2 + A / x^2        with 0 log 0 = 0 and 0 / 0 = 0
"""

from portable_bce._formula import masses, slopes, times


def with_probabilities(xp, wanted, x, y, w, p, u, eps=None):
    """Evaluate the names wanted of a probability x.

    ``eps`` clamps x to [eps, 1 - eps]; where it does, the derivatives by x are 0.
    """
    outside = None
    if eps is not None:
        outside = (x < eps) | (x > 1 - eps)
        x = xp.where(x < eps, eps, xp.where(x > 1 - eps, 1 - eps, x))
    positive, negative = masses(y, w, p, u)

    def parts():
        """Denominators x and 1 - x, or 1 under a numerator of 0 (unless x is NaN)."""
        chance = xp.where((positive == 0) & (x >= 0), 1.0, x)
        return chance, xp.where((negative == 0) & (x <= 1), 1.0, 1 - x)

    def linear(positive, negative):
        # The argument is replaced, not the product: autodiff would keep the 1 / 0.
        info = xp.finfo(x.dtype)
        chance = xp.where((positive == 0) & (x == 0), info.smallest_normal, x)
        other = xp.where((negative == 0) & (x == 1), 1 - info.eps / 2, x)
        return -positive * xp.log(chance) - negative * xp.log1p(-other)

    def slope():
        chance, rest = parts()
        apart = negative / rest - positive / chance
        if p is not None or u:
            return apart
        # On one denominator the difference is exact where the two quotients cancel. The
        # weight comes first: the quotient of a subnormal x is infinite. So that the weighted
        # difference is not subnormal in its place, both are lifted by a power of two.
        spread, lift = x * (1 - x), 1.0
        if w is not None:
            root = xp.finfo(x.dtype).smallest_normal ** 0.5
            lift = 1 + xp.astype(xp.abs(x - y) < root, x.dtype) / root  # 1 or, rounded, 1 / root
        one = lift * xp.where(spread == 0, 1.0, spread)
        return xp.where(spread == 0, apart, times(w, lift * (x - y)) / one)

    def curvature():
        # Not A / x / x: XLA makes A / (x x) of it, and x x is 0 below 1e-23 in float32.
        chance, rest = parts()
        return (positive / chance) * (1 / chance) + (negative / rest) * (1 / rest)

    def inside(derivative):
        return derivative if outside is None else xp.where(outside, 0.0, derivative)

    value = {
        "loss": lambda: linear(positive, negative),
        "grad": lambda: inside(slope()),
        "hess": lambda: inside(curvature()),
        "grad_targets": lambda: linear(*slopes(w, p, u)),
    }
    return tuple(value[name]() for name in wanted)
