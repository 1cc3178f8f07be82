"""From what the caller passed to operands that fit each other, or an error that says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from portable_bce import _checks, _dtypes


class Inputs(NamedTuple):
    """Checked arguments, as they came: nothing is converted, broadcast or computed yet.

    ``work`` is the dtype to compute in and ``dtype`` the one to return. Targets, weights
    and mask may be Python numbers, shorter than ``x`` or of another dtype; runners decide
    when to cast and broadcast them.
    """

    xp: Any
    x: Any
    targets: Any
    weight: Any
    pos_weight: Any
    where: Any
    label_smoothing: float
    eps: float | None
    dtype: Any
    work: Any
    device: Any

    def arrays(self) -> dict[str, Any]:
        """Return the operands that are arrays, by name."""
        found = {name: getattr(self, name) for name in _OPERANDS}
        return {name: one for name, one in found.items() if not isinstance(one, float | None)}

    def mapped(self, change: Callable[[Any], Any]) -> Inputs:
        """Return the same with every array changed."""
        return self._replace(**{name: change(one) for name, one in self.arrays().items()})


_OPERANDS = ("x", "targets", "weight", "pos_weight", "where")


class _Beside(NamedTuple):
    """Checks what stands beside the first argument against it."""

    first: str
    xp: Any
    shape: tuple[Any, ...]
    device: Any

    def number_or_array(self, name: str, value: Any, kinds: tuple[str, ...]) -> Any:
        return _checks.number_or_array(self.xp, value, name, self.first, self.device, kinds)

    def targets(self, value: Any) -> Any:
        value = self.number_or_array("targets", value, _checks.REAL)
        if not isinstance(value, float):
            _checks.same_shape(value.shape, self.shape, "targets", self.first)
        return value

    def factor(self, name: str, value: Any, kinds: tuple[str, ...] = _checks.REAL) -> Any:
        value = self.number_or_array(name, value, kinds)
        if not isinstance(value, float):
            _checks.broadcastable(value.shape, self.shape, name, self.first)
        return value

    def mask(self, value: Any) -> Any:
        if _checks.is_number(value):
            raise TypeError(
                f"`where` must be a bool array of the library of `{self.first}`, "
                f"{_checks.library(self.xp)}; got {type(value).__name__}. Leave it out to keep "
                "everything"
            )
        return self.factor("where", value, _checks.BOOL)


def gather(
    first: str,
    x: Any,
    targets: Any,
    *,
    weight: Any = None,
    pos_weight: Any = None,
    label_smoothing: float = 0.0,
    where: Any = None,
    compute_dtype: Any = None,
    eps: float | None = None,
) -> Inputs:
    """Check everything that can be checked without looking at a value.

    ``first`` is what the caller's first argument is called, "logits" or "probabilities".
    """
    xp = _checks.namespace(first, x)
    _checks.dtype_kind(xp, x, first, _checks.FLOATING)
    device = _dtypes.device_of(x)
    work = working_dtype(xp, x.dtype, device, compute_dtype)
    beside = _Beside(first, xp, x.shape, device)
    return Inputs(
        xp=xp,
        x=x,
        targets=beside.targets(targets),
        weight=None if weight is None else beside.factor("weight", weight),
        pos_weight=None if pos_weight is None else beside.factor("pos_weight", pos_weight),
        where=None if where is None else beside.mask(where),
        label_smoothing=_checks.smoothing(label_smoothing),
        eps=_checks.clamp(eps, xp, work),
        dtype=x.dtype,
        work=work,
        device=device,
    )


def working_dtype(xp: Any, dtype: Any, device: Any, asked: Any = None) -> Any:
    """Return the dtype to compute in: float32 for halves, else the caller's, or ``asked``."""
    own = xp.float32 if _dtypes.bits(xp, dtype) < 32 else _dtypes.native(dtype)
    if asked is None:
        return own
    name = _checks.library(xp)
    if not _dtypes.akin(asked, dtype) or _dtypes.kind(xp, asked) != "floating":
        raise TypeError(
            f"`compute_dtype` must be a real floating dtype of {name}, such as {name}.float64; "
            f"got {asked!r}"
        )
    if _dtypes.bits(xp, asked) < _dtypes.bits(xp, own):
        raise TypeError(
            f"`compute_dtype` must be at least as precise as {own}, in which {dtype} is computed "
            f"anyway; got {asked!r}"
        )
    if asked != own and not _dtypes.has(xp, asked, device):
        raise TypeError(
            f"`compute_dtype` must be a dtype that {name} has on this device; got {asked!r}. "
            "On JAX, enable x64"
        )
    return _dtypes.native(asked)
