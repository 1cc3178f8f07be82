"""What came out of trying laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

import numpy as np

from portable_bce.testing._law import Law

_INDENT = " " * 4


def _filled(text: str) -> str:
    return fill(text, 88, initial_indent=_INDENT, subsequent_indent=_INDENT)


@dataclass(frozen=True, slots=True)
class Broken:
    """A law that an implementation breaks in a dtype, by the smallest example found.

    Parameters
    ----------
    law : Law
        Which law.
    dtype : str
        The dtype of the logits.
    logits, targets : numpy.generic or numpy.ndarray
        The example, as floats of that dtype (of bfloat16: as float32): of shape (), unless it
        takes several pairs to show it.
    got : str
        What came back.
    required : str
        What should have.
    keywords : mapping of str
        What else was passed.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce.testing import check
    >>> wrong = check(lambda x, y: x * y, xp=np, dtypes=["float32"], examples=20).broken[0]
    >>> print(wrong.law, wrong.logits, wrong.targets, wrong.got)
    loss_of_hard_labels_is_within_its_bound 0.0 0.0 0.0
    """

    law: Law
    dtype: str
    logits: Any
    targets: Any
    got: str
    required: str
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def example(self) -> str:
        """What was passed, in one line."""
        passed = {"logits": self.logits, "targets": self.targets, **self.keywords}
        return ", ".join(f"{name} {_example(value)}" for name, value in passed.items())

    @property
    def message(self) -> str:
        """The law, the example and the values, in five lines or six."""
        return (
            f"{self.law} [{self.dtype}]\n"
            f"{_filled(self.law.statement)}\n"
            f"    {self.example}\n"
            f"    got      {self.got}\n"
            f"    required {self.required}"
        )


def _example(value: Any) -> str:
    if not isinstance(value, (np.ndarray, np.generic)):
        return repr(value)
    return " ".join(str(value).split()) if value.size <= 16 else f"of shape {value.shape}"


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found; ``str`` of it is for reading.

    Parameters
    ----------
    broken : tuple of Broken
        One for each law and dtype in which it is broken.
    passed : tuple of Law
        The laws that hold in every dtype.
    skipped : tuple of Law
        The laws that were not tried, because the gradient or the Hessian was not given.
    dtypes : tuple of str
        The dtypes that were tried.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_bce import bce_with_logits
    >>> from portable_bce.testing import check
    >>> def loss(logits, targets):
    ...     return bce_with_logits(logits, targets, reduction="none")
    >>> report = check(loss, xp=np, examples=20)
    >>> report.ok, len(report.passed), len(report.skipped)
    (True, 14, 16)
    """

    broken: tuple[Broken, ...]
    passed: tuple[Law, ...]
    skipped: tuple[Law, ...]
    dtypes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether no law is broken; laws that were not tried do not count."""
        return not self.broken

    def raise_if_broken(self) -> None:
        """Raise an error that says all, if a law is broken.

        Raises
        ------
        AssertionError
            A law is broken.
        """
        if self.broken:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        parts = [f"binary cross-entropy in {', '.join(self.dtypes)}: of its laws {self._counts}"]
        parts += [f"BROKEN {one.message}" for one in self.broken]
        for words, names in self._not_tried.items():
            parts.append(f"NOT TRIED without {words}\n{_filled(', '.join(names))}")
        return "\n\n".join(parts)

    @property
    def markdown(self) -> str:
        """The report in Markdown, with a table of the broken laws and their examples."""
        lines = [f"Binary cross-entropy in {', '.join(self.dtypes)}: of its laws {self._counts}."]
        if self.broken:
            lines += ["", "| law | dtype | example | got | required |", "|---|---|---|---|---|"]
        for one in self.broken:
            cells = (f"`{one.law}`", one.dtype, one.example, one.got, one.required)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        for words, names in self._not_tried.items():
            lines += ["", f"Not tried without {words}: {', '.join(f'`{name}`' for name in names)}."]
        return "\n".join(lines)

    @property
    def _counts(self) -> str:
        broken = len({one.law for one in self.broken})
        return f"{broken} broken, {len(self.passed)} kept, {len(self.skipped)} not tried"

    @property
    def _not_tried(self) -> dict[str, list[str]]:
        """The names of laws that were not tried, by what they need."""
        words_of = {
            "grad": "`gradient=`",
            "hess": "`hessian=`",
            "jit": "JAX's arrays",
            "lazy": "Dask's arrays",
            "weights": "`weight` or `pos_weight`",
            "factors": "`weight`, `pos_weight` or `where`",
        }
        found: dict[str, list[str]] = {}
        for law in self.skipped:
            words = " and ".join(words_of.get(word, f"`{word}`") for word in law.needs.split())
            found.setdefault(words, []).append(law.name)
        return found
