"""The rows on which PyTorch's tensors are evaluated, each of which keeps the same laws."""

from __future__ import annotations

from typing import Any

import pytest

from portable_bce._kernels import levels


@pytest.fixture(params=["compiled", "plain"])
def row(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Evaluate tensors by the compiled kernels, or by PyTorch's operations, while a test runs."""
    runner: Any = pytest.importorskip("portable_bce._runners.torch")
    name: str = request.param
    if name == "plain":
        monkeypatch.setattr(runner, "RUNNER", runner.Torch(None))
    elif not levels:
        pytest.skip("the kernels were not compiled")
    return name
