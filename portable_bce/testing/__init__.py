"""Test your own binary cross-entropy: laws, exact values, inputs that break it, errors in ULP.

`check` runs every law on a function of logits and targets, of any array library:

>>> import numpy as np
>>> from portable_bce.testing import check
>>> def loss(logits, targets):
...     return np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
>>> report = check(loss, xp=np, dtypes=["float64"], examples=20)
>>> for broken in report.broken[:2]:
...     print(broken.law, broken.logits, broken.targets, broken.got)
loss_of_soft_labels_is_within_its_bound 14.6 0.999 0.014600456352532386
loss_at_infinite_logits_is_its_limit inf 0.0 nan

Needs mpmath and hypothesis: ``pip install "portable-bce[verify]"``.
"""

from __future__ import annotations

try:
    from portable_bce._contract import Bounds, bounds_for
    from portable_bce.testing import reference, strategies, ulp
    from portable_bce.testing._check import INTERFACE_LAWS, check, check_interface, laws_for
    from portable_bce.testing._elementwise import LAWS
    from portable_bce.testing._law import Law
    from portable_bce.testing._report import Broken, Report
except ModuleNotFoundError as error:
    if error.name not in ("hypothesis", "mpmath"):
        raise
    raise ModuleNotFoundError(
        f"portable_bce.testing needs {error.name}, which is not installed. "
        'Use `pip install "portable-bce[verify]"`',
        name=error.name,
    ) from error

__all__ = [
    "INTERFACE_LAWS",
    "LAWS",
    "Bounds",
    "Broken",
    "Law",
    "Report",
    "bounds_for",
    "check",
    "check_interface",
    "laws_for",
    "reference",
    "strategies",
    "ulp",
]
