"""Enumerate the errors of the compiled kernels, into docs/accuracy/data.

    python benchmarks/kernels/sweep.py [--only NAME ...] [--every N] [--data FOLDER]

Needs GCC, and about half an hour of one core per level. Every level that this CPU runs is
measured, whatever the package was installed with: a driver in C is linked with the engine of the
level. Each report is written once: what is there is kept. An interrupted sweep goes on where it
was stopped, as long as neither the kernels nor the driver have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import HERE, LEVELS, ROOT, SOURCES, build, native_levels
from mpmath import mp

from portable_bce import _contract as contract
from portable_bce._commands.machine import described
from portable_bce._commands.sweep import EVERY, PLAIN, TARGETS, pattern, regions
from portable_bce._contract import FORMATS
from portable_bce.testing import reference, ulp

DATA = ROOT / "docs" / "accuracy" / "data"
VALUES = {"loss": reference.logit_loss, "grad": reference.logit_grad, "hess": reference.logit_hess}
# Logits of one piece of work, a second or two; of a 16-bit format, whose pairs they are.
PIECE, PIECE_OF_PAIRS = 2**24, 64
DRAWN = 14_300_000 // 2  # of each class of float64 logits and sign, so that a target has 10^8


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a report holds: ``every`` logit of a dtype if ``drawn`` is 0, else random ones."""

    dtypes: tuple[str, ...]
    targets: tuple[str, ...]
    drawn: int = 0


WEIGHTED = tuple(name for name, one in TARGETS.items() if one.weighted or one.factors)
SWEEPS = {
    "float32-hard": Sweep(("float32",), ("hard",)),
    "halves": Sweep(("float16", "bfloat16"), (EVERY,)),
    "float32-soft": Sweep(("float32",), PLAIN[1:]),
    "float32-weighted": Sweep(("float32",), WEIGHTED),
    "float64": Sweep(("float64",), tuple(TARGETS), DRAWN),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One run of the driver."""

    dtype: str
    targets: str
    region: str
    first: int
    last: int
    step: int
    drawn: int

    @property
    def arguments(self) -> list[str]:
        """The driver's arguments."""
        numbers = (self.first, self.last, self.step, self.drawn, self.first % 1_000_003)
        return [self.dtype, self.targets, *map(str, numbers)]


def parts(region: str, first: int, stop: int, targets: str) -> Iterator[tuple[str, int, int]]:
    """Yield what a class of float64 logits is cut into: pairs are whole up to NORMAL."""
    edge = pattern(contract.NORMAL, FORMATS["float64"])
    if first < edge:
        yield region, first, min(stop, edge)
    # With factors, which scale what a subnormal number has lost, the bounds end there.
    if stop > edge and targets not in WEIGHTED:
        yield (
            (f"{region}, beyond {contract.NORMAL:g}" if first < edge else region),
            max(first, edge),
            stop,
        )


def pieces(sweep: Sweep, every: int) -> Iterator[Piece]:
    for dtype in sweep.dtypes:
        form = FORMATS[dtype]
        size = (PIECE_OF_PAIRS if form.bits < 16 else PIECE) * every
        for targets in sweep.targets:
            for region, (first, stop) in regions(form).items():
                if sweep.drawn:
                    count = max(1, sweep.drawn // every)
                    for name, start, end in parts(region, first, stop, targets):
                        yield Piece(dtype, targets, name, start, end, 1, count)
                    continue
                for start in range(first, stop, size):
                    end = min(start + size, stop)
                    yield Piece(dtype, targets, region, start, end, every, 0)


def cells_of(printed: str, piece: Piece) -> Iterator[dict[str, Any]]:
    """Read what the driver printed."""
    for line in printed.splitlines():
        value, points, ulps, x, y, w, p, u, got = line.split()
        bounds = contract.bounds_for(piece.dtype, compiled=True)
        yield {
            "targets": piece.targets,
            "logits": piece.region,
            "value": value,
            "ulps": float(ulps),
            "bound": getattr(bounds, value),
            "points": int(points),
            **{"x": x, "y": y, "w": w, "p": p, "u": u, "got": got},
        }


def merged(worst: dict[str, Any], one: dict[str, Any]) -> None:
    """Keep the larger of two errors of one class, and count the points of both."""
    name = " | ".join((one["targets"], one["logits"], one["value"]))
    before = worst.get(name, one | {"points": 0})
    larger = one if one["ulps"] > before["ulps"] else before
    worst[name] = larger | {"points": before["points"] + one["points"]}


def by_mpmath(dtype: str, cell: dict[str, Any]) -> float:
    """Measure an error again, by 300 bits."""
    x, y, w, p, u, got = (float.fromhex(cell[name]) for name in ("x", "y", "w", "p", "u", "got"))
    with mp.workprec(300):
        a, b = reference.masses(y, p, u)
        scale = w * (a + b) * reference.sigmoid(-abs(mp.mpf(x)))
        lift = max(1.0, w * (1 + p)) if dtype == "float64" and (w, p) != (1, 1) else 1.0
        exact = VALUES[cell["value"]](x, y, w, p, u)
        scale = scale if cell["value"] == "grad" else 0
        return float(ulp.error(got, exact, dtype, scale=scale, underflow=lift))


def result(dtype: str, worst: dict[str, Any]) -> dict[str, Any]:
    cells = [one | {"ulps in mpmath": by_mpmath(dtype, one)} for one in worst.values()]
    return {
        "implementation": "portable_bce",
        "backend": "numpy",
        "version": "engine.c",
        "device": "cpu",
        "compiled": False,  # by jax.jit
        "dtype": dtype,
        "compute_dtype": None,
        "kept": all(max(one["ulps"], one["ulps in mpmath"]) <= one["bound"] for one in cells),
        "cells": cells,
        "special cases": [],
    }


def run(name: str, level: str, every: int, data: Path) -> bool:
    """Write a report, unless it is there; return whether the contract is kept."""
    sweep, report = SWEEPS[name], data / f"kernels-{level}-{name}.json"
    if report.exists():
        return True
    state_file = report.with_suffix(".state")
    drivers = [HERE / one for one in ("sweep.c", "call.h")]
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in (*SOURCES, *drivers)))
    identity = f"{digest.hexdigest()} {every}"
    state: dict[str, Any] = {"identity": identity, "done": 0, "worst": {}}
    if state_file.exists() and json.loads(state_file.read_text())["identity"] == identity:
        state = json.loads(state_file.read_text())
    plan = list(pieces(sweep, every))
    wide = ("-DWIDE=long double", "-DPRECISE") if "float64" in sweep.dtypes else ("-DWIDE=double",)
    with tempfile.TemporaryDirectory() as folder:
        program = build("sweep.c", level, Path(folder), *wide)
        for number, piece in enumerate(plan[state["done"] :], start=state["done"] + 1):
            command = [str(program), *piece.arguments]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            worst = state["worst"].setdefault(piece.dtype, {})
            for one in cells_of(printed, piece):
                merged(worst, one)
            state["done"] = number
            state_file.write_text(json.dumps(state))
            sys.stdout.write(f"\r{level} {name}: {number} of {len(plan)}")
            sys.stdout.flush()
    sys.stdout.write("\n")
    results = [result(dtype, worst) for dtype, worst in state["worst"].items()]
    exhaustive = not sweep.drawn
    found = {
        "machine": described() | {"kernels": f"compiled, {LEVELS[level][0]}"},
        "instrument": "benchmarks/kernels/sweep.py",
        "sources": digest.hexdigest(),
        "request": {"exhaustive": exhaustive, "every": every, "targets": list(sweep.targets)},
        "kept": all(one["kept"] for one in results),
        "results": results,
    }
    report.write_text(json.dumps(found, indent=1) + "\n")
    state_file.unlink()
    return bool(found["kept"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Enumerate the errors of the compiled kernels.")
    parser.add_argument("--only", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--every", type=int, default=1, help="one logit in N (default 1)")
    parser.add_argument("--data", type=Path, default=DATA, help="where the reports are written")
    options = parser.parse_args()
    os.nice(19)
    levels = native_levels()
    absent = ", ".join(name for level, (name, _) in LEVELS.items() if level not in levels)
    sys.stdout.write(f"levels: {', '.join(levels)}; this CPU does not run: {absent}\n")
    kept = [run(name, one, options.every, options.data) for one in levels for name in options.only]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
