"""Measure what docs/speed.md publishes, into benchmarks/data/speed.json: about ten minutes.

    python benchmarks/speed.py [--json FILE]
    python benchmarks/speed_page.py [FILE]

Each size and dtype is timed in a fresh process, because times at a million elements depend on what
malloc did before: by default glibc maps large arrays afresh, until a larger one was freed. "Warm"
says that one was. One thread is timed by CPU time and two by the wall, so nothing else may run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import contenders
import numpy as np
from bench import apart, clock_of, data, limit_threads, record, versions
from contenders import OURS, Contender
from pages import DATA
from timing import ratios, timed

import portable_bce
from portable_bce import _kernels
from portable_bce._commands import machine
from portable_bce._commands.machine import installed, open_backend
from portable_bce._evaluate import _RUNNERS
from portable_bce._runners import numpy as numpy_runners

HERE = Path(__file__).parent
SIZES = [1, 10**3, 10**4, 10**5, 10**6, 10**7]
DTYPES = ("float32", "float64")
# Sizes at which malloc matters, at which a second thread is of use, and from which on the
# compiler of PyTorch is worth its time.
WARM, TWO_THREADS, COMPILED = (10**5, 10**6), (10**4, 10**6, 10**7), 10**6
# The array whose release warms the heap: the largest by which glibc raises its threshold.
LARGEST = 2**25 - 2**16
PLAIN = "plain"
NUMPY = (OURS, "shortest formula", "published formula", "scikit-learn")
VARIANTS = (1000, 1000)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one process times; ``row`` is an instruction set of the kernels, or "plain"."""

    group: str
    dtype: str
    size: int
    row: str
    tasks: tuple[str, ...] = ("value_and_grad",)
    threads: int = 1
    heap: str = "fresh"
    seconds: float = 1.0
    rounds: int = 7


def plan(sizes: list[int], rows: list[str], given: Cell) -> Iterator[Cell]:
    """Yield a cell for each process; ``given`` holds seconds and rounds."""
    both = ("value_and_grad", "losses")
    for dtype in DTYPES:
        for size in sizes:
            cell = replace(given, dtype=dtype, size=size, row=rows[0])
            of_numpy = [replace(cell, row=row) for row in rows]
            of_torch = replace(cell, group="torch", tasks=both)
            default = [*of_numpy, of_torch] if installed("torch") else of_numpy
            yield from default
            if size in WARM:
                yield from (replace(one, heap="warm") for one in default)
            if installed("torch") and size in TWO_THREADS:
                yield replace(of_torch, threads=2)
            if installed("torch") and size >= COMPILED:
                yield replace(cell, group="torch.compile")
            if installed("jax"):
                yield replace(cell, group="jax")
    for dtype in DTYPES:
        yield replace(given, group="keywords", dtype=dtype, row=rows[0], heap="warm")


def members(group: str) -> Iterator[Contender]:
    """Yield who is timed; NumPy's arrays are timed beside PyTorch's tensors, too."""
    if group in ("numpy", "torch"):
        of_numpy = [one for one in contenders.on_numpy() if one.name in NUMPY]
        if group == "numpy":
            yield from of_numpy
        else:
            yield replace(of_numpy[0], name=f"{OURS} on NumPy", group="torch")
            yield from contenders.on_torch()
    elif group == "torch.compile":
        yield from (one for one in contenders.on_compiled_torch() if one.name != OURS)
    else:
        yield from contenders.on_jax()


def variants(dtype: str) -> Iterator[tuple[Contender, int]]:
    """Yield calls with keywords, targets and layouts, the plain call first, and elements of each.

    They take their own arrays, so what `timed` would give them is dropped.
    """
    x, y = (flat.reshape(VARIANTS) for flat in data(VARIANTS[0] * VARIANTS[1], dtype))
    weight = np.abs(data(x.size, dtype)[0]).reshape(x.shape)
    kept = weight > 0.5
    call = portable_bce.bce_with_logits_value_and_grad

    def variant(
        name: str, x: Any = x, y: Any = y, called: Callable[..., Any] = call, **keywords: Any
    ) -> tuple[Contender, int]:
        calls = {"value_and_grad": lambda x, y: called(x, y, **keywords)}
        return Contender(name, "keywords", calls, lambda *_: (x, y), lambda result: result), x.size

    factors = {"weight": weight, "pos_weight": 3.0, "label_smoothing": 0.1, "where": kept}
    yield variant("plain")
    for keyword, value in factors.items():
        yield variant(keyword, **{keyword: value})
    yield variant("all four", **factors)
    for name in ("bool", "int8", "int64"):
        yield variant(f"{name} targets", y=y.astype(name))
    (other,) = set(DTYPES) - {dtype}
    yield variant("floating targets, of the other dtype", y=y.astype(other))
    yield variant("both transposed", x.T, y.T)
    yield variant("both reversed", x[::-1, ::-1], y[::-1, ::-1])
    for shape in (VARIANTS, (10**6, 2), (2, 10**6)):
        arrays = [flat.reshape(shape) for flat in data(shape[0] * shape[1], dtype)]
        for axis in (0, 1):
            yield variant(f"axis={axis} of {shape}", *arrays, axis=axis)
    yield variant("loss alone", called=portable_bce.bce_with_logits)
    none = {"reduction": "none"}
    yield variant("one loss per element", called=portable_bce.bce_with_logits, **none)
    curved = portable_bce.bce_with_logits_grad_and_hess
    yield variant("gradient and Hessian per element", called=curved, **none)


def take(row: str) -> None:
    """Let NumPy's arrays take a row, whatever is installed."""
    levels = {level.name: level for level in _kernels.levels}
    sliced = row == PLAIN
    _RUNNERS["numpy"] = numpy_runners.SLICED if sliced else numpy_runners.compiled(levels[row])


def measured(cell: Cell) -> list[dict[str, Any]]:
    """Time a cell in this process."""
    take(cell.row)
    limit_threads(cell.threads, cell.group if cell.group != "keywords" else "numpy")
    with open_backend("jax" if cell.group == "jax" else "numpy"):
        asked = [] if cell.group == "keywords" else list(members(cell.group))
        x, y = data(cell.size, cell.dtype)
        if cell.heap == "warm":
            np.empty(LARGEST, np.uint8)  # and freed at once
        options: dict[str, Any] = {"clock": clock_of(cell.threads), "rounds": cell.rounds}
        if cell.group == "keywords":
            return of_variants(cell, options)
        return [
            record(*pair, task, cell.dtype, cell.size)
            for task in cell.tasks
            for pair in ratios(timed(asked, task, x, y, cell.seconds, **options))
        ]


def of_variants(cell: Cell, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ratios to the plain call, for each element."""
    found, sizes = zip(*variants(cell.dtype), strict=True)
    plain, *others = timed(found, "value_and_grad", None, None, 5 * cell.seconds, **options)
    records = []
    for other, size in zip(others, sizes[1:], strict=True):
        ratio = asdict(other.ratio(plain))
        per_element = {key: value * sizes[0] / size for key, value in ratio.items()}
        about = {"name": other.contender.name, "size": size, "rounds": len(other.seconds)}
        records.append({**about, "group": cell.group, "dtype": cell.dtype, "ratio": per_element})
    return records


# Peak memory beside the arguments, in gradients' sizes, of one call.
MEMORY = {
    "portable_bce on NumPy": "portable_bce.bce_with_logits_value_and_grad(x, y)",
    "shortest formula in NumPy": 'contenders.shortest()["value_and_grad"](x, y)',
    "published formula in NumPy": 'contenders.published()["value_and_grad"](x, y)',
    "portable_bce on PyTorch, by autograd": "trained(portable_bce.bce_with_logits)",
    "PyTorch": "trained(torch.nn.functional.binary_cross_entropy_with_logits)",
}
PEAK = """
import resource
import numpy as np
import portable_bce
import contenders
if "trained" in {call!r}:
    import torch
    torch.set_num_threads(1)
x = np.tile(np.linspace(-9, 9, {elements} // 1000, dtype=np.float32), 1000)
y = np.empty_like(x)  # without anything that would raise the peak before
np.greater(x, 0, out=y)

def trained(loss):
    logits = torch.from_numpy(x).requires_grad_()
    loss(logits, torch.from_numpy(y)).backward()
    return logits.grad

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = {call}
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / x.nbytes)
"""


def peak(call: str, elements: int) -> float:
    """Measure the peak memory of a call in a fresh process."""
    code = f"import sys; sys.path.append({str(HERE)!r})\n{PEAK}"
    command = [sys.executable, "-c", code.format(call=call, elements=elements)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    rows = [level.name for level in _kernels.levels]
    add = parser.add_argument
    add(
        "--json",
        type=Path,
        default=DATA / "speed.json",
        metavar="FILE",
        help="default: that of docs/speed.md",
    )
    add("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    about = "time each library, dtype and size for S seconds in all (default: 1)"
    add("--seconds", type=float, default=1.0, metavar="S", help=about)
    add("--rounds", type=int, default=7, metavar="N", help="at least so many (default: 7)")
    about = "instruction set of the kernels for NumPy's arrays (default: the fastest one)"
    add("--level", choices=rows, default=rows[0] if rows else None, help=about)
    add("--memory", type=int, default=10**8, metavar="N", help="elements whose peak is measured")
    add("--cell", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Measure every cell in a process of its own, or the one that this process is for."""
    options = parsed()
    if options.cell:
        sys.stdout.write(json.dumps(measured(Cell(**json.loads(options.cell)))) + "\n")
        return 0
    return machine.ended("benchmarks/speed.py", "verify", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Write the report of all cells, and return 1 if some of them failed."""
    machine.require_file("--json", options.json)
    rows = [options.level, PLAIN] if options.level else [PLAIN]
    given = Cell("numpy", "", 1, "", seconds=options.seconds, rounds=options.rounds)
    cells = list(plan(options.sizes, rows, given))
    request = {
        "sizes": options.sizes,
        "dtypes": DTYPES,
        "rows": rows,
        "memory": options.memory,
    }
    report: dict[str, Any] = {
        "machine": machine.described(),
        "versions": versions(("numpy", "torch", "jax")),
        "request": request,
        "results": [],
        "memory": {},
    }
    failures = []
    with machine.progress(len(cells) + len(MEMORY), "measurements") as advance:
        for cell in cells:
            name = f"{cell.group}, {cell.row}, {cell.dtype}, n = {cell.size:,}, {cell.heap} heap"
            name += f", threads: {cell.threads}"
            advance(0, name)
            about = {"row": cell.row, "threads": cell.threads, "heap": cell.heap}
            try:
                report["results"] += [{**one, **about} for one in apart(__file__, **asdict(cell))]
            except subprocess.CalledProcessError:  # which has printed why
                failures.append(name)
            advance(1, name)
        for name, call in MEMORY.items():
            advance(0, f"memory of {name}")
            if "trained" not in call or installed("torch"):
                report["memory"][name] = peak(call, options.memory)
            advance(1, f"memory of {name}")
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    if failures:
        sys.stderr.write("these failed, and are not in the report:\n" + "\n".join(failures) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
