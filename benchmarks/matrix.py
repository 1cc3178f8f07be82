"""Try every law of portable_bce.testing on what others call: ``python benchmarks/matrix.py``.

Each of others.py is tried in a process of its own. What is installed is tried again, and what is
not keeps its entry in data/matrix.json. docs/matrix.md is written from that file, and the lists
of laws in docs/testing.md from the laws.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from others import OTHERS
from pages import DATA, DOCS, Sections, fill, load, table

from portable_bce._commands.machine import described, open_backend
from portable_bce.testing import INTERFACE_LAWS, LAWS, Broken, Law, check_interface

EXAMPLES = 25
FILE = DATA / "matrix.json"
ALL = (*LAWS, *INTERFACE_LAWS)
# the dtypes in which a law is broken -> how the table says it
CELLS = {("float32",): "32", ("float64",): "64", ("float32", "float64"): "both"}


def entry(name: str) -> dict[str, Any]:
    """Return what the laws say of one of the others."""
    make, packages, _ = OTHERS[name]
    warnings.simplefilter("ignore")
    with open_backend("jax") if "jax" in packages else nullcontext():
        given = make()
        report = check_interface(given.pop("loss"), examples=EXAMPLES, **given)
    return {
        "what": (make.__doc__ or "").partition("\n")[0],
        "versions": {package: importlib.metadata.version(package) for package in packages},
        **{name: described()[name] for name in ("date", "python", "cpu")},
        "dtypes": report.dtypes,
        "kept": [law.name for law in report.passed],
        "broken": [written(broken) for broken in report.broken],
    }


def written(broken: Broken) -> dict[str, str]:
    """Return a broken law with its example, each in one short line."""
    parts = {"example": broken.example, "got": broken.got, "required": broken.required}
    short = {name: " ".join(text.split())[:160] for name, text in parts.items()}
    return {"law": broken.law.name, "dtype": broken.dtype, **short}


def measured(name: str) -> dict[str, Any] | str:
    """Return an entry that another process measured, or the last line of its error."""
    command = [sys.executable, __file__, "--entry", name]
    environment = os.environ | OTHERS[name][2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["ended without an error"])[-1]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def laws(known: Iterable[Law]) -> str:
    """Return a table of laws."""
    return table(["law", "statement"], ([f"`{law}`", law.statement] for law in known))


def overview(entries: dict[str, Any]) -> str:
    """Return a table of what was tried, and how many laws it keeps and breaks."""
    rows = []
    for name, one in entries.items():
        versions = ", ".join(f"{package} {version}" for package, version in one["versions"].items())
        broken = len({broken["law"] for broken in one["broken"]})
        counts = (str(broken), str(len(one["kept"])))
        what = one["what"].rstrip(".").replace("|", "\\|")
        rows.append([name, what, versions, one["date"], *counts])
    machines = {f"{one['cpu']}, Python {one['python']}" for one in entries.values()}
    head = ["", "what was called", "versions", "date", "breaks", "keeps"]
    return f"Measured on {' and '.join(sorted(machines))}.\n\n{table(head, rows)}"


def matrix(entries: dict[str, Any]) -> str:
    """Return the table of laws that somebody breaks."""
    rows = []
    for law in ALL:
        cells = [cell(one, law.name) for one in entries.values()]
        if set(cells) - {"·", ""}:
            rows.append([f"`{law}`", *cells])
    return table(["law", *entries], rows)


def cell(one: dict[str, Any], law: str) -> str:
    dtypes = tuple(broken["dtype"] for broken in one["broken"] if broken["law"] == law)
    return CELLS[dtypes] if dtypes else "·" if law in one["kept"] else ""


def examples(entries: dict[str, Any]) -> str:
    """Return a table for each of the others: the smallest example of each law that it breaks."""
    parts = []
    for name, one in entries.items():
        rows: dict[str, list[str]] = {}
        for broken in one["broken"]:
            texts = (broken[key].replace("|", "\\|") for key in ("example", "got", "required"))
            rows.setdefault(broken["law"], [f"`{broken['law']}`", broken["dtype"], *texts])
        head = ["law", "dtype", "example", "got", "required"]
        parts.append(f"### {name}\n\n{table(head, rows.values())}")
    return "\n\n".join(parts)


def pages(entries: dict[str, Any]) -> dict[Path, Sections]:
    """Return what stands between the marks of each page."""
    tables = {"overview": overview, "matrix": matrix, "examples": examples}
    lists = {"laws": LAWS, "interface-laws": INTERFACE_LAWS}
    return {
        DOCS / "matrix.md": {name: partial(make, entries) for name, make in tables.items()},
        DOCS / "testing.md": {name: partial(laws, known) for name, known in lists.items()},
    }


def main() -> None:
    """Measure what is installed, and write the file and the page."""
    parser = argparse.ArgumentParser(description="Who breaks which law of binary cross-entropy.")
    parser.add_argument("--entry", choices=OTHERS, help="print one, as JSON")
    parser.add_argument("--only", choices=OTHERS, nargs="+", default=list(OTHERS), help="try these")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    options = parser.parse_args()
    if options.entry:
        sys.stdout.write(json.dumps(entry(options.entry)) + "\n")
        return
    entries = load("matrix") or {}
    for name in [] if options.page else options.only:
        found = measured(name)
        if isinstance(found, str):
            sys.stderr.write(f"{name}: {found}\n")
            continue
        broken = len({broken["law"] for broken in found["broken"]})
        sys.stderr.write(f"{name}: {broken} broken, {len(found['kept'])} kept\n")
        entries[name] = found
        entries = {name: entries[name] for name in OTHERS if name in entries}
        FILE.write_text(json.dumps(entries, indent=1) + "\n")
    for path, sections in pages(entries).items():
        fill(path, sections)


if __name__ == "__main__":
    main()
