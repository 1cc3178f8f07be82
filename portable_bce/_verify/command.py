"""``python -m portable_bce verify``: measure, print, and say whether the contract is kept."""

from __future__ import annotations

import importlib.util
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bar,
)

import portable_bce
from portable_bce import _kernels
from portable_bce._backends import require_file
from portable_bce._machine import described
from portable_bce._verify import report
from portable_bce._verify.exact import FORMATS
from portable_bce._verify.points import EVERY, TARGETS, regions
from portable_bce._verify.progress import Progress
from portable_bce._verify.request import Request
from portable_bce._verify.specials import findings
from portable_bce._verify.subjects import Spec, subject_of
from portable_bce._verify.validation import against_mpmath
from portable_bce._verify.verdict import Verdict
from portable_bce._verify.workers import Task, results


def run(request: Request, json_path: Path | None) -> int:
    """Measure what is asked and print it.

    Returns
    -------
    status : int
        0 if the contract is kept, 1 if it is broken, 130 if the run was interrupted.
    """
    request.check()
    require_file("--json", json_path)
    require_file("--state", request.state)
    console = Console(highlight=False, stderr=json_path == Path("-"))
    specs = request.specs()
    console.print(f"CPU kernels: {_kernels.describe()}")
    identity = {**request.identity(), "specs": [spec.title for spec in specs], **_versions(specs)}
    progress = Progress.resumed(identity, request.state)
    tasks = [
        (number, spec, chunk)
        for number, (spec, chunk) in enumerate(
            (spec, chunk) for spec in specs for chunk in request.chunks(spec)
        )
    ]
    try:
        _measure(console, tasks, progress, request.jobs)
    except KeyboardInterrupt:
        progress.write()
        console.print(f"stopped after {len(progress.done)} of {len(tasks)} pieces", end="")
        lost = "; nothing was kept: give --state FILE to go on later"
        console.print(f"; the same command goes on from {request.state}" if request.state else lost)
        return 130
    verdicts = [_verdict(spec, progress) for spec in specs]
    for verdict in verdicts:
        report.show(console, verdict)
    for name in request.left_out():
        console.print(f"\n{name} is left out: NumPy has no wider dtype on this platform")
    references = {name: _reference(name) for name in dict.fromkeys(one.dtype for one in specs)}
    report.show_references(console, references)
    kept = report.conclude(console, verdicts)
    if json_path is not None:
        found = {
            "machine": described(),
            "request": request.identity(),
            "reference": references,
            "kept": kept,
            "results": [verdict.record() for verdict in verdicts],
        }
        _write(json_path, json.dumps(found, indent=1) + "\n")
    progress.finish()
    return 0 if kept else 1


def _measure(console: Console, tasks: list[Task], progress: Progress, jobs: int) -> None:
    """Work off what is not done yet, under a bar with the time that is left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    total = sum(chunk.count for _, _, chunk in tasks)
    done = sum(chunk.count for number, _, chunk in tasks if number in progress.done)
    ahead = [task for task in tasks if task[0] not in progress.done]
    with (
        Bar(*columns, console=console, disable=not console.is_terminal) as bar,
        closing(results(ahead, jobs)) as found,
    ):
        row = bar.add_task("measuring", total=total, completed=done)
        try:
            for (number, spec, chunk), cells in found:
                progress.add(number, spec.title, cells)
                bar.update(row, advance=chunk.count, description=spec.title)
        finally:
            progress.write()


def _verdict(spec: Spec, progress: Progress) -> Verdict:
    subject = subject_of(spec)
    found = progress.worst[spec.title]
    order = [*TARGETS, EVERY], list(regions(spec.form))
    cells = sorted(found, key=lambda cell: (order[0].index(cell[0]), order[1].index(cell[1])))
    return Verdict(spec, subject.version, {cell: found[cell] for cell in cells}, findings(subject))


def _versions(specs: list[Spec]) -> dict[str, Any]:
    """Return what else must not change within one run."""
    versions = {spec.title: subject_of(spec).version for spec in specs}
    return {"portable_bce": portable_bce.__version__, "versions": versions} | {
        name: described()[name] for name in ("numpy dispatch", "kernels")
    }


def _write(path: Path, text: str) -> None:
    if path == Path("-"):
        sys.stdout.write(text)
    else:
        path.write_text(text)


def _reference(dtype: str) -> dict[str, Any]:
    """Say what errors were measured against, and how far that is from mpmath."""
    form = FORMATS[dtype]
    checked = all(importlib.util.find_spec(name) for name in ("mpmath", "hypothesis"))
    return {
        "dtype": form.wide.__name__,
        "ulps from mpmath": against_mpmath(form) if checked else None,
    }
