"""``portable-bce verify``: measure errors, print them, and say whether the contract is kept."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from rich.console import Console
from rich.table import Table

from portable_bce import _kernels
from portable_bce._commands import machine
from portable_bce._commands.exact import has_reference
from portable_bce._commands.machine import BACKENDS, Place, UnavailableError, installed
from portable_bce._commands.subjects import FLUSHED, Spec, Verdict, findings, subject_of
from portable_bce._commands.sweep import (
    PLAIN,
    TARGETS,
    VALUES,
    Cell,
    Chunk,
    Subject,
    Worst,
    distance_from_mpmath,
    exhaustive,
    measure,
    merge,
    sampled,
)
from portable_bce._contract import DTYPES, FORMATS

# name on the command line -> classes of target
CLASSES = {
    "hard": PLAIN[:1],
    "soft": PLAIN[1:],
    "plain": PLAIN,
    "weighted": tuple(name for name in TARGETS if name not in PLAIN),
    "all": tuple(TARGETS),
}
# Seconds between two writes of the state, which a killed process may lose. An interrupt loses
# nothing.
_PAUSE = 5.0
# The largest array whose release changes what glibc keeps.
_LARGEST_KEPT = 2**25 - 2**16
_HEADINGS = {"loss": "loss", "grad": "gradient", "hess": "Hessian"}
# what is measured, where
Task: TypeAlias = tuple[Spec, Chunk]


@dataclass(frozen=True, slots=True)
class Request:
    """The options of verify; see ``portable-bce verify --help``."""

    backends: tuple[str, ...] = ()
    device: str | None = None
    dtypes: tuple[str, ...] = ()
    compute_dtype: str | None = None
    exhaustive: bool = False
    targets: str | None = None
    points: int = 100_000
    every: int = 1
    seed: int = 0
    jobs: int | None = None
    state: Path | None = None
    json: Path | None = None

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share to be one."""
        apart = ("jobs", "state", "json")
        names = [name for name in self.__slots__ if name not in apart]
        values = {name: getattr(self, name) for name in names}
        read: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists, as in a file
        return read

    def check(self) -> None:
        """Refuse what cannot be run, before anything is."""
        if self.exhaustive and "float64" in self.dtypes:
            raise UnavailableError(
                "`--exhaustive` takes float16, bfloat16 and float32; float64 has 2^64 logits. "
                "Leave it out and raise --points"
            )
        if self.compute_dtype is not None and set(self.dtypes) - {"float32"}:
            raise UnavailableError(
                f"`--compute-dtype {self.compute_dtype}` is measured for float32; got --dtype "
                f"{' '.join(self.dtypes)}. Leave --dtype out"
            )
        if not self.exhaustive and self.every > 1:
            raise UnavailableError("`--every` thins a sweep; add --exhaustive, or use --points")
        machine.require_file("--json", self.json)
        machine.require_file("--state", self.state)

    def asked_dtypes(self) -> tuple[str, ...]:
        """Return the dtypes that are wanted."""
        if self.compute_dtype is not None:
            return ("float32",)
        every = DTYPES[:3] if self.exhaustive else DTYPES
        return self.dtypes or every

    def specs(self) -> list[Spec]:
        """Return what is measured: ours on every library, device and dtype."""
        specs = [spec for place in self._places() for spec in self._on(place)]
        if not specs:
            raise UnavailableError(
                f"nothing to measure: no device has {' or '.join(self.asked_dtypes())}"
                + (f" on {self.device}" if self.device else "")
            )
        return specs

    def chunks(self, spec: Spec) -> Iterator[Chunk]:
        """Return where a spec is measured."""
        classes = CLASSES[self.targets or ("hard" if self.exhaustive else "all")]
        if self.exhaustive:
            return exhaustive(spec.form, classes, self.every, self.seed)
        return sampled(spec.form, classes, self.points, self.seed)

    def _places(self) -> Iterator[Place]:
        for name in self.backends or filter(installed, BACKENDS):
            try:
                places = machine.places(name)
            except UnavailableError:
                if self.backends:
                    raise
                continue  # CuPy without a device, which nobody asked for
            chosen = [one for one in places if self.device in (None, one.label)]
            if self.backends and not chosen:
                labels = " or ".join(place.label for place in places)
                raise UnavailableError(
                    f"`--device` must be a device of {name}, {labels}; got {self.device}"
                )
            yield from chosen

    def _on(self, place: Place) -> Iterator[Spec]:
        for dtype in self.asked_dtypes():
            if not (place.has_dtype(dtype) and has_reference(FORMATS[dtype])):
                continue
            compute: tuple[str | None, ...] = (self.compute_dtype,)
            if dtype == "float32" and not (self.exhaustive or self.compute_dtype):
                compute = (None, "float64")
            for one in compute:
                for compiled in (False, True) if place.backend == "jax" else (False,):
                    yield Spec("portable_bce", place.backend, dtype, place.label, one, compiled)


def run(request: Request) -> int:
    """Measure what is asked, print it, and return 1 if the contract is broken."""
    request.check()
    console = machine.console(stderr=request.json == Path("-"))
    specs = request.specs()
    console.print(f"CPU kernels: {_kernels.describe()}")
    verdicts = measured(request, specs)
    _show(console, request, verdicts)
    references = {name: _reference(name) for name in dict.fromkeys(one.dtype for one in specs)}
    _show_references(console, references)
    kept = _conclude(console, verdicts)
    if request.json is not None:
        report = {
            "machine": machine.described(),
            "request": request.identity(),
            "reference": references,
            "kept": kept,
            "results": [verdict.record() for verdict in verdicts],
        }
        text = json.dumps(report, indent=1) + "\n"
        if request.json == Path("-"):
            sys.stdout.write(text)
        else:
            request.json.write_text(text)
    # Not before the report is written: until then the state is all there is.
    if request.state is not None:
        request.state.unlink(missing_ok=True)
    return 0 if kept else 1


def measured(
    request: Request, specs: list[Spec], make: Callable[[Spec], Subject] = subject_of
) -> list[Verdict]:
    """Measure specs, or what an earlier run has left of them; an interrupt says how to go on."""
    tasks = list(enumerate((spec, chunk) for spec in specs for chunk in request.chunks(spec)))
    versions = {spec.title: make(spec).version for spec in specs}
    described = machine.described()
    same = {name: described[name] for name in ("portable_bce", "numpy dispatch", "kernels")}
    state = State.resumed({**request.identity(), "versions": versions, **same}, request.state)
    ahead = [(number, task) for number, task in tasks if number not in state.done]
    total, left = (sum(chunk.count for _, (_, chunk) in some) for some in (tasks, ahead))
    try:
        with (
            machine.progress(total, "points", total - left) as advance,
            closing(results(ahead, request.jobs or cores(), make)) as found,
        ):
            for number, (spec, chunk), worst in found:
                state.add(number, worst)
                advance(chunk.count, spec.title)
    except KeyboardInterrupt:
        lost = "nothing was kept: give --state FILE to go on later"
        cure = f"the same command goes on from {request.state}" if request.state else lost
        done = f"stopped after {len(state.done)} of {len(tasks)} pieces"
        raise KeyboardInterrupt(f"{done}; {cure}") from None
    finally:
        state.write()
    cells: dict[Spec, dict[Cell, Worst]] = {spec: {} for spec in specs}
    for number, (spec, _) in tasks:
        merge(cells[spec], state.done[number])
    return [
        Verdict(spec, versions[spec.title], cells[spec], findings(make(spec))) for spec in specs
    ]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def results(
    tasks: list[tuple[int, Task]], jobs: int, make: Callable[[Spec], Subject]
) -> Generator[tuple[int, Task, dict[Cell, Worst]], None, None]:
    """Yield the worst cases of each task, as they come, from threads.

    Threads are enough, because the libraries compute without Python's lock. One keeps a GPU busy.
    """
    # glibc then keeps temporaries of this size for the next call. Returning them to the system
    # and taking them again costs half of the time, in page faults.
    np.empty(_LARGEST_KEPT, np.uint8)
    apart: dict[bool, list[tuple[int, Task]]] = {True: [], False: []}
    for task in reversed(tasks):
        apart[task[1][0].device.startswith(("cuda", "gpu"))].append(task)
    for waiting, threads in ((apart[True], 1), (apart[False], jobs)):
        running: dict[Future[dict[Cell, Worst]], tuple[int, Task]] = {}
        with ThreadPoolExecutor(threads) as pool:
            while waiting or running:
                # No more than run at once, so that an interrupt waits for little.
                while waiting and len(running) < threads:
                    number, (spec, chunk) = waiting.pop()
                    running[pool.submit(measure, make(spec), chunk)] = number, (spec, chunk)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield *running.pop(future), future.result()


@dataclass
class State:
    """The worst cases of each piece of a run that is done, by its number.

    ``identity`` says what run it is; a file of another run is refused.
    """

    identity: dict[str, Any]
    path: Path | None = None
    done: dict[int, dict[Cell, Worst]] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic, repr=False)

    @classmethod
    def resumed(cls, identity: dict[str, Any], path: Path | None) -> State:
        """Read what an earlier run left, if it left anything."""
        if path is None or not path.exists():
            return cls(identity, path)
        try:
            left = json.loads(path.read_text())
            theirs, done = left["run"], left["done"]
        except (ValueError, KeyError, TypeError) as error:
            raise UnavailableError(
                f"`--state` must be a file that verify left, or a new one; {path} holds "
                "something else"
            ) from error
        if theirs != identity:
            names = sorted(name for name in identity if theirs.get(name) != identity[name])
            raise UnavailableError(
                f"{path} was left by another run, which differs in {', '.join(names) or 'more'}; "
                "finish that one, remove the file or give another --state"
            )
        worst = {
            int(number): {tuple(cell): Worst(*case) for cell, case in cells}
            for number, cells in done.items()
        }
        return cls(identity, path, worst)

    def add(self, number: int, cells: dict[Cell, Worst]) -> None:
        """Keep the result of a piece."""
        self.done[number] = cells
        if time.monotonic() - self._written > _PAUSE:
            self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self._written = time.monotonic()
        if self.path is None:
            return
        done = {number: list(cells.items()) for number, cells in self.done.items()}
        draft = self.path.with_name(self.path.name + ".part")
        draft.write_text(json.dumps({"run": self.identity, "done": done}))
        draft.replace(self.path)


def _show(console: Console, request: Request, verdicts: list[Verdict]) -> None:
    """Print a line for each spec, and what is wrong at the edges."""
    table = Table(title="largest error, in ULP | what the contract allows", title_justify="left")
    table.add_column("measured")  # it folds where the terminal is narrow, not the figures
    for heading in (*_HEADINGS.values(), "kept"):
        table.add_column(heading, justify="right", no_wrap=True)
    for verdict in verdicts:
        style = "[green]yes[/green]" if verdict.kept else "[red]NO[/red]"
        table.add_row(verdict.spec.title, *_errors(verdict), style)
    console.print(table)
    for verdict in verdicts:
        for case, value, right, got in verdict.findings:
            if not right:
                console.print(f"[red]{verdict.spec.title}, {case}: {value} is {got}[/red]")
    if all(finding.right for verdict in verdicts for finding in verdict.findings):
        console.print("Zero, infinities and NaN give what they should.")
    flushed = dict.fromkeys(
        one.spec.backend for one in verdicts for finding in one.findings if finding.got == FLUSHED
    )
    if flushed:
        console.print(f"Subnormal results become 0 on {' and '.join(flushed)}.")
    for name in request.asked_dtypes():
        if not has_reference(FORMATS[name]):
            console.print(f"{name} is left out: NumPy has no wider dtype on this platform")


def _errors(verdict: Verdict) -> Iterator[str]:
    for value in VALUES:
        cell, worst = verdict.worst(value)
        bound = verdict.bound(cell)
        colour = "green" if worst.ulps <= bound else "red"
        yield f"[{colour}]{worst.ulps:.4g}[/{colour}] | {bound:g}"


def _reference(dtype: str) -> dict[str, Any]:
    """Say what errors were measured against, and how far that is from mpmath."""
    form = FORMATS[dtype]
    checked = installed("mpmath") and installed("hypothesis")
    return {
        "dtype": np.dtype(form.wide).type.__name__,
        "ulps from mpmath": distance_from_mpmath(form) if checked else None,
    }


def _show_references(console: Console, references: dict[str, dict[str, Any]]) -> None:
    """Print what errors were measured against, and how good that is."""
    for dtype, one in references.items():
        off = one["ulps from mpmath"]
        missing = r'not compared with mpmath, which pip install "portable-bce\[verify]" brings'
        checked = missing if off is None else f"within {off:.2g} ULP of mpmath"
        console.print(f"Errors of {dtype} are measured in {one['dtype']}, {checked}.")


def _conclude(console: Console, verdicts: Iterable[Verdict]) -> bool:
    """Print whether the contract holds everywhere, and return it."""
    titles = [verdict.spec.title for verdict in verdicts]
    broken = [verdict.spec.title for verdict in verdicts if not verdict.kept]
    if broken:
        console.print(f"[red]The contract is broken[/red] on {'; '.join(broken)}.")
    else:
        where = titles[0] if len(titles) == 1 else f"all {len(titles)} rows"
        console.print(f"The contract is kept on {where}.")
    return not broken
