"""What is done of a run, kept in a file, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from portable_bce._backends import UnavailableError
from portable_bce._verify.measure import Cell, Worst, merge

# Seconds between two writes: what a killed process may lose. An interrupt loses nothing.
_PAUSE = 5.0


@dataclass
class Progress:
    """The chunks of a run that are done, by their number, and the worst cases in them.

    ``identity`` says what run it is; a file of another run is refused.
    """

    identity: dict[str, Any]
    path: Path | None = None
    done: set[int] = field(default_factory=set)
    worst: dict[str, dict[Cell, Worst]] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic, repr=False)

    @classmethod
    def resumed(cls, identity: dict[str, Any], path: Path | None) -> Progress:
        """Read what an earlier run left, if it left anything.

        Raises
        ------
        UnavailableError
            The file was left by another run, or by something else.
        """
        if path is None or not path.exists():
            return cls(identity, path)
        try:
            left = json.loads(path.read_text())
            theirs, done, cells = left["run"], left["done"], left["worst"]
        except (ValueError, KeyError, TypeError) as error:
            raise UnavailableError(
                f"`--state` must be a file that verify left, or a new one; {path} holds "
                "something else"
            ) from error
        if theirs != json.loads(json.dumps(identity)):
            names = sorted(name for name in identity if theirs.get(name) != identity[name])
            raise UnavailableError(
                f"{path} was left by another run, which differs in {', '.join(names) or 'more'}; "
                "finish that one, remove the file or give another --state"
            )
        worst = {
            title: {tuple(cell): Worst(**case) for cell, case in found}
            for title, found in cells.items()
        }
        return cls(identity, path, set(done), worst)

    def add(self, number: int, title: str, found: dict[Cell, Worst]) -> None:
        """Keep the result of a chunk."""
        self.done.add(number)
        merge(self.worst.setdefault(title, {}), found)
        if time.monotonic() - self._written > _PAUSE:
            self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        self._written = time.monotonic()
        if self.path is None:
            return
        cells = {
            title: [[list(cell), asdict(worst)] for cell, worst in found.items()]
            for title, found in self.worst.items()
        }
        left = {"run": self.identity, "done": sorted(self.done), "worst": cells}
        draft = self.path.with_name(self.path.name + ".part")
        draft.write_text(json.dumps(left))
        draft.replace(self.path)

    def finish(self) -> None:
        """Remove the file of a run that is complete."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
