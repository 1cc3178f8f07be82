"""What happens at zero, infinity, NaN and in the subnormal range, where there is no ULP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from portable_bce._verify.points import Points
from portable_bce._verify.subjects import Subject

_INF, _NAN = np.inf, np.nan
# exp(-|x|) is 0 in every format, and x is finite in every format.
_FAR = 1e4
# name -> (logits, targets, {value: exact result}); log 2 is not exact and stands among the ULP
CASES: dict[str, tuple[list[float], list[float], dict[str, list[float]]]] = {
    "logit 0 and -0": (
        [0.0, -0.0, 0.0, -0.0],
        [0.0, 0.0, 1.0, 0.25],
        {"grad": [0.5, 0.5, -0.5, 0.25], "hess": [0.25] * 4},
    ),
    "infinite, right label": (
        [_INF, -_INF],
        [1.0, 0.0],
        {"loss": [0.0, 0.0], "grad": [0.0, 0.0], "hess": [0.0, 0.0]},
    ),
    "infinite, wrong label": (
        [_INF, -_INF],
        [0.0, 1.0],
        {"loss": [_INF, _INF], "grad": [1.0, -1.0], "hess": [0.0, 0.0]},
    ),
    "infinite, soft label": (
        [_INF, -_INF],
        [0.25, 0.25],
        {"loss": [_INF, _INF], "grad": [0.75, -0.25], "hess": [0.0, 0.0]},
    ),
    "NaN logit, beside others": (
        [_NAN, -_FAR],
        [1.0, 0.0],
        {"loss": [_NAN, 0.0], "grad": [_NAN, 0.0], "hess": [_NAN, 0.0]},
    ),
    "NaN target, beside others": (
        [1.0, -_FAR],
        [_NAN, 0.0],
        {"loss": [_NAN, 0.0], "grad": [_NAN, 0.0]},
    ),
}
SUBNORMAL = "subnormal results"


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a special case: whether it is right, and what was returned."""

    case: str
    value: str
    right: bool
    got: str


def findings(subject: Subject) -> list[Finding]:
    """Evaluate every special case."""
    found = []
    with np.errstate(all="ignore"), subject.opened():
        for case, (x, y, expected) in CASES.items():
            got = _evaluated(subject, x, y)
            for value in (name for name in expected if name in got):
                wanted = np.asarray(expected[value])
                returned = got[value].astype(np.float64)
                right = bool(np.array_equal(returned, wanted, equal_nan=True))
                found.append(Finding(case, value, right, _listed(returned)))
        found += _subnormal(subject)
    return sorted(found, key=lambda one: list(CASES).index(one.case) if one.case in CASES else 99)


def _subnormal(subject: Subject) -> list[Finding]:
    """exp(-|x|) four binades below the smallest normal number: kept, or flushed to zero."""
    form = subject.spec.form
    x = -float(np.log(2.0)) * (form.least - 4)
    got = _evaluated(subject, [x, -x], [1.0, 0.0])
    return [
        Finding(
            SUBNORMAL,
            value,
            bool(np.all(returned != 0)) or subject.flushes,
            "kept" if np.all(returned != 0) else "flushed to zero",
        )
        for value, returned in got.items()
    ]


def _evaluated(subject: Subject, x: list[float], y: list[float]) -> dict[str, Any]:
    form = subject.spec.form
    points = Points(np.asarray(x, dtype=form.carrier), np.asarray(y, dtype=form.carrier))
    got = subject.evaluate(points if subject.xp is np else points.moved(subject.xp))
    return {
        name: value if subject.xp is np else subject.xp.asnumpy(value)
        for name, value in got.items()
    }


def _listed(values: Any) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
