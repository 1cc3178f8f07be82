"""Time loss, gradient and Hessian, and what others call: ``nox -s bench -- --help``.

Every size and dtype of a library is timed in a fresh process, because a time depends on what
malloc did before (docs/speed.md). Ratios are formed in rounds in which everybody is called once.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import device
import numpy as np
from contenders import FORMULAS, TASKS, Contender, contenders
from pages import shown
from timing import ROUNDS, Ratio, Timed, ratios, timed

from portable_bce._commands import machine
from portable_bce._commands.machine import UnavailableError, installed, open_backend, version
from portable_bce._contract import DTYPES

if TYPE_CHECKING:
    from rich.table import Table

# Elements drawn at once: 64 KiB.
_PIECE = 2**13
TIMED = ("numpy", "torch", "jax")
PROGRAM = "nox -s bench --"


def main(arguments: Sequence[str] | None = None) -> int:
    """Time what is asked and return 0, 2 if it cannot be timed, or 130 at an interrupt."""
    options = parsed(arguments)
    if options.cell:
        cell = argparse.Namespace(**json.loads(options.cell))
        sys.stdout.write(json.dumps(measured(cell)) + "\n")
        return 0
    return machine.ended(PROGRAM, "verify", lambda: run(options))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    about = (__doc__ or "").partition(":")[0] + "."
    parser = argparse.ArgumentParser(prog=PROGRAM, description=about)
    add = parser.add_argument
    about = "default: all installed; gpu: CuPy, PyTorch and JAX on one GPU"
    add("--backend", nargs="+", choices=(*TIMED, device.GROUP), default=[], help=about)
    about = "what is computed (default: value_and_grad)"
    add("--task", nargs="+", choices=TASKS, default=["value_and_grad"], help=about)
    about = "elements (default: 1 10000 100000 1000000)"
    add("--size", nargs="+", type=int, default=[1, 10**4, 10**5, 10**6], metavar="N", help=about)
    names = [name for name in DTYPES if name != "bfloat16"]
    add("--dtype", nargs="+", choices=names, default=names[1:], help="default: float32 and float64")
    about = "time each task, size and dtype of a library for S seconds, all its rounds together, "
    about += f"and for {ROUNDS} rounds at least (default: 1)"
    add("--seconds", type=float, default=1.0, metavar="S", help=about)
    add("--threads", type=int, default=1, metavar="N", help="1 (by CPU time) or more (by the wall)")
    add("--json", type=Path, metavar="FILE", help="write everything to FILE")
    add("--cell", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be timed."""
    if min(options.size) < 1:
        raise UnavailableError(f"`--size` must be at least 1; got {min(options.size)}")
    if options.threads < 1:
        raise UnavailableError(f"`--threads` must be at least 1; got {options.threads}")
    if not 0 < options.seconds < math.inf:
        raise UnavailableError(f"`--seconds` must be positive and finite; got {options.seconds}")
    if device.GROUP in options.backend and len(options.backend) > 1:
        raise UnavailableError("`--backend gpu` must be timed alone: it has a clock of its own")
    if "float16" in options.dtype and device.GROUP not in options.backend:
        raise UnavailableError("`--dtype float16` must be timed with `--backend gpu`")
    machine.require_file("--json", options.json)
    for name in options.backend:
        with open_backend("cupy" if name == device.GROUP else name):
            pass  # or it says what is missing


def run(options: argparse.Namespace) -> int:
    """Time each cell in a process of its own, and print ratios of medians with quartiles."""
    check(options)
    groups = options.backend or [name for name in TIMED if installed(name)]
    cells = [
        (group, dtype, size) for group in groups for dtype in options.dtype for size in options.size
    ]
    records: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    with machine.progress(len(cells), "measurements") as advance:
        for group, dtype, size in cells:
            name = f"{group}, {dtype}, n = {size:,}"
            advance(0, name)
            found = apart(__file__, group=group, dtype=dtype, size=size, **common(options))
            about = found["about"]
            records += found["records"]
            advance(1, name)
    console = machine.console()
    for table in tables(records):
        console.print(table)
    console.print("Each figure is our time divided by the other's; below 1, ours is faster.")
    for name, meaning in FORMULAS.items():
        console.print(f"{name}: its sigmoid is {meaning}", markup=False)
    if options.json is not None:
        request = {"groups": groups, "tasks": options.task, "sizes": options.size}
        request |= {"dtypes": options.dtype, "seconds": options.seconds, "threads": options.threads}
        report = {
            "machine": machine.described() | about,
            "versions": versions(groups),
            "request": request,
            "results": records,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def common(options: argparse.Namespace) -> dict[str, Any]:
    """Return what all cells of a run share."""
    return {"tasks": options.task, "seconds": options.seconds, "threads": options.threads}


def apart(script: str, **cell: Any) -> Any:
    """Run a script on one cell in a fresh process, whose malloc is glibc's own."""
    environment = {key: value for key, value in os.environ.items() if "MALLOC" not in key}
    command = [sys.executable, script, "--cell", json.dumps(cell)]
    # In a session of its own Ctrl-C does not reach it; where it ends this process, it is killed.
    done = subprocess.run(
        command,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def measured(cell: argparse.Namespace) -> dict[str, Any]:
    """Time one library, dtype and size in this process."""
    limit_threads(cell.threads, cell.group)
    with ExitStack() as opened:
        members, clock, about = set_up(cell, opened)
        found = list(members())
        x, y = data(cell.size, cell.dtype)
        records = [
            record(*pair, task, cell.dtype, cell.size)
            for task in cell.tasks
            for pair in ratios(timed(found, task, x, y, cell.seconds, clock))
        ]
    return {"about": about, "records": records}


def set_up(
    cell: argparse.Namespace, opened: ExitStack
) -> tuple[Callable[[], Iterator[Contender]], Callable[[], float], dict[str, Any]]:
    """Return what makes the contenders, their clock, and what is to be said of the device."""
    on_device = cell.group == device.GROUP
    with_jax = cell.group == "jax" or (on_device and installed("jax"))
    opened.enter_context(open_backend("jax" if with_jax else "numpy"))
    if not on_device:
        return partial(contenders, cell.group), clock_of(cell.threads), {}
    opened.enter_context(open_backend("cupy"))
    cupy = importlib.import_module("cupy")
    return partial(device.members, cupy), device.clock(cupy), {"device": device.described(cupy)}


def data(size: int, dtype: str) -> tuple[Any, Any]:
    """Return logits as a trained model gives them, and labels drawn from their sigmoid.

    They are drawn in small pieces, because glibc's malloc maps large arrays afresh until the
    first of them is freed: what is timed shall find it as it was.
    """
    rng = np.random.default_rng(0)
    x, y = np.empty(size, dtype), np.empty(size, dtype)
    for start in range(0, size, _PIECE):
        part = rng.normal(0, 3, min(_PIECE, size - start))
        x[start : start + _PIECE] = part
        y[start : start + _PIECE] = rng.random(part.size) < 1 / (1 + np.exp(-part))
    return x, y


def clock_of(threads: int) -> Callable[[], float]:
    """Return CPU time for one thread, which other processes do not disturb, or else the wall's."""
    return time.process_time if threads == 1 else time.perf_counter


def limit_threads(threads: int, group: str) -> None:
    """Give a library so many threads; XLA reads its own when it is first imported."""
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if group not in ("numpy", "jax") and installed("torch"):
        importlib.import_module("torch").set_num_threads(threads)


def record(
    mine: Timed, other: Timed, ratio: Ratio, task: str, dtype: str, size: int
) -> dict[str, Any]:
    """Return what a report says of a pair."""
    return {
        "group": mine.contender.group,
        "ours": mine.contender.name,
        "other": other.contender.name,
        "task": task,
        "dtype": dtype,
        "size": size,
        "ratio": asdict(ratio),
        "rounds": len(mine.seconds),
        "our median, ns an element": 1e9 * float(np.median(mine.seconds)) / size,
        "their median, ns an element": 1e9 * float(np.median(other.seconds)) / size,
    }


def tables(records: list[dict[str, Any]]) -> Iterator[Table]:
    """Yield a table for each task and dtype: one line per pair and size, for eighty columns."""
    from rich.table import Table  # noqa: PLC0415 (so that a command can say that it is missing)

    for task, dtype in dict.fromkeys((one["task"], one["dtype"]) for one in records):
        table = Table(title=f"{task}, {dtype}", title_justify="left")
        table.add_column("ours / other")
        table.add_column("n", justify="right")
        table.add_column("median (quartiles)", justify="right", no_wrap=True)
        rows: dict[str, list[dict[str, Any]]] = {}
        for one in records:
            if (one["task"], one["dtype"]) == (task, dtype):
                rows.setdefault(f"{one['group']}: {one['ours']} / {one['other']}", []).append(one)
        for name, pairs in rows.items():
            for index, one in enumerate(pairs):
                table.add_row("" if index else name, f"{one['size']:,}", shown(one["ratio"]))
            table.add_section()
        yield table


def versions(groups: Sequence[str]) -> dict[str, str]:
    """Return the versions of what was timed."""
    libraries = ("cupy", "torch", "jax") if device.GROUP in groups else tuple(groups)
    names = dict.fromkeys((*libraries, "sklearn", "scipy", "optax"))
    return {name: version(name) for name in names if installed(name)}


if __name__ == "__main__":
    sys.exit(main())
