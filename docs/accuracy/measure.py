"""Run everything that docs/accuracy.md publishes, into docs/accuracy/data.

    python docs/accuracy/measure.py [one logit in N]

Each report is written once: what is there is kept, and an interrupted sweep goes on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data"
# What NumPy must not use, from all that the CPU has down to the baseline.
WITHOUT = ("", "X86_V4 AVX512_ICL AVX512_SPR", "X86_V4 AVX512_ICL AVX512_SPR X86_V3")
# name -> options of verify; NumPy's, for each instruction set
NUMPY = {
    "float32-hard": "--exhaustive --dtype float32",
    "float32-hard-float64": "--exhaustive --compute-dtype float64",
    "float32-soft": "--exhaustive --dtype float32 --targets soft",
    "float32-weighted": "--dtype float32 --targets weighted --points 14300000",
    "halves": "--exhaustive --dtype float16 bfloat16",
    "float64": "--dtype float64 --points 14300000",
}
OTHERS = {
    "libraries-sweep": "--backend torch jax --exhaustive --dtype float32",
    "libraries-sample": "--backend torch jax --targets plain --points 1000000",
    "peers": "--peers --points 1000000",
}


def levels() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a name and an environment for each instruction set that NumPy may choose."""
    code = "from portable_bce._machine import dispatch; print(dispatch()['exp float32'])"
    seen = set()
    for without in WITHOUT:
        environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": without}
        command = [sys.executable, "-c", code]
        found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        name = found.stdout.strip().removeprefix("baseline(").rstrip(")").lower().replace("_", "-")
        if name not in seen:
            yield name, environment
        seen.add(name)


def verify(name: str, options: str, environment: dict[str, str], every: int) -> None:
    """Run verify, unless its report is there."""
    report, state = DATA / f"{name}.json", DATA / f"{name}.state"
    if report.exists():
        return
    if every > 1 and "--exhaustive" in options:
        options += f" --every {every}"
    files = ["--state", str(state), "--json", str(report)]
    command = [sys.executable, "-m", "portable_bce", "verify", *options.split(), *files]
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
            verify(f"{level}-{name}", f"--backend numpy {options}", environment, int(every))
        constants(f"numpy-{level}", "numpy", environment, int(every))
    for name, options in OTHERS.items():
        # One logit in 16: a quarter of a thousand million points, through slower libraries.
        verify(name, options, dict(os.environ), max(int(every), 16))
    for backend in ("torch", "jax"):
        constants(backend, backend, dict(os.environ), int(every))


if __name__ == "__main__":
    main(*sys.argv[1:])
