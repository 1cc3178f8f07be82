"""Compile engine.c with a driver in C, for any level and compiler, by the flags of meson.build."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KERNELS = ROOT / "portable_bce" / "_kernels"
SOURCES = [KERNELS / name for name in ("engine.c", "engine.h", "primitives.h", "generate.py")]
# What the module calls a level, and the features of Linux' list that it asks the CPU for.
LEVELS = {
    "avx512": ("AVX-512", {"avx512f", "avx512dq", "avx512vl", "avx512bw"}),
    "avx2": ("AVX2", {"avx2", "fma", "f16c"}),
    "neon": ("NEON", {"asimd"}),
}


def setting(name: str) -> Any:
    """Return a list or a dictionary of meson.build, whose literals are Python's, too."""
    text = (ROOT / "meson.build").read_text()
    (found,) = re.findall(rf"^{name} = ([\[{{].*?^[\]}}])$", text, flags=re.MULTILINE | re.DOTALL)
    return ast.literal_eval(found)


def features(level: str) -> list[str]:
    """Return the flags by which a compiler makes the code of a level."""
    return list(next(one[level] for one in setting("levels").values() if level in one))


def native_levels() -> list[str]:
    """Return the levels that this CPU runs, best first."""
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    known = setting("levels").get(platform.machine(), {})
    return [level for level, (_, needed) in LEVELS.items() if level in known and needed <= words]


def build(
    driver: str, level: str, folder: Path, *options: str, compiler: tuple[str, ...] = ("gcc",)
) -> Path:
    """Return a program of a driver and the engine of one level."""
    header = folder / "kernels_generated.h"
    if not header.exists():
        subprocess.run([sys.executable, KERNELS / "generate.py", header], check=True)
    program = folder / f"{Path(driver).stem}-{level}-{compiler[0]}"
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror")
    files = (f"-I{KERNELS}", f"-I{folder}", HERE / driver, KERNELS / "engine.c", "-o", program)
    flags = (*setting("flags"), *features(level), *strict, f"-DLEVEL={level}")
    command = [*compiler, *flags, *options, *files, "-lm", "-lpthread"]
    subprocess.run(command, check=True)
    return program
