"""The command line: ``python -m portable_bce COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from portable_bce import _source
from portable_bce._backends import BACKENDS, UnavailableError
from portable_bce._contract import DTYPES
from portable_bce._demo.solvers import SOLVERS
from portable_bce._kernels.generate import FACTORS, FORMULAS

# module that a command may miss -> (its name on PyPI, the extra that brings it, by default
# the command's own)
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
# Dask's arrays have no linear solver that the demo could call.
DEMO = tuple(name for name in BACKENDS if name != "dask")
_TIMED = ("numpy", "torch", "jax")
_TASKS = ("value_and_grad", "loss", "losses", "grad", "grad_and_hess")
_TARGETS = ("hard", "soft", "plain", "weighted", "all")

_EXTRAS = {"demo": "demo", "verify": "verify", "bench": "verify"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 if it cannot be run as asked.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows ``python -m portable_bce``, by default that of this process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = options.run(options)
    except UnavailableError as error:
        return _refuse(f"{options.command}: {error}")
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _PACKAGES:
            raise
        package, extra = _PACKAGES[module]
        return _refuse(
            f"{options.command} needs {package}, which is not installed: "
            f'pip install "portable-bce[{extra or _EXTRAS[options.command]}]"'
        )
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m portable_bce",
        description="Binary cross-entropy for every array API library.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_demo(commands)
    _add_verify(commands)
    _add_bench(commands)
    _add_source(commands)
    return parser


def _add_demo(commands: Any) -> None:
    about = "train a logistic regression and compare it with scikit-learn's"
    parser = commands.add_parser("demo", help=about, description=about)
    parser.add_argument("--backend", choices=DEMO, default="numpy", help="default: numpy")
    which = "Newton's method (the default) or gradient descent"
    parser.add_argument("--solver", choices=tuple(SOLVERS), default="newton", help=which)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the convergence to FILE")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    # Only this command needs what these import, and only the plot needs matplotlib.
    from portable_bce._demo import report  # noqa: PLC0415

    if options.plot is None:
        return report.run(options.backend, options.solver)
    from portable_bce._demo import plot  # noqa: PLC0415

    return report.run(options.backend, options.solver, partial(plot.draw, options.plot))


def _add_verify(commands: Any) -> None:
    about = "measure the errors of loss, gradient and Hessian on this machine's libraries"
    parser = commands.add_parser("verify", help=about, description=about)
    add = parser.add_argument
    add("--backend", nargs="+", choices=tuple(BACKENDS), default=[], help="default: all installed")
    add("--device", metavar="LABEL", help="such as cpu or cuda:0; default: all")
    add("--dtype", nargs="+", choices=DTYPES, default=[], help="default: all")
    add("--compute-dtype", choices=["float64"], help="compute float32 so (and only that)")
    add("--peers", action="store_true", help="measure what others call, too")
    add("--exhaustive", action="store_true", help="every logit, not a sample")
    which = "hard: 0 and 1; plain: hard and soft; default: all; hard if exhaustive, plain for peers"
    add("--targets", choices=_TARGETS, help=which)
    add("--points", type=int, default=100_000, metavar="N", help="of each class (default: 100000)")
    add("--every", type=int, default=1, metavar="N", help="thin a sweep to one logit in N")
    add("--seed", type=int, default=0, metavar="N", help="of what is random (default: 0)")
    add("--jobs", type=int, metavar="N", help="processes; default: all cores")
    add("--state", type=Path, metavar="FILE", help="keep what is done, and go on from there")
    add("--json", type=Path, metavar="FILE", help="write everything to FILE, or to - (stdout)")
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from portable_bce._verify import command, request, workers  # noqa: PLC0415

    asked = request.Request(
        backends=tuple(options.backend),
        device=options.device,
        dtypes=tuple(options.dtype),
        compute_dtype=options.compute_dtype,
        peers=options.peers,
        exhaustive=options.exhaustive,
        targets=options.targets or ("plain" if options.peers and not options.exhaustive else None),
        points=options.points,
        every=options.every,
        seed=options.seed,
        jobs=workers.cores() if options.jobs is None else options.jobs,
        state=options.state,
    )
    return command.run(asked, options.json)


def _add_bench(commands: Any) -> None:
    about = "time loss, gradient and Hessian, and what others call, in one run"
    parser = commands.add_parser("bench", help=about, description=about)
    add = parser.add_argument
    backends = (*_TIMED, "gpu")
    about = "default: all installed; gpu: CuPy, PyTorch and JAX on one GPU"
    add("--backend", nargs="+", choices=backends, default=list(_TIMED), help=about)
    about = "what is computed (default: value_and_grad)"
    add("--task", nargs="+", choices=_TASKS, default=["value_and_grad"], help=about)
    about = "elements (default: 1 10000 1000000)"
    add("--size", nargs="+", type=int, default=[1, 10**4, 10**6], metavar="N", help=about)
    timed = [name for name in DTYPES if name != "bfloat16"]
    add("--dtype", nargs="+", choices=timed, default=timed[1:], help="default: float32 and float64")
    add("--seconds", type=float, default=1.0, metavar="S", help="for each figure (default: 1)")
    add("--threads", type=int, default=1, metavar="N", help="1 (by CPU time) or more (by the wall)")
    add("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    from portable_bce._bench import command  # noqa: PLC0415

    asked = command.Request(
        groups=tuple(options.backend),
        tasks=tuple(options.task),
        sizes=tuple(options.size),
        dtypes=tuple(options.dtype),
        seconds=options.seconds,
        threads=options.threads,
    )
    return command.run(asked, options.json)


def _add_source(commands: Any) -> None:
    about = "print the formula as it is computed: in C, in CUDA, or operation by operation"
    parser = commands.add_parser("source", help=about, description=about)
    add = parser.add_argument
    about = "the CPU's kernel, CuPy's, or what both are printed from (default: c)"
    add("--as", dest="language", choices=_source.LANGUAGES, default="c", help=about)
    add("--formula", choices=tuple(FORMULAS), default="with_logits", help="default: with_logits")
    about = "default: loss grad; of the last two formulas: loss"
    add("--outputs", nargs="+", choices=_source.OUTPUTS, help=about)
    about = "w: weight, p: pos_weight, u: label smoothing. none (the default); weighted: w; "
    about += "smoothed: w, u; all: w, p, u"
    add("--factors", choices=tuple(FACTORS), default="none", help=about)
    add("--dtype", choices=_source.DTYPES, default="float32", help="default: float32")
    about = "in CUDA (default: mean); in C the losses are summed after the kernel"
    add("--reduction", choices=_source.REDUCTIONS, default="mean", help=about)
    parser.set_defaults(run=_print_source)


def _print_source(options: argparse.Namespace) -> int:
    outputs = options.outputs or _source.default_outputs(options.formula)
    asked = _source.Request(
        formula=options.formula,
        outputs=tuple(one for one in _source.OUTPUTS if one in outputs),
        factors=options.factors,
        dtype=options.dtype,
        reduction=options.reduction,
    )
    sys.stdout.write(f"{_source.text(options.language, asked)}\n")
    return 0


def _refuse(message: str) -> int:
    sys.stderr.write(f"python -m portable_bce {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
