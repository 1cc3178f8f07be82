"""Sessions: `nox -s tests` is what to run before a commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
# pip, not uv: uv does not see the wheels that a machine may hold for pip (PIP_FIND_LINKS).
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "typing", "tests"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def wheel(session: nox.Session) -> str:
    """Build the sdist and the wheel from it, so that what is tested is what is published."""
    session.install("build", *PROJECT["build-system"]["requires"])
    built = distributions(session)
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(built), silent=True)
    return str(next(built.glob("*.whl")))


def distributions(session: nox.Session) -> Path:
    return Path(session.create_tmp()).resolve() / "dist"


def run_tests(session: nox.Session, *arguments: str, require: str) -> None:
    """Run the tests of the sdist away from all sources, or they would not import the wheel."""
    away = Path(session.create_tmp()).resolve() / "away"
    shutil.rmtree(away, ignore_errors=True)
    shutil.unpack_archive(next(distributions(session).glob("*.tar.gz")), away, filter="data")
    (unpacked,) = away.iterdir()
    shutil.rmtree(unpacked / "portable_bce")
    with session.chdir(unpacked):
        session.run("python", "-m", "pytest", *arguments, env={"PORTABLE_BCE_REQUIRE": require})


@nox.session
def tests(session: nox.Session) -> None:
    """Test the built wheel on every CPU backend."""
    session.install(
        f"{wheel(session)}[demo,verify]", *group("test"), *group("backends"), *group("checkers")
    )
    run_tests(session, "-n", "auto", *session.posargs, require="cpu")


@nox.session(python=["3.11", "3.12", "3.13"])
def minimum(session: nox.Session) -> None:
    """Test NumPy alone: the lowest versions on the oldest Python, the newest on the others."""
    lowest = [one.replace(">=", "==") for one in PROJECT["project"]["dependencies"]]
    pins = lowest if session.python == "3.11" else []
    session.install(wheel(session), *pins, *group("test"))
    run_tests(session, "-n", "auto", "-r", "fE", *session.posargs, require="numpy")


@nox.session
def emulated(session: nox.Session) -> None:
    """Test the built wheel on CuPy without a GPU, on a device that is this CPU: needs g++."""
    session.install(f"{wheel(session)}[dask,demo,verify]", *group("emulated"), *group("test"))
    options = ("-p", "tests.emulated", "-m", "gpu", "-k", "not torch-cuda and not jax-gpu")
    run_tests(session, *options, "-n", "auto", *session.posargs, require="cupy")


@nox.session
def gpu(session: nox.Session) -> None:
    """Test the built wheel on CuPy, CUDA tensors and JAX's GPU arrays: needs an NVIDIA GPU."""
    session.install(
        f"{wheel(session)}[cupy,dask,torch,demo,verify]", "jax[cuda13]>=0.8", *group("test")
    )
    run_tests(session, "-m", "gpu", *session.posargs, require="gpu")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, and GitHub's files against their schemas."""
    session.install(*group("lint"), *group("schemas"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    workflows = sorted(map(str, ROOT.glob(".github/workflows/*.yml")))
    schema = ("check-jsonschema", "--builtin-schema")
    session.run(*schema, "vendor.github-workflows", *workflows)
    session.run(*schema, "vendor.dependabot", ".github/dependabot.yml")


@nox.session
def typing(session: nox.Session) -> None:
    """Check types, strictly."""
    session.install(*group("typing"), *group("test"), ".", "nox")
    session.run("mypy")


@nox.session
def package(session: nox.Session) -> None:
    """Build what is published and prove it; before a release: `nox -s package -- v1.2.3`."""
    session.install(*PROJECT["build-system"]["requires"], *group("package"), *group("test"))
    made = Path(session.create_tmp()).resolve()
    shutil.rmtree(made)
    built, direct, bare = (str(made / name) for name in ("dist", "direct", "bare"))
    session.run("python", "-m", "build", "--outdir", built, silent=True)
    wheel_alone = ("--wheel", "--no-isolation")
    session.run("python", "-m", "build", *wheel_alone, "--outdir", direct, silent=True)
    files = sorted(map(str, Path(built).iterdir()))
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", "--package", "portable_bce", *files[:1])
    session.run("cffconvert", "--validate")
    session.install(files[0])
    session.run("python", "-m", "venv", "--without-pip", bare)
    session.run("python", "-m", "pip", "--python", bare, "install", "--quiet", *files[:1])
    environment = {
        "PORTABLE_BCE_BUILT": built,
        "PORTABLE_BCE_DIRECT": direct,
        "PORTABLE_BCE_BARE": bare,
        "PORTABLE_BCE_TAG": "".join(session.posargs),
    }
    session.run(
        "pytest", "tests/test_package.py", "tests/test_release.py", "-r", "fE", env=environment
    )


@nox.session
def demo(session: nox.Session) -> None:
    """Train a logistic regression on real data: `nox -s demo -- --solver gd`."""
    session.install(f"{wheel(session)}[demo]")
    session.run("python", "-m", "portable_bce", "demo", *session.posargs)


@nox.session
def verify(session: nox.Session) -> None:
    """Measure the errors on every CPU library: `nox -s verify -- --exhaustive`."""
    session.install(f"{wheel(session)}[verify]", *group("backends"))
    session.run("python", "-m", "portable_bce", "verify", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time all that docs/speed.md publishes, and write it; with options, only what they ask."""
    session.install(f"{wheel(session)}[demo,verify]", *group("backends"))
    if session.posargs:
        session.run("python", "-m", "portable_bce", "bench", *session.posargs)
        return
    for script in ("run", "report", "draw"):
        session.run("python", f"benchmarks/{script}.py")


@nox.session
def exhaustive(session: nox.Session) -> None:
    """Measure and write docs/accuracy.md, and the laws in docs/testing.md: 1.5 hours, two cores."""
    session.install(f"{wheel(session)}[demo,verify]", *group("backends"))
    session.run("python", "docs/accuracy/measure.py", *session.posargs)
    for script in ("page", "picture", "laws"):
        session.run("python", f"docs/accuracy/{script}.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; a warning is an error."""
    # PyTorch, because its classes are the bases of ours: the pin that brings no CUDA.
    torch = [one for one in group("backends") if one.startswith("torch")]
    session.install(f"{wheel(session)}[verify]", *group("docs"), *torch)
    options = ["-W", "-n", "--keep-going", "-b", "html"]
    session.run("sphinx-build", *options, *session.posargs, "docs", "docs/_build/html")


@nox.session
def pictures(session: nox.Session) -> None:
    """Draw the pictures of the documentation again, from runs and from the reports of runs."""
    session.install(f"{wheel(session)}[demo]", *group("backends"))
    scripts = ("docs/accuracy/picture", "docs/pictures/tail", "docs/pictures/architecture")
    for script in (*scripts, "benchmarks/draw"):
        session.run("python", f"{script}.py")
