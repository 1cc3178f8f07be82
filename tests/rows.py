"""The ways in which NumPy's arrays are evaluated, each of which keeps the same laws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from portable_bce import _evaluate
from portable_bce._job import Runner
from portable_bce._kernels import levels
from portable_bce._reduction import pairwise_total
from portable_bce._runners.numpy import SLICED, compiled
from portable_bce._runners.plain import Plain

PLAIN = Plain(pairwise_total)
COMPILED: dict[str, Runner] = {level.name: compiled(level) for level in levels}
# Of few elements, so that small arrays are cut, too.
FINELY: Any = replace(SLICED, elements=24)
ROWS: dict[str, Runner] = {"sliced": SLICED, "sliced finely": FINELY, **COMPILED}

every_level = pytest.mark.parametrize(
    "level",
    COMPILED or [pytest.param("", marks=pytest.mark.skip("the kernels were not compiled"))],
)


@contextmanager
def in_use(row: Runner) -> Iterator[None]:
    """Evaluate NumPy's arrays by a row."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(_evaluate._RUNNERS, "numpy", row)
        yield
