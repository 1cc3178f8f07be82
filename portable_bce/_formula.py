"""Binary cross-entropy, its derivatives, and nothing else.

x is the logit, y the target, w the weight, p the weight of the positive class, u the
label smoothing; logarithms are natural. With A = w p y, which pulls towards 1, and
B = w (1 - y), which pulls towards 0 (y and 1 - y each smoothed to (1 - u) y + u / 2):

    loss = A softplus(-x) + B softplus(x)      = x d + (A + B) log1p(e)
    grad = B sigmoid(x) - A sigmoid(-x)        = d + m (A + B) q
    hess = (A + B) sigmoid(x) sigmoid(-x)      = (A + B) (q - q q)

    s = [x >= 0]   m = 1 - 2 s   e = exp(m x) = exp(-|x|)   q = e / (1 + e)
    d = s B - (1 - s) A          the mass that contradicts the sign of x

The terms of the loss are not negative, so nothing cancels; e <= 1, so nothing overflows.
q - q q rounds once less than q (1 - q) where q is small; q q <= q / 2, so nothing is lost.
To automatic differentiation s and m are constants, so its derivatives are right to every
order, at x = 0 too (abs and maximum are wrong there). None stands for a factor of one;
finite says that no x is infinite, or that nothing wanted multiplies by x.
"""


def with_logits(xp, wanted, x, y, w, p, u, finite=False):
    s = xp.astype(x >= 0, x.dtype)
    m = 1 - 2 * s
    e = xp.exp(m * x)
    q = e / (1 + e) if "grad" in wanted or "hess" in wanted else None

    def against(positive, negative):
        # The side that is 0 is left out, not added: its derivative would be 0 times x.
        one, other = s * negative, (s - 1) * positive
        return one + other if finite else xp.where(x >= 0, one, other)

    if p is None and not u:
        d, whole = times(w, s - y), w  # the same to the last bit, in one operation
    else:
        positive, negative = masses(y, w, p, u)
        d, whole = against(positive, negative), w if p is None else positive + negative

    def along(d):
        # 0 times infinity is 0 here. Only an infinite x is replaced, by the largest number
        # of its sign: where(d == 0, 0, x d) would lose the derivative by d of hard labels.
        safe = x if finite else xp.where((d == 0) & xp.isinf(x), -m * xp.finfo(x.dtype).max, x)
        return safe * d

    def linear(d, whole):
        return along(d) + times(whole, xp.log1p(e))

    def of_masses(positive, negative):
        return linear(against(positive, negative), positive + negative)

    value = {
        "loss": lambda: linear(d, whole),
        "grad": lambda: d + m * times(whole, q),
        "hess": lambda: times(whole, q - q * q),
        "grad_targets": lambda: of_masses(*slopes(w, p, u)),
        "terms": lambda: (along(d), e),  # for sums: x d, and the e of log1p(e)
    }
    return tuple(value[name]() for name in wanted)


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
