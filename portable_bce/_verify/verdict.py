"""The contract, held against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portable_bce._contract import bounds_for
from portable_bce._verify.measure import Cell, Worst
from portable_bce._verify.points import EVERY, TARGETS
from portable_bce._verify.specials import Finding
from portable_bce._verify.subjects import Spec


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found for one implementation, dtype and device."""

    spec: Spec
    version: str
    cells: dict[Cell, Worst]
    findings: list[Finding]

    @property
    def ours(self) -> bool:
        """Whether the contract is asked of it."""
        return self.spec.implementation == "portable_bce"

    @property
    def kept(self) -> bool:
        """Whether ours keeps the contract everywhere; others have promised nothing."""
        return not self.ours or (
            all(worst.ulps <= self.bound(cell) for cell, worst in self.cells.items())
            and all(finding.right for finding in self.findings)
        )

    def bound(self, cell: Cell) -> float:
        """Return what the contract allows in a cell."""
        targets, _, value = cell
        of = TARGETS.get(targets, TARGETS["uniform"])
        bounds = bounds_for(
            self.spec.dtype,
            self.spec.compute_dtype,
            hard=of.hard and targets != EVERY,
            weighted=of.weighted,
            factors=of.factors,
            library=self.spec.backend,
            compiled=self.spec.is_compiled,
        )
        return float(getattr(bounds, value))

    def worst(self, value: str, *, targets: str | None = None, region: str | None = None) -> Any:
        """Return the cell and the worst case, of those asked for, that is nearest its bound."""
        found = [
            (cell, worst)
            for cell, worst in self.cells.items()
            if cell[2] == value and targets in (None, cell[0]) and region in (None, cell[1])
        ]
        if not found:
            return None
        return max(found, key=lambda one: one[1].ulps / self.bound(one[0]))

    def record(self) -> dict[str, Any]:
        """Return everything, for JSON; arguments as hexadecimal floats, which lose nothing."""
        return {
            "implementation": self.spec.implementation,
            "backend": self.spec.backend,
            "version": self.version,
            "device": self.spec.device,
            "compiled": self.spec.compiled,
            "dtype": self.spec.dtype,
            "compute_dtype": self.spec.compute_dtype,
            "kept": self.kept if self.ours else None,
            "cells": [self._cell(cell, worst) for cell, worst in self.cells.items()],
            "special cases": [
                {"case": one.case, "value": one.value, "right": one.right, "got": one.got}
                for one in self.findings
            ],
        }

    def _cell(self, cell: Cell, worst: Worst) -> dict[str, Any]:
        targets, region, value = cell
        exact = {name: getattr(worst, name) for name in ("x", "y", "w", "p", "u", "got")}
        return {
            "targets": targets,
            "logits": region,
            "value": value,
            "ulps": worst.ulps,
            "bound": self.bound(cell) if self.ours else None,
            "points": worst.count,
            **{name: None if one is None else float(one).hex() for name, one in exact.items()},
        }
