"""What every command needs: the libraries and devices here, and how a command talks and ends."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import portable_bce
from portable_bce import _kernels
from portable_bce._libraries import to_numpy

if TYPE_CHECKING:
    from rich.console import Console

# name -> its array API namespace
BACKENDS = {
    "numpy": "array_api_compat.numpy",
    "cupy": "array_api_compat.cupy",
    "torch": "array_api_compat.torch",
    "jax": "jax.numpy",
    "dask": "array_api_compat.dask.array",
}
# module that a command may miss -> its name on PyPI, and the extra that brings it, if that is
# not the command's own
_PACKAGES = {
    "rich": ("rich", ""),
    "mpmath": ("mpmath", "verify"),
    "dask": ("dask", "dask"),
    "sklearn": ("scikit-learn", "demo"),
    "matplotlib": ("matplotlib", "demo"),
    "cupy": ("cupy", "cupy"),
    "torch": ("torch", "torch"),
    "jax": ("jax", "jax"),
}
# Seconds between two lines about progress where there is no terminal to draw a bar on.
PAUSE = 20.0
# Tables need this width. A narrower terminal wraps their lines, and cuts no number.
COLUMNS = 80


class UnavailableError(Exception):
    """What is asked cannot be done on this machine; the message is one line."""


def ended(program: str, extra: str, run: Callable[[], int]) -> int:
    """Run a command, with its imports, and return its exit status.

    It is 2 if the command cannot be run as asked, and 130 if it was interrupted. The message
    begins with ``program``, and ``extra`` brings what this command alone needs.
    """
    try:
        return run()
    except UnavailableError as error:
        status, message = 2, f": {error}"
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _PACKAGES:
            raise
        package, own = _PACKAGES[module]
        cure = f'pip install "portable-bce[{own or extra}]"'
        status, message = 2, f" needs {package}, which is not installed: {cure}"
    except KeyboardInterrupt as interrupt:
        status, message = 130, f": {str(interrupt) or 'stopped'}"
    sys.stderr.write(f"{program}{message}\n")
    return status


def require_file(option: str, path: Path | None) -> None:
    """Refuse a file that could not be written at the end of a long run."""
    if path is not None and not path.absolute().parent.is_dir():
        raise UnavailableError(
            f"`{option}` must be a file in a folder that exists; {path.parent} does not"
        )
    if path is not None and path.is_dir():
        raise UnavailableError(f"`{option}` must be a file; {path} is a folder")


def console(*, stderr: bool = False) -> Console:
    """Return what prints lines and tables."""
    from rich.console import Console  # noqa: PLC0415 (an extra)

    width = max(COLUMNS, shutil.get_terminal_size((COLUMNS, 24)).columns)
    return Console(highlight=False, stderr=stderr, width=width)


@contextmanager
def progress(total: int, unit: str, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Yield what is told how much more of a long run is done, and by what it was done.

    On a terminal it moves a bar. Elsewhere it writes a line now and then. Both go to standard
    error, and no thread draws them, which would be timed with what is timed.
    """
    from rich import progress as bars  # noqa: PLC0415 (an extra)

    shown = console(stderr=True)
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("elapsed,"),
        bars.TimeRemainingColumn(),
        bars.TextColumn("left"),
    )
    written = time.monotonic()
    bar = bars.Progress(*columns, console=shown, auto_refresh=False, disable=not shown.is_terminal)
    with bar:
        row = bar.add_task("", total=total, completed=done)

        def advance(by: int, description: str) -> None:
            nonlocal written
            bar.update(row, advance=by, description=description)
            bar.refresh()
            if not shown.is_terminal and time.monotonic() - written >= PAUSE:
                written = time.monotonic()
                shown.print(_line(bar.tasks[0], unit), soft_wrap=True)

        yield advance


def _line(task: Any, unit: str) -> str:
    """Return how far a run is, in words."""
    elapsed, left = (
        "unknown" if seconds is None else str(timedelta(seconds=round(seconds)))
        for seconds in (task.elapsed, task.time_remaining)
    )
    done = f"{task.percentage:.0f}% of {task.total:,} {unit}"
    return f"{done}, {elapsed} elapsed, {left} left: {task.description}"


@contextmanager
def open_backend(name: str) -> Iterator[Any]:
    """Yield the namespace of a library, with float64 switched on for as long."""
    xp = importlib.import_module(BACKENDS[name])
    if name == "cupy":
        _check_device(importlib.import_module("cupy").cuda.runtime)
    with importlib.import_module("jax").enable_x64(True) if name == "jax" else nullcontext():
        yield xp


def _check_device(runtime: Any) -> None:
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise UnavailableError(f"CuPy finds no CUDA device ({error})") from error
    if count == 0:
        raise UnavailableError("CuPy finds no CUDA device")


def installed(name: str) -> bool:
    """Tell whether a library can be imported, without importing it."""
    return importlib.util.find_spec(name) is not None


def version(name: str) -> str:
    """Return the version of a library that can be imported."""
    return str(importlib.import_module(name).__version__)


@dataclass(frozen=True, slots=True)
class Place:
    """A library on one of its devices, with the way there from NumPy and back.

    bfloat16 travels as float32, which holds it exactly: NumPy has none of its own.
    """

    backend: str
    xp: Any
    device: Any
    label: str

    def dtype(self, name: str) -> Any:
        """Return a dtype of the library by its name."""
        if name == "bfloat16" and self.backend == "numpy":
            return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        return np.dtype(name) if self.backend == "dask" else getattr(self.xp, name)

    def has_dtype(self, name: str) -> bool:
        """Tell whether the library has a dtype; NumPy has bfloat16 by ml_dtypes."""
        if name != "bfloat16" or self.backend in ("torch", "jax"):
            return True
        return self.backend == "numpy" and installed("ml_dtypes")

    def array(self, values: Any, dtype: str) -> Any:
        """Move a NumPy array to the device; one of this library stays where it is."""
        if isinstance(values, np.ndarray):
            # PyTorch shares the memory, and warns if it may not be written to.
            values = np.require(values, requirements=["C", "W"])
        array = self.xp.asarray(values, device=self.device)
        return self.xp.astype(array, self.dtype(dtype)) if dtype == "bfloat16" else array

    def numpy(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy an array of the library back."""
        return to_numpy(self.xp, array)


def places(name: str) -> list[Place]:
    """Return the devices of a library, the default one first."""
    with open_backend(name) as xp:
        if name == "cupy":
            cupy = importlib.import_module("cupy")
            devices = [cupy.cuda.Device(i) for i in range(cupy.cuda.runtime.getDeviceCount())]
            return [Place(name, xp, device, f"cuda:{device.id}") for device in devices]
        if name == "torch":
            torch = importlib.import_module("torch")
            labels = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
            return [Place(name, xp, torch.device(label), label) for label in labels]
        if name == "jax":
            jax = importlib.import_module("jax")
            platforms = dict.fromkeys([jax.default_backend(), "cpu"])
            devices = [device for platform in platforms for device in jax.devices(platform)]
            return [Place(name, xp, one, f"{one.platform}:{one.id}") for one in devices]
        return [Place(name, xp, "cpu", "cpu")]


def described() -> dict[str, Any]:
    """Return the date, the versions, the CPU and what NumPy computes exp and log1p with."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "portable_bce": portable_bce.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "libc": " ".join(platform.libc_ver()),
        "kernels": _kernels.describe(),
        "numpy dispatch": dispatch(),
    }


def dispatch() -> dict[str, str]:
    """Return the instruction set that NumPy picked for exp and log1p, by their dtype."""
    try:
        from numpy.lib.introspect import opt_func_info  # noqa: PLC0415 (NumPy 2.1)
    except ImportError:
        return {}
    loops = {"ff": "float32", "dd": "float64"}
    return {
        f"{function} {loops[signature]}": str(targets["current"])
        for function, signatures in opt_func_info(func_name="^(exp|log1p)$").items()
        for signature, targets in signatures.items()
        if signature in loops
    }


def _cpu() -> str:
    """Return the CPU's name; platform.processor() is empty on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
