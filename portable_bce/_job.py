"""What is asked of a runner, as one value that answers each question once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

from portable_bce._arguments import Arguments, check_arguments
from portable_bce._formula import with_probabilities
from portable_bce._reduction import Name, Reduction, is_counted, reduction_of
from portable_bce._typing import Array, ArrayOrScalar

# A function of `_formula`: (xp, outputs, x, y, w, p, u) -> one value for each output
Formula: TypeAlias = Callable[..., tuple[Any, ...]]


class Job(NamedTuple):
    """A formula, its checked arguments, a reduction, and the outputs asked for.

    "loss", which comes first, is reduced; "grad", "hess" and "grad_targets" are elementwise,
    and divided by the denominator of the reduction. All are rounded to the result dtype once.
    Derivatives that somebody scales before they are rounded have the dtype ``waiting``.

    ``denominator`` replaces the reduction's own where the arguments are a part of a larger array:
    it is that array's. A job without arrays can be sent to other processes.
    """

    formula: Formula
    arguments: Arguments
    reduction: Reduction
    outputs: tuple[str, ...]
    waiting: Any = None
    denominator: float | None = None

    @property
    def first(self) -> str:
        """What the caller's first argument is called."""
        return first_argument(self.formula)

    @property
    def sums_loss(self) -> bool:
        """Whether losses are summed."""
        return self.reduction.name != "none" and "loss" in self.outputs

    @property
    def reduces_all(self) -> bool:
        """Whether nothing is left of the shape."""
        ndim: int = self.arguments.x.ndim
        return len(self.reduction.axes) == ndim

    @property
    def is_counted(self) -> bool:
        """Whether the denominator depends on more than the shape."""
        given = self.arguments
        return is_counted(self.reduction, given.x, given.weight, given.where)

    @property
    def derivative_dtype(self) -> Any:
        """The dtype of the derivatives."""
        given = self.arguments
        return given.result_dtype if self.waiting is None else self.waiting

    def values(self, xp: Any, x: Any, y: Any, w: Any, p: Any) -> tuple[Any, ...]:
        """Return the outputs of the formula for operands that are ready to compute with."""
        given = self.arguments
        if given.eps is None:
            return self.formula(xp, self.outputs, x, y, w, p, given.label_smoothing)
        return self.formula(xp, self.outputs, x, y, w, p, given.label_smoothing, given.eps)


def job_of(
    formula: Formula,
    outputs: tuple[str, ...],
    x: Array,
    targets: ArrayOrScalar,
    reduction: Name,
    axis: int | tuple[int, ...] | None,
    *options: Any,
) -> Job:
    """Check what a public function was passed, and return the job.

    ``options`` are the other arguments of `check_arguments`, from ``weight`` on.
    """
    arguments = check_arguments(first_argument(formula), x, targets, *options)
    return Job(formula, arguments, reduction_of(reduction, axis, x.ndim), outputs)


def first_argument(formula: Formula) -> str:
    """Return what the first argument of a formula's public functions is called."""
    return "probabilities" if formula is with_probabilities else "logits"


class Runner(Protocol):
    """How a library evaluates a job."""

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return one array for each output of the job."""
