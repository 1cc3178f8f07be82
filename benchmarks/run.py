"""Run everything that docs/speed.md publishes, into benchmarks/data: 15 minutes, undisturbed.

    python benchmarks/run.py [seconds for each figure [names of the reports]]

Each report is written once: what is there is kept. "gpu" needs a device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from portable_bce._backends import UnavailableError, open_backend
from portable_bce._machine import described

DATA = Path(__file__).parent / "data"
SIZES = "--size 1 100 10000 1000000 10000000"
EVERYTHING = "--task value_and_grad loss losses grad grad_and_hess"
# name -> options of bench, and what NumPy must not use of the CPU
RUNS = {
    "one-thread": (f"{EVERYTHING} {SIZES}", ""),
    "two-threads": (f"--task value_and_grad losses --threads 2 {SIZES}", ""),
    "without-avx512": (f"--backend numpy {SIZES}", "X86_V4 AVX512_ICL AVX512_SPR"),
    "without-avx2": (f"--backend numpy {SIZES}", "X86_V4 AVX512_ICL AVX512_SPR X86_V3"),
    "gpu": ("--backend gpu --size 10000 1000000 100000000 --dtype float16 float32 float64", ""),
}
# Peak memory beside the arguments, in gradients' sizes, of one call at 10^8 float32.
MEMORY = {
    "portable_bce on NumPy": "portable_bce.bce_with_logits_value_and_grad(x, y)",
    "published formula in NumPy": "published(x, y)",
    "portable_bce on PyTorch, by autograd": "trained(portable_bce.bce_with_logits)",
    "PyTorch": "trained(torch.nn.functional.binary_cross_entropy_with_logits)",
}
PEAK = """
import resource
import numpy as np
import portable_bce
from portable_bce._bench.contenders import published
if "torch" in {call!r} or "trained" in {call!r}:
    import torch
    torch.set_num_threads(1)
published = published()["value_and_grad"]
x = np.tile(np.linspace(-9, 9, 10**5, dtype=np.float32), 1000)
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


def bench(name: str, options: str, without: str, seconds: str) -> None:
    """Run bench, unless its report is there, or is another's for want of what it leaves out."""
    report = DATA / f"{name}.json"
    if report.exists():
        return
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": without}
    files = ["--seconds", seconds, "--json", str(report)]
    command = [sys.executable, "-m", "portable_bce", "bench", *options.split(), *files]
    sys.stdout.write(f"{name}: {options}\n")
    sys.stdout.flush()
    subprocess.run(command, env=environment, check=True)
    same = [json.loads(one.read_text())["machine"] for one in DATA.glob("one-thread.json")]
    if without and json.loads(report.read_text())["machine"] in same:
        report.unlink()


def memory() -> None:
    """Measure peak memory, each in a process of its own."""
    report = DATA / "memory.json"
    if report.exists():
        return
    found: dict[str, Any] = {"machine": described()}
    for name, call in MEMORY.items():
        command = [sys.executable, "-c", PEAK.format(call=call)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[name] = float(done.stdout)
    report.write_text(json.dumps(found, indent=1) + "\n")


def has_device() -> bool:
    """Tell whether CuPy finds a GPU."""
    try:
        with open_backend("cupy"):
            return True
    except (ModuleNotFoundError, UnavailableError):
        return False


def main(seconds: str = "1", *names: str) -> None:
    """Run all that has no report yet."""
    DATA.mkdir(exist_ok=True)
    unknown = set(names) - {*RUNS, "memory"}
    if unknown:
        sys.exit(f"no report is named {', '.join(unknown)}; there are {', '.join(RUNS)}, memory")
    able = [name for name in RUNS if name != "gpu" or has_device()]
    for name in names or able:
        if name in RUNS:
            bench(name, *RUNS[name], seconds)
    if not names or "memory" in names:
        memory()


if __name__ == "__main__":
    main(*sys.argv[1:])
