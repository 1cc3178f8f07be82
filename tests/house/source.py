"""The package's source, for the tests that read it."""

from __future__ import annotations

import ast
from pathlib import Path

import portable_bce

PACKAGE = Path(portable_bce.__file__).parent
TEXTS = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text()
    for path in PACKAGE.rglob("*.py")
}
MODULES = {name: ast.parse(text) for name, text in TEXTS.items()}


def imports(module: str) -> set[str]:
    """Return what a module imports, its own package's modules by their whole names."""
    found = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: import from portable_bce by name"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                known = inner.removeprefix("portable_bce.")
                is_module = known in MODULES or f"{known}.__init__" in MODULES
                found.add(inner if is_module else str(node.module))
    return found
