"""The pages of the documentation, and how their examples are run."""

from __future__ import annotations

import doctest
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from tests import backends

ROOT = Path(__file__).parents[1]
# Packages of the dependency group "libraries", which other sessions do not have.
OF_LIBRARIES = ("blosc2", "mlx", "ndonnx", "onnxruntime", "sparse")
NEEDS = re.compile(r"^<!-- needs: (.*) -->$", flags=re.MULTILINE)


def names() -> list[str]:
    """Return every page, by its path in the repository."""
    found = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    return ["README.md", *sorted(path.as_posix() for path in found if "_build" not in path.parts)]


def text(page: str) -> str:
    return (ROOT / page).read_text()


def section(page: str, title: str) -> str:
    """Return what stands below a heading of the second level."""
    (found,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text(page), re.DOTALL | re.MULTILINE
    )
    return str(found)


def needs(page: str) -> list[str]:
    """Return what a page names in `<!-- needs: torch, cupy -->`: packages, or backends of a GPU."""
    found = NEEDS.search(text(page))
    return [one.strip() for one in found[1].split(",")] if found else []


def on_gpu(page: str) -> bool:
    return not set(needs(page)).isdisjoint(backends.GPU)


def require(page: str) -> None:
    """Skip where something that the page needs is missing, or fail if it must be there."""
    for name in needs(page):
        if name in backends.GPU:
            backends.skip_if_missing(name)
        elif name in OF_LIBRARIES and importlib.util.find_spec(name) is None:
            fail = "libraries" in backends.required()
            (pytest.fail if fail else pytest.skip)(f"{name} is there in `nox -s libraries`")
        else:
            pytest.importorskip(name)


def parsed(page: str, source: str | None = None) -> Any:
    """Return a page as Sybil's document of examples."""
    # Not at the top: where nothing can be installed, as on some GPU machines, it is not there.
    sybil = pytest.importorskip("sybil")
    myst = pytest.importorskip("sybil.parsers.myst")
    # Output whose last digits depend on the machine may end in "...".
    parser = myst.PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS)
    document = sybil.Document(source or text(page), str(ROOT / page))
    for region in parser(document):
        document.add(region)
    document.namespace["__name__"] = "reader"
    return document


def run(page: str, source: str | None = None) -> dict[str, Any]:
    """Run the examples of a page, or of a part, one after the other; return what they define."""
    document = parsed(page, source)
    for example in document:
        example.evaluate()
    found: dict[str, Any] = document.namespace
    return found
