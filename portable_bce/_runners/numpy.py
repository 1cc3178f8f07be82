"""NumPy: the compiled kernels, else the plain formula over slices that stay in the cache."""

from __future__ import annotations

from portable_bce._reduction import pairwise_total
from portable_bce._runners.plain import Plain

RUNNER = Plain(pairwise_total)
