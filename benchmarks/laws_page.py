"""Measure who breaks which law of portable_bce.testing, and write it into docs/testing.md.

    python benchmarks/laws_page.py

If ours breaks one, on any library, that is the error, and the page is left alone.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Mapping
from contextlib import nullcontext

from pages import DOCS, fill, table
from peers import PEERS, Function, Peer

from portable_bce import (
    bce_with_logits,
    bce_with_logits_grad_and_hess,
    bce_with_logits_value_and_grad,
)
from portable_bce._commands.machine import BACKENDS, described, open_backend, version
from portable_bce.testing import LAWS, Law, Report, check

OURS: dict[str, Function] = {
    "loss": lambda x, y: bce_with_logits(x, y, reduction="none"),
    "grad": lambda x, y: bce_with_logits_value_and_grad(x, y, reduction="none")[1],
    "hess": lambda x, y: bce_with_logits_grad_and_hess(x, y, reduction="none")[1],
}
# what ours is tried on, by the names of their packages
LIBRARIES = ("numpy", "torch", "jax", "dask", "array_api_strict")
# the dtypes in which a law is broken -> how the page says it
CELLS = {(): "·", ("float32",): "32", ("float64",): "64", ("float32", "float64"): "both"}
NOT_TRIED = "\N{EN DASH}"


def reported(values: Mapping[str, Function], library: str) -> Report:
    """Return which laws are broken by functions of a library's arrays."""
    known = library in BACKENDS
    with open_backend(library) if known else nullcontext(importlib.import_module(library)) as xp:
        return check(
            values["loss"],
            xp=xp,
            gradient=values["grad"],
            hessian=values.get("hess"),
            flushes_subnormals=library == "jax",  # as XLA does on a CPU
        )


def cell(report: Report, law: Law) -> str:
    if law in report.skipped:
        return NOT_TRIED
    return CELLS[tuple(one.dtype for one in report.broken if one.law == law)]


def laws_table(peers: list[Peer]) -> str:
    reports = [reported(peer.values, peer.backend) for peer in peers]
    return table(
        ["law", "statement", *(peer.name for peer in peers)],
        ([f"`{law}`", law.statement, *(cell(one, law) for one in reports)] for law in LAWS),
    )


def measured(peers: list[Peer]) -> str:
    """Say on what, when and with which versions; and that ours breaks no law, or raise."""
    for library in LIBRARIES:
        reported(OURS, library).raise_if_broken()
    about = described()
    packages = dict.fromkeys([*LIBRARIES, *(peer.package for peer in peers)])
    versions = [f"{name} {version(name)}" for name in packages]
    text = (
        f"Measured on {about['date']} on {about['cpu']} ({about['system']}), where NumPy computes "
        f"exp by {about['numpy dispatch']['exp float32']}; Python {about['python']}, "
        f"{', '.join(versions)}. portable_bce breaks none of the {len(LAWS)} in either dtype, on "
        f"{', '.join(LIBRARIES[:-1])} and {LIBRARIES[-1]}."
    )
    return textwrap.fill(text, 110, break_on_hyphens=False, break_long_words=False)


def main() -> None:
    """Measure everybody, and write the page."""
    peers = [make() for make in PEERS.values()]
    fill(
        DOCS / "testing.md",
        {"laws": lambda: f"{measured(peers)}\n\n{laws_table(peers)}"},
    )


if __name__ == "__main__":
    main()
