"""Measure the constants of docs/derivation.md, by every float32 logit, on this machine.

    python benchmarks/constants.py [numpy | torch | jax] [one logit in N]

With the label that the logit's sign predicts, the loss is log1p(exp(-|x|)) and the gradient
q = exp(-|x|) / (1 + exp(-|x|)), each to the last bit. Their largest errors in ULP are the
derivation's Lambda and Q, and Q_1 that over |x| <= 1.1; C_l and C_q are relative, in units of
2^-24. The constants are those of a library's exp and log1p, so the compiled kernels are left out.
"""

# ruff: noqa: E402  the package must be imported as one without kernels

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

sys.modules["portable_bce._kernels._compiled"] = None  # type: ignore[assignment]

from portable_bce._commands.exact import Exact, errors
from portable_bce._commands.machine import described
from portable_bce._commands.subjects import Spec, subject_of
from portable_bce._commands.sweep import Points, Subject, pattern
from portable_bce._contract import FORMATS

FORM = FORMATS["float32"]
BLOCK = 2**15
NEAR = 1.1
LAST = 87.33  # exp(-|x|) is a normal number up to here; beyond, relative errors say nothing
END = 104.5  # and 0 from here on


def blocks(first: float, last: float, every: int) -> Iterator[Any]:
    """Yield the logits from -first to -last, or one in ``every`` of them."""
    start, stop = pattern(first, FORM), pattern(last, FORM) + 1
    for place in range(start, stop, BLOCK * every):
        bits = np.minimum(np.arange(place, place + BLOCK * every, every), stop - 1)
        yield -bits.astype(np.uint32).view(np.float32)


def worst(
    subject: Subject, first: float, last: float, every: int
) -> dict[str, tuple[float, float]]:
    """Return the largest error of loss and gradient, in ULP and relative."""
    found = {"loss": (0.0, 0.0), "grad": (0.0, 0.0)}
    lost = FORM.smallest_normal if subject.flushes else None
    for x in blocks(first, last, every):
        got = subject.evaluate(Points(x, np.zeros_like(x)))
        exact = Exact.of(np, x.astype(np.float64))
        for name, value in (("loss", exact.softplus), ("grad", exact.sigmoid)):
            ulps = errors(np, got[name], value, None, FORM.smallest, FORM, lost).max()
            relative = (np.abs(got[name] / value - 1) * 2**24)[x >= -LAST].max(initial=0)
            found[name] = max(found[name][0], float(ulps)), max(found[name][1], float(relative))
    return found


def main(backend: str = "numpy", every: str = "1") -> None:
    subject = subject_of(Spec("portable_bce", backend, "float32"))
    with np.errstate(all="ignore"), subject.opened():
        near = worst(subject, 0.0, NEAR, int(every))
        far = worst(subject, NEAR, END, int(every))
    both = {name: [max(pair) for pair in zip(near[name], far[name], strict=True)] for name in near}
    found = {
        "library": subject.version,
        "machine": described(),
        "one logit in": int(every),
        "Lambda": both["loss"][0],
        "Q": both["grad"][0],
        "Q_1": near["grad"][0],
        "C_l": both["loss"][1],
        "C_q": both["grad"][1],
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
