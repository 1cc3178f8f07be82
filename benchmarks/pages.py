"""What writes figures into pages: between two marks such as <!-- numpy --> and <!-- /numpy -->."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS, README = ROOT / "docs", ROOT / "README.md"
DATA = Path(__file__).parent / "data"


def fill(path: Path, sections: Mapping[str, Callable[[], str]]) -> None:
    """Replace what stands between the marks of each section; the text around them stays."""
    text = path.read_text()
    for name, make in sections.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, mark, rest = text.partition(start)
        _, closing, after = rest.partition(end)
        if not (mark and closing):
            raise SystemExit(f"{path} has no section {name}")
        text = f"{before}{start}\n{make().strip()}\n\n{end}{after}"
    path.write_text(text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(ratio: Mapping[str, float]) -> str:
    """Write a median with its quartiles."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}, {ratio['high']:.2f})"


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
