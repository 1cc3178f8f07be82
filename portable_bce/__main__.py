"""The command line: ``portable-bce COMMAND``, or ``python -m portable_bce COMMAND``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import portable_bce
from portable_bce import _kernels
from portable_bce._commands.machine import BACKENDS, ended
from portable_bce._contract import DTYPES
from portable_bce._kernels.generate import FACTORS, FORMULAS

PROGRAM = "python -m portable_bce"
# Dask's arrays have no linear solver that the demo could call.
DEMO = tuple(name for name in BACKENDS if name != "dask")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 2 if it cannot be run as asked.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows ``python -m portable_bce``, by default that of this process.
    """
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:  # argparse alone would print the usage of all commands, and not of this one
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    program = f"{PROGRAM} {options.command}"
    return ended(program, options.command, lambda: options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Binary cross-entropy for every array API library."
    )
    about = f"portable_bce {portable_bce.__version__}, CPU kernels: {_kernels.describe()}"
    parser.add_argument("--version", action="version", version=about)
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, run: Callable[[argparse.Namespace], int], about: str) -> Any:
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(parser=added, run=run)
        return added.add_argument

    _add_demo(
        command("demo", _demo, "train a logistic regression and compare it with scikit-learn's")
    )
    _add_verify(command("verify", _verify, "measure errors on this machine's libraries"))
    _add_source(command("source", _source, "print the formula as it is computed"))
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    """Return what reads an integer that is not smaller."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}; got {value}")
        return value

    number.__name__ = "integer"  # as argparse names it: invalid integer value
    return number


def _add_demo(add: Any) -> None:
    add("--backend", choices=DEMO, default="numpy", help="default: numpy")
    which = "Newton's method (the default) or gradient descent"
    add("--solver", choices=("newton", "gd"), default="newton", help=which)
    add("--plot", type=Path, metavar="FILE", help="draw the convergence to FILE")


# Each command imports what it needs when it runs: the extras bring some of it.
def _demo(options: argparse.Namespace) -> int:
    from portable_bce._commands import demo  # noqa: PLC0415

    return demo.run(options.backend, options.solver, options.plot)


def _add_verify(add: Any) -> None:
    add("--backend", nargs="+", choices=tuple(BACKENDS), default=[], help="default: all installed")
    add("--device", metavar="LABEL", help="such as cpu or cuda:0; default: all")
    add("--dtype", nargs="+", choices=DTYPES, default=[], help="default: all")
    add("--compute-dtype", choices=["float64"], help="compute float32 so (and only that)")
    add("--exhaustive", action="store_true", help="every logit, not a sample")
    which = (
        "hard: 0 and 1; soft: between; plain: both; weighted: with weights, pos_weight or label "
    )
    which += "smoothing. Default: all, or hard if exhaustive"
    add("--targets", choices=("hard", "soft", "plain", "weighted", "all"), help=which)
    one, many = _at_least(1), {"metavar": "N"}
    about = "of each class of target and logit (default: 100000)"
    add("--points", type=one, default=100_000, help=about, **many)
    add("--every", type=one, default=1, help="thin a sweep to one logit in N", **many)
    add("--seed", type=_at_least(0), default=0, help="of what is random (default: 0)", **many)
    add("--jobs", type=one, help="processes; default: all cores", **many)
    add("--state", type=Path, metavar="FILE", help="keep what is done, and go on from there")
    add("--json", type=Path, metavar="FILE", help="write everything to FILE, or to - (stdout)")


def _verify(options: argparse.Namespace) -> int:
    from portable_bce._commands import verify  # noqa: PLC0415

    return verify.run(
        verify.Request(
            backends=tuple(options.backend),
            device=options.device,
            dtypes=tuple(options.dtype),
            compute_dtype=options.compute_dtype,
            exhaustive=options.exhaustive,
            targets=options.targets,
            points=options.points,
            every=options.every,
            seed=options.seed,
            jobs=options.jobs,
            state=options.state,
            json=options.json,
        )
    )


def _add_source(add: Any) -> None:
    about = "the CPU's kernel, CuPy's, or what both are printed from (default: c)"
    add("--as", dest="language", choices=("c", "cuda", "trace"), default="c", help=about)
    add("--formula", choices=tuple(FORMULAS), default="with_logits", help="default: with_logits")
    about = "default: loss grad; of the last two formulas: loss"
    add("--outputs", nargs="+", choices=("loss", "grad", "hess", "grad_targets"), help=about)
    about = "w: weight, p: pos_weight, u: label smoothing. none (the default); weighted: w; "
    about += "smoothed: w, u; all: w, p, u"
    add("--factors", choices=tuple(FACTORS), default="none", help=about)
    dtypes = ("float16", "float32", "float64")
    add("--dtype", choices=dtypes, default="float32", help="default: float32")
    about = "in CUDA (default: mean); in C the losses are summed after the kernel"
    add("--reduction", choices=("mean", "sum", "none"), default="mean", help=about)


def _source(options: argparse.Namespace) -> int:
    from portable_bce._commands import source  # noqa: PLC0415

    known = FORMULAS[options.formula].outputs
    default = ("loss", "grad") if ("loss", "grad") in known else known[0]
    asked = source.Request(
        formula=options.formula,
        outputs=tuple(one for one in source.OUTPUTS if one in (options.outputs or default)),
        factors=options.factors,
        dtype=options.dtype,
        reduction=options.reduction,
    )
    sys.stdout.write(f"{source.text(options.language, asked)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
