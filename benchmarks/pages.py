"""What writes figures into pages: between two marks such as <!-- numpy --> and <!-- /numpy -->.

Marks on lines of their own hold tables and paragraphs; marks within a line hold a figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parents[1]
DOCS, README = ROOT / "docs", ROOT / "README.md"
DATA = Path(__file__).parent / "data"
# What stands between the marks of each name.
Sections: TypeAlias = Mapping[str, Callable[[], str]]


def fill(path: Path, sections: Sections) -> None:
    """Replace what stands between the marks of each section; the text around them stays."""
    path.write_text(filled(path, sections))


def filled(path: Path, sections: Sections) -> str:
    """Return the text of a page with its sections replaced."""
    text = path.read_text()
    for name, make in sections.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        before, mark, rest = text.partition(start)
        old, closing, after = rest.partition(end)
        if not (mark and closing):
            raise SystemExit(f"{path} has no section {name}")
        new = make().strip()
        if old.startswith("\n"):
            new = f"\n\n{new}\n\n"
        text = f"{before}{start}{new}{end}{after}"
    return text


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(ratio: Mapping[str, float]) -> str:
    """Write a median with its quartiles, which a narrow column keeps on one line."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f},\N{NO-BREAK SPACE}{ratio['high']:.2f})"


def power(size: int) -> str:
    """Write a power of ten as such."""
    digits = str(size)
    if size < 1000 or digits.strip("0") != "1":
        return f"{size:,}"
    return f"10{superscript(len(digits) - 1)}"


def superscript(number: int) -> str:
    """Write an exponent."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def load(name: str) -> dict[str, Any] | None:
    """Return a report of benchmarks/data, or None if there is none."""
    path = DATA / f"{name}.json"
    report: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return report
