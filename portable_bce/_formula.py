"""Binary cross-entropy and its derivatives, from logits and from probabilities.

y is the target, w the weight, p the weight of the positive class, u the label smoothing;
logarithms are natural. A = w p y pulls towards 1, and B = w (1 - y) pulls towards 0
(y and 1 - y are each smoothed to (1 - u) y + u / 2). None stands for a factor of one.

From a logit x:

    loss = A softplus(-x) + B softplus(x)      = x d + (A + B) log1p(e)
    grad = B sigmoid(x) - A sigmoid(-x)        = d + m (A + B) q
    hess = (A + B) sigmoid(x) sigmoid(-x)      = (A + B) (q - q q)

    s = [x >= 0]   m = 1 - 2 s   e = exp(m x) = exp(-|x|)   q = e / (1 + e)
    d = s B - (1 - s) A          the mass that contradicts the sign of x

The terms of the loss are not negative, so nothing cancels; e <= 1, so nothing overflows.
q - q q rounds once less than q (1 - q) where q is small; q q <= q / 2, so nothing is lost.
To automatic differentiation s and m are constants, so its derivatives are right to every
order, at x = 0 too (those of abs and maximum are wrong there).

From a probability x:

    loss = -A log(x) - B log(1 - x)            with 0 log 0 = 0
    grad = B / (1 - x) - A / x                 with 0 / 0 = 0
    hess = B / (1 - x)^2 + A / x^2

A function returns the values named by ``outputs``: "loss", "grad", "hess" (with respect to
x) and "grad_targets" (the derivative of the loss with respect to y), one per element.
"""


def with_logits(xp, outputs, x, y, w, p, u):
    s = xp.astype(x >= 0, x.dtype)
    m = 1 - 2 * s
    e = xp.exp(m * x)
    q = e / (1 + e) if "grad" in outputs or "hess" in outputs else None

    def against(positive, negative):
        # The side that is 0 is left out, not added: its derivative would be 0 times x.
        return xp.where(x >= 0, s * negative, (s - 1) * positive)

    if p is None and not u:
        d, mass = times(w, s - y), w  # the same to the last bit, in one operation
    else:
        positive, negative = masses(y, w, p, u)
        d, mass = against(positive, negative), w if p is None else positive + negative

    def linear(d, mass):
        # 0 times infinity is 0 here. Only an infinite x is replaced, by the largest number of its
        # sign: where(d == 0, 0, x d) would lose the derivative of hard labels with respect to d.
        finite = xp.where((d == 0) & xp.isinf(x), -m * xp.finfo(x.dtype).max, x)
        return finite * d + times(mass, xp.log1p(e))

    def of_masses(positive, negative):
        return linear(against(positive, negative), positive + negative)

    value = {
        "loss": lambda: linear(d, mass),
        "grad": lambda: d + m * times(mass, q),
        "hess": lambda: times(mass, q - q * q),
        "grad_targets": lambda: of_masses(*slopes(w, p, u)),
    }
    return tuple(value[name]() for name in outputs)


def with_probabilities(xp, outputs, x, y, w, p, u, eps=None):
    # eps clamps x to [eps, 1 - eps]; where it does, the derivatives with respect to x are 0.
    outside = None
    if eps is not None:
        outside = (x < eps) | (x > 1 - eps)
        x = xp.where(x < eps, eps, xp.where(x > 1 - eps, 1 - eps, x))
    positive, negative = masses(y, w, p, u)

    def parts():
        # The denominators x and 1 - x, or 1 under a numerator of 0 (unless x is NaN).
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
    return tuple(value[name]() for name in outputs)


def masses(y, w, p, u):
    """A and B. Smoothed apart: 1 - smoothed(y) would cancel near y = 1."""
    positive, negative = y, 1 - y
    if u:
        positive, negative = (1 - u) * positive + u / 2, (1 - u) * negative + u / 2
    return times(w, times(p, positive)), times(w, negative)


def slopes(w, p, u):
    """dA/dy and dB/dy. The loss is linear in A and B, so the same formula takes them."""
    return times(w, times(p, 1 - u)), times(w, u - 1)


def times(factor, term):
    return term if factor is None else factor * term


def cotangent_product(xp, outputs, x, y, w, p, u):
    """Return what a pullback returns: a derivative x times a cotangent w."""
    return (times(w, x),)


def denominator_terms(xp, outputs, x, y, w, p, u):
    """Return what each element adds to the denominator of a mean: its weight, or 1."""
    return (times(w, xp.astype((x == x) | (x != x), x.dtype)),)
