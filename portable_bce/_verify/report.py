"""What is printed: a table for each implementation and dtype, and what was found at the edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from portable_bce._verify.measure import VALUES
from portable_bce._verify.specials import SUBNORMAL
from portable_bce._verify.verdict import Verdict

_CAPTION = "the error nearest its bound | the bound, in ULP"


def show(console: Console, verdict: Verdict) -> None:
    """Print one implementation's worst errors by class of target and by class of logit."""
    spec = verdict.spec
    points = sum(worst.count for cell, worst in verdict.cells.items() if cell[2] == VALUES[0])
    title = f"[bold]{spec.title}[/bold] ({verdict.version}), {points:,} points"
    console.print(f"\n{title}")
    table = Table(caption=_CAPTION if verdict.ours else "largest error in ULP")
    table.add_column("target or logit")  # folds where a terminal is narrow, not the figures
    for value in VALUES:
        table.add_column(value, justify="right", no_wrap=True)
    for name in dict.fromkeys(cell[0] for cell in verdict.cells):
        table.add_row(f"y {name}", *_errors(verdict, targets=name))
    table.add_section()
    for name in dict.fromkeys(cell[1] for cell in verdict.cells):
        table.add_row(f"x {name}", *_errors(verdict, region=name))
    console.print(table)
    edges = [one for one in verdict.findings if one.case != SUBNORMAL]
    wrong = [one for one in edges if not one.right]
    for one in wrong:
        style = "red" if verdict.ours else "yellow"
        console.print(f"[{style}]{one.case}: {one.value} is {one.got}[/{style}]")
    if not wrong:
        console.print("zero, infinities and NaN: as they should be")
    lost = [f"{one.value} {one.got}" for one in verdict.findings if one.case == SUBNORMAL]
    console.print(f"{SUBNORMAL}: {', '.join(lost)}")
    if verdict.ours:
        console.print("[green]kept[/green]" if verdict.kept else "[red]BROKEN[/red]")


def show_references(console: Console, references: dict[str, dict[str, Any]]) -> None:
    """Print what errors were measured against, and how good that is."""
    console.print()
    for dtype, one in references.items():
        off = one["ulps from mpmath"]
        checked = (
            f"within {off:.2g} ULP of mpmath" if off is not None else "not held against mpmath"
        )
        console.print(f"reference of {dtype}: {one['dtype']}, {checked}")


def conclude(console: Console, verdicts: Iterable[Verdict]) -> bool:
    """Print whether the contract holds everywhere, and return it."""
    ours = [verdict for verdict in verdicts if verdict.ours]
    broken = [verdict.spec.title for verdict in ours if not verdict.kept]
    if broken:
        console.print(f"\n[red]The contract is broken[/red] on {'; '.join(broken)}.")
    else:
        console.print(f"\nThe contract is kept on all {len(ours)}.")
    return not broken


def _errors(
    verdict: Verdict, *, targets: str | None = None, region: str | None = None
) -> Iterator[str]:
    for value in VALUES:
        found = verdict.worst(value, targets=targets, region=region)
        if found is None:
            yield ""
            continue
        cell, worst = found
        if not verdict.ours:
            yield _ulps(worst.ulps)
            continue
        bound = verdict.bound(cell)
        colour = "green" if worst.ulps <= bound else "red"
        yield f"[{colour}]{_ulps(worst.ulps)}[/{colour}] | {bound:g}"


def _ulps(ulps: float) -> str:
    return f"{ulps:.4g}" if ulps < 1e4 else f"{ulps:.1e}"
