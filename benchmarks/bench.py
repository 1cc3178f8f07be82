"""``python -m portable_bce bench``: ours beside what is installed, in one run."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from portable_bce._backends import UnavailableError, open_backend, require_file, version
from portable_bce._bench import device
from portable_bce._bench.contenders import Contender, contenders
from portable_bce._bench.timing import Ratio, Timed, ratios, timed
from portable_bce._machine import described

# Elements drawn at once: 64 KiB.
_PIECE = 2**13


@dataclass(frozen=True, slots=True)
class Request:
    """The options of bench; see ``python -m portable_bce bench --help``."""

    groups: tuple[str, ...]
    tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    dtypes: tuple[str, ...]
    seconds: float = 1.0
    threads: int = 1

    def check(self) -> None:
        """Refuse what cannot be timed.

        Raises
        ------
        UnavailableError
            With what was required and what was given.
        """
        if min(self.sizes) < 1:
            raise UnavailableError(f"`--size` must be at least 1; got {min(self.sizes)}")
        if self.threads < 1:
            raise UnavailableError(f"`--threads` must be at least 1; got {self.threads}")
        if not 0 < self.seconds < math.inf:
            raise UnavailableError(f"`--seconds` must be positive and finite; got {self.seconds}")
        if self.on_device and len(self.groups) > 1:
            raise UnavailableError("`--backend gpu` must be timed alone: it has a clock of its own")
        if "float16" in self.dtypes and not self.on_device:
            raise UnavailableError("`--dtype float16` must be timed with `--backend gpu`")

    @property
    def on_device(self) -> bool:
        """Whether a GPU is timed."""
        return device.GROUP in self.groups


def run(request: Request, json_path: Path | None) -> int:
    """Time what is asked, print ratios of medians with their quartiles, and return 0."""
    request.check()
    require_file("--json", json_path)
    console = Console(highlight=False)
    limit_threads(request.threads, request.groups)
    records: list[dict[str, Any]] = []
    with ExitStack() as opened:
        members, clock, about = _set_up(request, opened)
        for dtype in request.dtypes:
            found = list(members())
            for task in request.tasks:
                rows: dict[str, list[str]] = {}
                for size in request.sizes:
                    results = timed(found, task, *data(size, dtype), request.seconds, clock)
                    _note(rows, records, results, task, dtype, size)
                _show(console, f"{task}, {dtype}", request.sizes, rows)
    console.print("our time in units of the other's: median, quartiles. Below 1, ours is faster.")
    if json_path is not None:
        text = json.dumps(
            {
                "machine": described() | about,
                "versions": _versions(found),
                "request": asdict(request),
                "results": records,
            },
            indent=1,
        )
        json_path.write_text(text + "\n")
    return 0


def _set_up(
    request: Request, opened: ExitStack
) -> tuple[Callable[[], Iterator[Contender]], Callable[[], float], dict[str, Any]]:
    """Return what makes the contenders, their clock, and what is to be said of the device."""
    if request.on_device:
        opened.enter_context(open_backend("cupy"))
    opened.enter_context(open_backend("jax" if _there("jax") else "numpy"))
    if request.on_device:
        cupy = importlib.import_module("cupy")
        return partial(device.members, cupy), device.clock(cupy), {"device": device.described(cupy)}
    return partial(contenders, request.groups), clock_of(request.threads), {}


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


def limit_threads(threads: int, groups: tuple[str, ...]) -> None:
    """Give every library so many threads; XLA reads its own when it is first imported."""
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    if set(groups) - {"numpy", "jax"} and _there("torch"):
        importlib.import_module("torch").set_num_threads(threads)


def _note(
    rows: dict[str, list[str]],
    records: list[dict[str, Any]],
    results: list[Timed],
    task: str,
    dtype: str,
    size: int,
) -> None:
    for mine, other, ratio in ratios(results):
        title = f"{mine.contender.group}: {mine.contender.name} / {other.contender.name}"
        rows.setdefault(title, []).append(_shown(ratio))
        records.append(record(mine, other, ratio, task, dtype, size))


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


def _shown(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}, {ratio.high:.2f})"


def _show(console: Console, title: str, sizes: tuple[int, ...], rows: dict[str, list[str]]) -> None:
    """Print one line for each pair and size: eighty columns hold no more."""
    table = Table(title=title, title_justify="left")
    table.add_column("ours / other")
    table.add_column("n", justify="right")
    table.add_column("median (quartiles)", justify="right", no_wrap=True)
    for name, cells in rows.items():
        for index, (size, cell) in enumerate(zip(sizes, cells, strict=True)):
            table.add_row("" if index else name, f"{size:,}", cell)
        table.add_section()
    console.print(table)


def _versions(found: list[Contender]) -> dict[str, str]:
    groups = dict.fromkeys(one.group.partition(".")[0] for one in found)
    if device.GROUP in groups:
        groups = dict.fromkeys(name for name in ("cupy", "torch", "jax") if _there(name))
    packages = [*groups, *(name for name in ("sklearn", "scipy", "optax") if _there(name))]
    return {name: version(name) for name in packages}


def _there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
