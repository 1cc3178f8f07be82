"""Cubed computes nothing before it is asked, and then in memory that the chunks alone decide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import portable_bce
from tests import pages
from tests.libraries.conforming.libraries import named, names_here

pytestmark = pytest.mark.skipif("cubed" not in names_here(), reason="cubed is not installed")

CHUNK = 2_000
# Of the logits in float32, projected for one task; docs/scale.md names it.
CHUNKS_HELD = 7


@pytest.fixture
def cubed() -> Any:
    named("cubed")
    import cubed

    return cubed


def arrays(cubed: Any, folder: Path, chunks: int) -> tuple[Any, Any, Any]:
    spec = cubed.Spec(work_dir=str(folder), allowed_mem="1MB", reserved_mem=0)
    x = np.linspace(-40, 40, chunks * CHUNK, dtype=np.float32)
    values = (x, x > 1, np.abs(x))
    return tuple(cubed.from_array(one, chunks=(CHUNK,), spec=spec) for one in values)


@pytest.mark.parametrize("options", ["none", "mean", "where", "weight"])
def test_projected_memory_depends_on_the_chunks_alone(
    cubed: Any, tmp_path: Path, options: str
) -> None:
    projected = set()
    for chunks in (5, 50):
        x, y, w = arrays(cubed, tmp_path, chunks)
        keywords = {
            "none": {"reduction": "none"},
            "mean": {},
            "where": {"where": y},
            "weight": {"weight": w, "pos_weight": 3.0, "reduction": "weighted_mean"},
        }[options]
        loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, **keywords)
        projected.add(cubed.plan(loss).max_projected_mem)
        assert cubed.plan(loss, grad).max_projected_mem <= CHUNKS_HELD * 4 * CHUNK + 1024
    assert len(projected) == 1


def test_nothing_is_computed_before_it_is_asked(
    cubed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Multiplied by a scalar of NumPy's, an array of Cubed is computed."""

    def compute(*_: Any, **__: Any) -> None:
        pytest.fail("an array was computed")

    x, y, w = arrays(cubed, tmp_path, 3)
    with monkeypatch.context() as patched:
        patched.setattr("cubed.core.array.CoreArray.compute", compute)
        patched.setattr("cubed.core.array.compute", compute)
        loss, grad = portable_bce.bce_with_logits_value_and_grad(x, y, weight=w, where=w > 1)
        _, hess = portable_bce.bce_with_logits_grad_and_hess(x, y)
        _, pullback = portable_bce.bce_with_logits_vjp(x, y)
        by_x, by_y = pullback(2.0)
        chance = portable_bce.bce(portable_bce.sigmoid(x), y, eps=1e-6)
    for array in (loss, grad, hess, by_x, by_y, chance):
        assert type(array) is type(x)


def test_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not among the examples of the page that run with it, which need Dask alone."""
    named("cubed")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```py\n(.*?)```", pages.section("docs/scale.md", "Cubed"), re.DOTALL)
    exec(example, {"__name__": "reader"})
