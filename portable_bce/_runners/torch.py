"""PyTorch."""

from __future__ import annotations

from portable_bce._reduction import library_total
from portable_bce._runners.plain import Plain

RUNNER = Plain(library_total)
