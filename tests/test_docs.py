"""What the documentation shows runs as it is shown."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)


def test_readme_examples_run() -> None:
    for block in blocks("README.md"):
        exec(compile(block, "README.md", "exec"), {})  # the reader's own words


def test_examples_of_testing_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each uses what those before it define; what a reader imports is their loss."""
    pytest.importorskip("torch")
    known: dict[str, Any] = {"__name__": "reader"}
    theirs = types.ModuleType("my_package")
    monkeypatch.setitem(sys.modules, "my_package", theirs)
    found = blocks("docs/testing.md")
    assert len(found) > 3
    for block in found:
        vars(theirs).update({name: known.get(name) for name in ("my_loss", "my_gradient")})
        exec(compile(block, "docs/testing.md", "exec"), known)
