"""One fixture runs the same laws on every array library."""

from __future__ import annotations

import importlib.metadata
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import hypothesis
import pytest

import portable_bce
from portable_bce import _evaluate, _kernels
from portable_bce._job import Runner
from portable_bce._runners import cupy as kernels
from tests import autodiff, backends, rows
from tests.autodiff import Grad
from tests.backends import Backend

LAZY = (
    "bce",
    "bce_grad_and_hess",
    "bce_value_and_grad",
    "bce_with_logits",
    "bce_with_logits_grad_and_hess",
    "bce_with_logits_value_and_grad",
    "log_sigmoid",
    "sigmoid",
    "softplus",
)

hypothesis.settings.register_profile("thorough", max_examples=1000)

# JAX would take three quarters of a GPU's memory, from CuPy and PyTorch in the same process.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Why tests are skipped, by what their reasons say.
SKIPPED_BECAUSE = {
    "no CUDA device": "need a GPU",
    "no GPU": "need a GPU",
    "could not import": "need a library that is not installed",
    "is not installed": "need a library that is not installed",
    " has no ": "ask a library for what it does not have",
    "subnormal": "ask a library for what it does not have",
}

try:
    from array_api_extra.testing import lazy_xp_function, patch_lazy_xp_functions
except ImportError:  # the session without anything but the runtime dependencies
    patch_lazy_xp_functions = None
else:
    for name in LAZY:
        lazy_xp_function(getattr(portable_bce, name))
    # A pullback cannot leave jax.jit; test_lazy compiles it together with its call.
    for name in ("bce_vjp", "bce_with_logits_vjp"):
        lazy_xp_function(getattr(portable_bce, name), jax_jit=False)


def pytest_configure() -> None:
    """Refuse to run where another row was loaded than the session is there to test."""
    required, row = os.environ.get("PORTABLE_BCE_ROW"), _kernels.describe()
    if required and required != row.partition(",")[0]:
        message = f"PORTABLE_BCE_ROW asks for the {required} row; {portable_bce.__file__} has {row}"
        raise pytest.UsageError(message)


def pytest_report_header() -> list[str]:
    """Say which code is tested, and with what."""
    found = []
    for package in ("numpy", "array-api-strict", "torch", "jax", "dask", "cupy-cuda13x"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return [
        f"portable_bce: {portable_bce.__file__}",
        f"CPU kernels: {_kernels.describe()}",
        f"backends: {', '.join(found)}",
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that was to test every CPU backend if a package was missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not backends.required():
        return
    reasons = {str(report.longrepr) for report in reporter.stats.get("skipped", [])}
    missing = sorted(
        reason for reason in reasons if "could not import" in reason and "'cupy'" not in reason
    )
    if missing and "cpu" in os.environ["PORTABLE_BCE_REQUIRE"]:
        reporter.write_line("\n".join(["required, but not installed:", *missing]), red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was not tested, and why."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        kinds = (kind for text, kind in SKIPPED_BECAUSE.items() if text in str(report.longrepr))
        counts[next(kinds, "do not apply here")] += 1
    if counts:
        said = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
        terminalreporter.write_line(f"Not tested: {said} (-rs lists them).")


@pytest.fixture(scope="module", params=backends.parameters(backends.BACKENDS))
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """An array library; jitted functions on "jax-jit", no compute allowed on "dask".

    Test modules call the library as ``portable_bce.name`` and list it in
    ``lazy_xp_modules``, so that array-api-extra can put the jitted or guarded function
    in its place.
    """
    name = request.param
    backends.skip_if_missing(name)
    with backends.open_backend[name]() as opened:
        guarded = name in ("jax-jit", "dask")
        with patch_lazy_xp_functions(request, xp=opened.xp) if guarded else nullcontext():
            yield opened


@pytest.fixture(scope="module", params=backends.parameters(autodiff.LIBRARIES))
def tracing(request: pytest.FixtureRequest) -> Iterator[tuple[Backend, Grad]]:
    """A library that differentiates, and its derivative of a function of one array."""
    name = request.param.split()[0]
    backends.skip_if_missing(name)
    with autodiff.opened(request.param) as opened:
        yield opened


@pytest.fixture(params=rows.ROWS)
def numpy_row(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """A way in which NumPy's arrays are evaluated, in use while a test runs."""
    monkeypatch.setitem(_evaluate._RUNNERS, "numpy", rows.ROWS[request.param])
    return rows.ROWS[request.param]


@pytest.fixture
def cupy() -> Any:
    """CuPy's namespace, where it has a device."""
    backends.skip_if_missing("cupy")
    from array_api_compat import cupy

    return cupy


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Trace CuPy's kernels anew, and leave none behind."""
    caches = (kernels.body_of, kernels.kernel_of, kernels.last_kernel)
    for one in caches:
        one.cache_clear()
    yield
    for one in caches:
        one.cache_clear()


@pytest.fixture
def synchronous() -> Iterator[None]:
    """Compute Dask arrays in this thread."""
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler="synchronous"):
        yield
