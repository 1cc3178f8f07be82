"""Run everything that docs/accuracy.md publishes, into docs/accuracy/data.

    python benchmarks/accuracy.py [one logit, or drawn point, in N]

Each report is written once: what is there is kept, and an interrupted sweep goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pages import DOCS

HERE = Path(__file__).parent
DATA = DOCS / "accuracy" / "data"
# In each of seven classes of logit: 10^8 in a class of target. Others are slower to call.
POINTS, FEWER = 14_300_000, 1_000_000
# What NumPy must not use, from all that the CPU has down to the baseline.
WITHOUT = ("", "X86_V4 AVX512_ICL AVX512_SPR", "X86_V4 AVX512_ICL AVX512_SPR X86_V3")
# name -> options of verify; NumPy's, for each instruction set
NUMPY = {
    "float32-hard": "--exhaustive --dtype float32",
    "float32-hard-float64": "--exhaustive --compute-dtype float64",
    "float32-soft": "--exhaustive --dtype float32 --targets soft",
    "float32-weighted": "--dtype float32 --targets weighted",
    "halves": "--exhaustive --dtype float16 bfloat16",
    "float64": "--dtype float64",
}
OTHERS = {
    "libraries-sweep": "--backend torch jax --exhaustive --dtype float32",
    "libraries-sample": "--backend torch jax --targets plain",
}


def levels() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a name and an environment for each instruction set that NumPy may choose."""
    code = "from portable_bce._commands.machine import dispatch; print(dispatch()['exp float32'])"
    seen = set()
    for without in WITHOUT:
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": without}
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        name = found.stdout.strip().removeprefix("baseline(").rstrip(")").lower().replace("_", "-")
        if name not in seen:
            yield name, environment
        seen.add(name)


def verify(name: str, options: str, environment: dict[str, str], every: int, points: int) -> None:
    """Run verify, or measure the peers, unless the report is there."""
    report, state = DATA / f"{name}.json", DATA / f"{name}.state"
    if report.exists():
        return
    exhaustive = "--exhaustive" in options
    options += f" --every {every}" if exhaustive else f" --points {max(1, points // every)}"
    files = ["--state", str(state), "--json", str(report)]
    program = [str(HERE / "peers.py")] if name == "peers" else ["-m", "portable_bce", "verify"]
    command = [sys.executable, *program, *options.split(), *files]
    sys.stdout.write(f"{name}: {options}\n")
    subprocess.run(command, env=environment, check=True)


def constants(name: str, backend: str, environment: dict[str, str], every: int) -> None:
    """Measure the constants of the derivation, unless they are there."""
    report = DATA / f"constants-{name}.json"
    if report.exists():
        return
    command = [sys.executable, str(HERE / "constants.py"), backend, str(every)]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    json.loads(found.stdout)
    report.write_text(found.stdout)


def main(every: str = "1") -> None:
    """Run all that has no report yet."""
    DATA.mkdir(exist_ok=True)
    for level, environment in levels():
        for name, options in NUMPY.items():
            verify(f"{level}-{name}", f"--backend numpy {options}", environment, int(every), POINTS)
        constants(f"numpy-{level}", "numpy", environment, int(every))
    for name, options in OTHERS.items():
        # One logit in 16 is half a thousand million points, through slower libraries.
        thin = max(int(every), 16) if "--exhaustive" in options else int(every)
        verify(name, options, dict(os.environ), thin, FEWER)
    verify("peers", "", dict(os.environ), int(every), FEWER)
    for backend in ("torch", "jax"):
        constants(backend, backend, dict(os.environ), int(every))


if __name__ == "__main__":
    main(*sys.argv[1:])
