"""Write the figures of benchmarks/data/scale.json into docs/scale.md, between its markers.

    python benchmarks/scale_page.py [another report.json]

With another report the tables are printed, and the page is left alone.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pages import DATA, DOCS, Sections, fill, shown, table

OURS, HAND = "portable_bce", "published formula"
FLOAT32, MIB = 4, 2**20


def spread(values: Sequence[float]) -> str:
    """Return the median, and the quartiles in parentheses."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return shown({"median": median, "low": low, "high": high})


def seconds(run: dict[str, Any], name: str) -> list[float]:
    return [one["seconds"] for one in run["runs"][name]]


def contenders(run: dict[str, Any], chunk: int) -> str:
    rows = []
    for name, passes in run["runs"].items():
        times = seconds(run, name)
        held = max(one for each in passes for one in each["held"]) / (chunk * FLOAT32)
        peak = max(one for each in passes for one in each["peak"]) / MIB
        rate = run["elements"] / statistics.median(times) / 1e6
        rows.append([name, spread(times), f"{rate:,.0f}", f"{held:.2f}", f"{peak:,.0f}"])
    head = ("", "seconds (quartiles)", "million elements/s", "chunks held", "peak of a worker, MiB")
    return table(head, rows)


def ratios(found: dict[str, Any], name: str) -> list[str]:
    """Return ratios within each round: to Dask's operations, and an element to NumPy's."""
    run, size = found[name], found["request"]["in memory"]
    mine = seconds(run, OURS)
    by_hand = [one / other for one, other in zip(mine, seconds(run, HAND), strict=True)]
    one_each = size / run["elements"]
    in_memory = [one * one_each / other for one, other in zip(mine, run["in memory"], strict=True)]
    return [name, spread(by_hand), spread(in_memory)]


def same(run: dict[str, Any]) -> bool:
    """Tell whether every pass of ours gave the same bits, that with a worker killed too."""
    passes = [*run["runs"][OURS], *([run["killed"]] if "killed" in run else [])]
    return len({tuple(one["bits"]) for one in passes}) == 1


def lost(run: dict[str, Any]) -> str:
    killed = run["killed"]
    return (
        f"With one of the two workers killed after {killed['killed after']:.1f} s, it took "
        f"{killed['seconds']:.1f} s instead of {statistics.median(seconds(run, OURS)):.1f} s. "
        f"Loss and largest gradient of all {len(run['runs'][OURS]) + 1} passes, with this "
        f"one, are {'the same to the bit' if same(run) else '**not the same**'}."
    )


def page(found: dict[str, Any]) -> str:
    about, request = found["machine"], found["request"]
    settings = [name for name in found if name not in ("machine", "versions", "request")]
    packages = {"numpy": about["numpy"], **found["versions"]}
    chunk = request["chunk"]
    versions = ", ".join(f"{name} {version}" for name, version in packages.items())
    parts = [
        f"""- **Machine**: {about["cpu"]}, Python {about["python"]}, {versions}; {about["date"]}.
  NumPy's row: {about.get("kernels", "plain, measured before there were kernels")}.
- **Workers**: two processes of one thread and {request["memory limit"]} each.
- **Work**: chunks of {chunk:,} float32 logits ({chunk * FLOAT32 / MIB:.0f} MiB), generated and
  labelled on the workers; mean loss and largest gradient. {request["rounds"]} rounds were in random
  order.
- **Chunks held**: a worker's peak above its memory before the pass, in chunks of the logits."""
    ]
    for name in settings:
        parts += [
            f"**{found[name]['elements']:,} elements, settings: {name}**",
            contenders(found[name], chunk),
        ]
        if "killed" in found[name]:
            parts.append(lost(found[name]))
    head = ("settings", f"ours / {HAND}, same cluster", "ours / NumPy in memory, per element")
    parts += [
        "Ratios of times within each round. NumPy works in one process and one thread on "
        f"{request['in memory']:,} elements, generated and labelled there too, in one piece; the "
        "two workers use two cores.",
        table(head, [ratios(found, name) for name in settings]),
    ]
    return "\n\n".join(parts)


def pages(text: str) -> dict[Path, Sections]:
    """Return what each page has of the published report."""
    return {DOCS / "scale.md": {"figures": lambda: text}}


def main(report: str = "") -> None:
    """Print the tables of another report, or put those of the published one into the page."""
    text = page(json.loads(Path(report or DATA / "scale.json").read_text()))
    if report:
        sys.stdout.write(text + "\n")
        return
    for path, sections in pages(text).items():
        fill(path, sections)


if __name__ == "__main__":
    main(*sys.argv[1:])
