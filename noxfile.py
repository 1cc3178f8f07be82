"""Sessions: `nox -s tests` is what to run before a commit."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
# pip, not uv: uv does not see the wheels that a machine may hold for pip (PIP_FIND_LINKS).
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["lint", "typing", "tests"]

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
# The sessions share what they build: one folder for each state of the working tree.
BUILT = ROOT / ".nox" / "built"
# CI sets PORTABLE_BCE_ROW to the row that must be tested. Nobody else needs to: then the row is
# the compiled one where there is a compiler, and the tests name it in their first lines.
KERNELS = {"compiled": "enabled", "plain": "disabled", None: "auto"}
REQUIRED_ROW = os.environ.get("PORTABLE_BCE_ROW")


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


@functools.cache
def snapshot() -> Path:
    """Return a clone of the working tree as it would be committed, in the folder of its state.

    An sdist holds what is committed, and a session has to test what is not committed yet. So the
    working tree is committed to a repository of our own.
    """
    store = BUILT / "repository"
    names = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # The index is this process's own, because another may take a snapshot at the same time.
    index = store / ".git" / f"index-{os.getpid()}"
    ours = {
        "GIT_DIR": str(store / ".git"),
        "GIT_INDEX_FILE": str(index),
        "GIT_WORK_TREE": str(ROOT),
    }

    def git(*arguments: str, **variables: str) -> str:
        command = ("git", "-c", "user.name=nox", "-c", "user.email=nox", *arguments)
        environment = names | variables
        return subprocess.check_output(command, text=True, cwd=ROOT, env=environment).strip()

    if not store.exists():
        git("init", "--quiet", str(store))
    git("add", "--all", **ours)
    source = BUILT / git("write-tree", **ours)[:12] / "source"
    if not source.exists():
        git("commit", "--quiet", "--allow-empty", "--message", "snapshot", **ours)
        git("clone", "--quiet", str(store), str(source))
    index.unlink()
    return source


def sdist(session: nox.Session) -> Path:
    """Return the sdist of the working tree."""
    source = snapshot()
    if not list(source.parent.glob("*.tar.gz")):
        session.install("build")
        outdir = ("--outdir", str(source.parent))
        session.run("python", "-m", "build", "--sdist", *outdir, str(source), silent=True)
    return next(source.parent.glob("*.tar.gz"))


def wheel(session: nox.Session, row: str | None = REQUIRED_ROW) -> str:
    """Return the wheel built from the sdist, so that what is tested is what is published."""
    packed = sdist(session)
    kernels = KERNELS[row]
    # A compiled wheel serves the Python that built it and all later ones.
    python = session.python or f"{sys.version_info.major}.{sys.version_info.minor}"
    folders = [packed.parent / f"{kernels}-{name}" for name in ("3.11", python)]
    for folder in folders:
        if built := list(folder.glob("*.whl")):
            return installed(session, built[0])
    option = f"-Csetup-args=-Dkernels={kernels}"
    return installed(session, build_wheel(session, packed, folders[-1], option))


def build_wheel(
    session: nox.Session, source: Path, folder: Path, *options: str, **environment: str
) -> Path:
    pip = ("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder))
    session.run(*pip, *options, str(source), env=environment)
    return next(folder.glob("*.whl"))


def installed(session: nox.Session, built: Path) -> str:
    """Install a wheel over one of the same version, which pip would keep where `nox -r` runs."""
    session.install("--force-reinstall", "--no-deps", str(built))
    return str(built)


def run_tests(
    session: nox.Session,
    *arguments: str,
    require: str,
    row: str | None = REQUIRED_ROW,
    **environment: str,
) -> None:
    """Run the tests of the sdist away from all sources, or they would not import the wheel."""
    away = Path(session.create_tmp()).resolve() / "away"
    shutil.rmtree(away, ignore_errors=True)
    shutil.unpack_archive(sdist(session), away, filter="data")
    (unpacked,) = away.iterdir()
    shutil.rmtree(unpacked / "portable_bce")
    environment |= {"PORTABLE_BCE_REQUIRE": require, "PORTABLE_BCE_ROW": row or ""}
    with session.chdir(unpacked):
        session.run("python", "-m", "pytest", *arguments, env=environment)


@nox.session
def tests(session: nox.Session) -> None:
    """Test the built wheel on every CPU backend."""
    session.install(
        f"{wheel(session)}[demo,verify]", *group("test"), *group("backends"), *group("checkers")
    )
    run_tests(session, "-n", "auto", *session.posargs, require="cpu")


@nox.session
def thorough(session: nox.Session) -> None:
    """Test the built wheel on every CPU backend, with ten times as many drawn examples."""
    session.posargs.insert(0, "--hypothesis-profile=thorough")
    tests(session)


@nox.session
def libraries(session: nox.Session) -> None:
    """Test the built wheel on every other library that conforms: MLX, Cubed, ONNX and the like."""
    session.install(wheel(session), *group("test"), *group("libraries"))
    run = "tests/house/test_docs.py::test_examples_of_a_page_run_one_after_the_other"
    pages = [f"{run}[docs/{name}.md]" for name in ("libraries", "onnx")]
    options = ("-n", "auto", "--dist", "loadscope", *session.posargs)
    run_tests(session, "tests/libraries/conforming", *pages, *options, require="libraries")


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def minimum(session: nox.Session) -> None:
    """Test NumPy alone: the lowest versions on the oldest Python, the newest on the others.

    3.12 and 3.14 take the compiled wheel, the others the pure one.
    """
    lowest = [one.replace(">=", "==") for one in PROJECT["project"]["dependencies"]]
    pins = lowest if session.python == "3.11" else []
    row = REQUIRED_ROW if session.python in ("3.12", "3.14") else "plain"
    session.install(wheel(session, row), *pins, *group("test"))
    run_tests(session, "-n", "auto", *session.posargs, require="numpy", row=row)


@nox.session
def sanitized(session: nox.Session) -> None:
    """Test NumPy alone on a module that checks its memory and its arithmetic: needs GCC."""
    folder = Path(session.create_tmp()).resolve() / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    options = ("-Dkernels=enabled", "-Db_sanitize=address,undefined", "-Db_lundef=false")
    setup = [f"-Csetup-args={option}" for option in options]
    compiler = {"CC": "gcc", "CFLAGS": "-g -fno-sanitize-recover=undefined"}
    built = build_wheel(session, sdist(session), folder, *setup, **compiler)
    session.install(installed(session, built), *group("test"))
    library = session.run("gcc", "-print-file-name=libasan.so", external=True, silent=True)
    # Python never frees all that it allocates, so leaks are not looked for.
    sanitizer = {"LD_PRELOAD": str(library).strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    # A report ends the process that writes it, before pytest could show what it captured.
    arguments = ("-n", "auto", "--capture", "sys", *session.posargs)
    # A sanitizer takes memory of its own.
    arguments = (*arguments, "-k", "not resident_memory and not too_little_memory")
    run_tests(session, *arguments, require="numpy", row="compiled", **sanitizer)


@nox.session
def arm(session: nox.Session) -> None:
    """Compare the kernels' bits on Arm with x86's: needs aarch64-linux-gnu-gcc and qemu-aarch64.

    Eight minutes; `apt-get install gcc-aarch64-linux-gnu qemu-user` brings both.
    """
    session.install(*PROJECT["project"]["dependencies"], *group("test"))
    # Among the sources: the driver is linked with the engine, and with nothing of Python.
    environment = {"PORTABLE_BCE_REQUIRE": "arm", "PORTABLE_BCE_ROW": ""}
    file = "tests/libraries/numpy/test_levels.py"
    session.run("python", "-m", "pytest", file, "-r", "fEs", *session.posargs, env=environment)


@nox.session
def emulated(session: nox.Session) -> None:
    """Test the built wheel on CuPy without a GPU, on a device that is this CPU: needs g++."""
    session.install(f"{wheel(session)}[dask,demo,verify]", *group("emulated"), *group("test"))
    options = (
        "-p",
        "tests.emulated",
        "-m",
        "gpu",
        "-k",
        "not torch-cuda and not jax-gpu",
    )
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
    session.install(*group("package"), *group("test"))
    made = Path(session.create_tmp()).resolve()
    shutil.rmtree(made)
    packed = sdist(session)
    pure, compiled = wheel(session, "plain"), wheel(session, "compiled")
    # PyPI takes the sdist and the pure wheel from here, and compiled ones from release.yml.
    (made / "dist").mkdir(parents=True)
    published = [shutil.copy(file, made / "dist") for file in (packed, pure)]
    option = "-Csetup-args=-Dkernels=enabled"
    direct = build_wheel(session, snapshot(), made / "direct", option)
    session.run("twine", "check", "--strict", *map(str, published), compiled)
    for built in (pure, compiled):
        session.run("check-wheel-contents", built)
    session.run("cffconvert", "--validate")
    environment = {
        "PORTABLE_BCE_SDIST": str(packed),
        "PORTABLE_BCE_DIRECT": str(direct),
        "PORTABLE_BCE_TAG": "".join(session.posargs),
        "PORTABLE_BCE_ROW": "",  # these tests run among the sources, which hold nothing compiled
    }
    for row, built in (("plain", pure), ("compiled", compiled)):
        bare = str(made / f"bare-{row}")
        session.run("python", "-m", "venv", "--without-pip", bare)
        session.run("python", "-m", "pip", "--python", bare, "install", "--quiet", built)
        environment[f"PORTABLE_BCE_WHEEL_{row.upper()}"] = built
        environment[f"PORTABLE_BCE_BARE_{row.upper()}"] = bare
    session.install(compiled)
    numpy, packaging = ("build", "primitives", "proof"), ("package", "release", "wheels")
    files = [f"tests/libraries/numpy/test_{name}.py" for name in numpy]
    files += [f"tests/release/test_{name}.py" for name in packaging]
    session.run("pytest", *files, env=environment)


@nox.session
def readme(session: nox.Session) -> None:
    """Run README's first command on a machine without a compiler, and on one with it."""
    source = snapshot()
    nothing_else = {"PATH": session.bin, "CC": None}
    pip = ("python", "-m", "pip", "install", "--quiet")
    with session.chdir(source):
        for row, environment, options in (
            ("plain", nothing_else, ()),
            ("compiled", {}, ("--force-reinstall", "--no-deps")),
        ):
            session.run(*pip, *options, ".[demo]", env=environment)
            printed = str(session.run("portable-bce", "demo", silent=True))
            session.log(printed)
            if row not in printed.splitlines()[0]:
                session.error(f"the demo must name the {row} row in its first line")


@nox.session
def demo(session: nox.Session) -> None:
    """Train a logistic regression on real data: `nox -s demo -- --solver gd`."""
    session.install(f"{wheel(session)}[demo]")
    session.run("portable-bce", "demo", *session.posargs)


@nox.session
def verify(session: nox.Session) -> None:
    """Measure the errors on every CPU library: `nox -s verify -- --exhaustive`."""
    session.install(f"{wheel(session)}[verify]", *group("backends"))
    session.run("portable-bce", "verify", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time all that docs/speed.md publishes, and write it: ten minutes, on a quiet machine.

    With options, a part of it is timed and printed, and nothing is written.
    """
    session.install(f"{wheel(session)}[demo,verify]", *group("backends"))
    if session.posargs:
        session.run("python", "benchmarks/bench.py", *session.posargs)
        return
    for script in ("speed", "speed_page", "draw"):
        session.run("python", f"benchmarks/{script}.py")


@nox.session
def peers(session: nox.Session) -> None:
    """Measure the errors of what others call: `nox -s peers -- --dtype float32`."""
    session.install(f"{wheel(session)}[demo,verify]", *group("backends"))
    session.run("python", "benchmarks/peers.py", *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """Try the laws on what others call, and write docs/matrix.md: ten minutes.

    TensorFlow is a download of 250 MB; sorix needs Python 3.12. What is missing keeps its entry.
    """
    session.install(f"{wheel(session)}[demo,verify]", *group("backends"), *group("matrix"))
    session.run("python", "benchmarks/matrix.py", *session.posargs)


@nox.session
def exhaustive(session: nox.Session) -> None:
    """Measure and write docs/accuracy.md: needs GCC.

    Two hours on two cores. An interrupted run goes on where it was stopped.
    """
    session.install(f"{wheel(session)}[demo,verify]", *group("backends"))
    session.run("python", "benchmarks/accuracy.py", *session.posargs)
    for script in ("kernels/proof", "accuracy_page", "accuracy_picture"):
        session.run("python", f"benchmarks/{script}.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site into docs/_build/html; a warning is an error."""
    session.install(f"{wheel(session)}[verify]", *group("docs"))
    options = ["-W", "-n", "--keep-going", "-b", "html"]
    session.run("sphinx-build", *options, *session.posargs, "docs", "docs/_build/html")


@nox.session
def pictures(session: nox.Session) -> None:
    """Draw the pictures of the documentation again, from runs and from the reports of runs."""
    session.install(f"{wheel(session)}[demo]", *group("backends"))
    scripts = ("benchmarks/accuracy_picture", "docs/pictures/tail", "docs/pictures/architecture")
    for script in (*scripts, "benchmarks/draw"):
        session.run("python", f"{script}.py")
