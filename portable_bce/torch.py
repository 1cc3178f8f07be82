"""PyTorch's `BCEWithLogitsLoss`, `BCELoss` and their functions, by this library's formula.

Swap an import: signatures, buffers, ``state_dict`` and repr are PyTorch's, our keywords
follow theirs. The classes are subclasses of PyTorch's, in which only `forward` is new.

>>> import torch
>>> from portable_bce.torch import BCEWithLogitsLoss
>>> loss = BCEWithLogitsLoss(pos_weight=torch.tensor([3.0, 1.0]))
>>> logits = torch.tensor([[0.5, -2.0], [20.0, 1.0]], requires_grad=True)
>>> loss(logits, torch.tensor([[0.0, 0.0], [1.0, 1.0]])).backward()
>>> bool(logits.grad[1, 0] < 0)  # PyTorch's own is 0 here
True

What differs, deliberately (the page about PyTorch has the reasons):

- Right where PyTorch's is not: infinite logits, tails of loss, gradient and Hessian, soft
  labels at large logits, halves, the Hessian with respect to probabilities. There are gradients
  with respect to weights.
- `BCELoss` is infinite where certain and wrong, and its gradient is not cut off (PyTorch
  keeps the logarithm above -100): pass ``eps`` for finite numbers.
- No value is checked: probabilities outside [0, 1] are no error (`check_inputs` checks).
- The result has the dtype of the input, whatever those of targets and weights are.
- Integer and bool targets are accepted, Python numbers too, and reduction None.
- An unknown reduction is an error when the module is made, not when it is called; errors
  are those of `bce_with_logits`, which calls the input ``logits`` (or ``probabilities``).
- A scripted module calls back into Python, so it cannot be saved: export it, or trace it.
  An exported graph holds plain operators and not PyTorch's one.

Needs PyTorch: ``pip install "portable-bce[torch]"``.
"""

# No postponed annotations: TorchScript does not resolve them.
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from portable_bce import _arguments
from portable_bce._from_logits import bce_with_logits
from portable_bce._from_probabilities import bce
from portable_bce._reduction import Name, check_name

try:
    import torch
    from torch import Tensor
    from torch.overrides import handle_torch_function, has_torch_function
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "portable_bce.torch needs PyTorch, which is not installed: "
        'pip install "portable-bce[torch]"',
        name=error.name,
    ) from error

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
]

_HALVES = (torch.float16, torch.bfloat16)
# The settings that only our modules have. `repr` leaves these values out.
_DEFAULTS = {"label_smoothing": 0.0, "axis": None, "compute_dtype": None, "eps": None}


class _Ours:
    """What both modules add to PyTorch's."""

    reduction: str

    # `where` is not keyword-only because TorchScript has no such arguments.
    def forward(self, input: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
        """Return the loss; ``where`` masks elements, as in `portable_bce.bce_with_logits`."""
        return self._evaluate(input, target, where)

    if TYPE_CHECKING:  # PyTorch says Any

        def __call__(self, input: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
            """Return the loss, as `forward`."""

    # TorchScript calls it in Python: it cannot compile what every array library runs.
    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def _evaluate(self, input: Tensor, target: Tensor, where: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _configure(
        self,
        label_smoothing: float,
        axis: int | tuple[int, ...] | None,
        compute_dtype: torch.dtype | None,
    ) -> None:
        check_name(self.reduction)
        self.label_smoothing = _arguments.smoothing(label_smoothing)
        self.axis = axis
        self.compute_dtype = compute_dtype

    def extra_repr(self) -> str:
        """Return the settings that PyTorch's module does not have, where they are in use."""
        settings = {name: getattr(self, name, default) for name, default in _DEFAULTS.items()}
        return ", ".join(
            f"{name}={value!r}" for name, value in settings.items() if value != _DEFAULTS[name]
        )


# Not a method: TorchScript binds only those that it calls itself.
def _settings(module: Any) -> dict[str, Any]:
    names = ("weight", "reduction", "pos_weight", "label_smoothing", "axis", "compute_dtype")
    return {name: getattr(module, name) for name in names}


class BCEWithLogitsLoss(_Ours, torch.nn.BCEWithLogitsLoss):  # type: ignore[misc]
    """`torch.nn.BCEWithLogitsLoss`, right in the tails and at infinity.

    Parameters
    ----------
    weight, pos_weight : Tensor that broadcasts to the shape of the input, optional
        Buffers, as PyTorch's; see `portable_bce.bce_with_logits`.
    size_average, reduce : bool, optional
        Deprecated by PyTorch, with its warning and meaning.
    reduction : {"mean", "sum", "none", "weighted_mean"} or None, default "mean"
        PyTorch's, and "weighted_mean", which divides by the sum of `weight`.
    label_smoothing, axis, compute_dtype
        As for `portable_bce.bce_with_logits`. A mask is of a call: see `forward`.

    Raises
    ------
    TypeError, ValueError
        A reduction or smoothing that does not exist; the rest when tensors come.

    Examples
    --------
    >>> import torch
    >>> from portable_bce.torch import BCEWithLogitsLoss
    >>> loss = BCEWithLogitsLoss(reduction="sum", label_smoothing=0.1)
    >>> loss
    BCEWithLogitsLoss(label_smoothing=0.1)
    >>> loss(torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0]))
    tensor(0.8917)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Name = "mean",
        pos_weight: Tensor | None = None,
        *,
        label_smoothing: float = 0.0,
        axis: int | tuple[int, ...] | None = None,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction, pos_weight)
        self._configure(label_smoothing, axis, compute_dtype)

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def _evaluate(self, input: Tensor, target: Tensor, where: Tensor | None) -> Tensor:
        return binary_cross_entropy_with_logits(input, target, where=where, **_settings(self))


class BCELoss(_Ours, torch.nn.BCELoss):  # type: ignore[misc]
    """`torch.nn.BCELoss`, infinite where certain and wrong unless ``eps`` is given.

    Parameters
    ----------
    weight : Tensor that broadcasts to the shape of the input, optional
        A buffer, as PyTorch's; see `portable_bce.bce`.
    size_average, reduce : bool, optional
        Deprecated by PyTorch, with its warning and meaning.
    reduction : {"mean", "sum", "none", "weighted_mean"} or None, default "mean"
        PyTorch's, and "weighted_mean", which divides by the sum of `weight`.
    pos_weight, label_smoothing, axis, compute_dtype, eps
        As for `portable_bce.bce`; `pos_weight` is a Tensor, and a buffer.

    Raises
    ------
    TypeError, ValueError
        A reduction or smoothing that does not exist; the rest when tensors come.

    Examples
    --------
    >>> import torch
    >>> from portable_bce.torch import BCELoss
    >>> certain_and_wrong = torch.tensor([0.5, 0.0]), torch.tensor([1.0, 1.0])
    >>> BCELoss(reduction="none")(*certain_and_wrong)
    tensor([0.6931,    inf])
    >>> BCELoss(reduction="none", eps=1e-7)(*certain_and_wrong)
    tensor([ 0.6931, 16.1181])
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Name = "mean",
        *,
        pos_weight: Tensor | None = None,
        label_smoothing: float = 0.0,
        axis: int | tuple[int, ...] | None = None,
        compute_dtype: torch.dtype | None = None,
        eps: float | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)  # None is not in the state_dict
        self._configure(label_smoothing, axis, compute_dtype)
        self.eps = eps

    @torch.jit.ignore  # type: ignore[untyped-decorator]
    def _evaluate(self, input: Tensor, target: Tensor, where: Tensor | None) -> Tensor:
        settings = _settings(self)
        return binary_cross_entropy(input, target, where=where, eps=self.eps, **settings)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor | float,
    weight: Tensor | float | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Name = "mean",
    pos_weight: Tensor | float | None = None,
    *,
    label_smoothing: float = 0.0,
    where: Tensor | None = None,
    axis: int | tuple[int, ...] | None = None,
    compute_dtype: torch.dtype | None = None,
) -> Tensor:
    """`torch.nn.functional.binary_cross_entropy_with_logits`, right in the tails.

    Parameters
    ----------
    input, target, weight, size_average, reduce, reduction, pos_weight
        As for `BCEWithLogitsLoss`; all but the input may be Python numbers.
    label_smoothing, where, axis, compute_dtype
        As for `portable_bce.bce_with_logits`.

    Returns
    -------
    loss : Tensor
        Of the dtype of `input`, and of its shape for "none", else without the axes reduced
        over; under autocast float32 for halves, as PyTorch's.

    Raises
    ------
    TypeError, ValueError
        As `portable_bce.bce_with_logits`.

    Examples
    --------
    >>> import torch
    >>> from portable_bce.torch import binary_cross_entropy_with_logits
    >>> binary_cross_entropy_with_logits(torch.tensor([torch.inf, 0.0]), torch.tensor([1.0, 0.0]))
    tensor(0.3466)
    """
    return _call(
        binary_cross_entropy_with_logits,
        bce_with_logits,
        (input, target, weight, pos_weight, where),
        reduction=_name(size_average, reduce, reduction),
        label_smoothing=label_smoothing,
        axis=axis,
        compute_dtype=compute_dtype,
    )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor | float,
    weight: Tensor | float | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Name = "mean",
    *,
    pos_weight: Tensor | float | None = None,
    label_smoothing: float = 0.0,
    where: Tensor | None = None,
    axis: int | tuple[int, ...] | None = None,
    compute_dtype: torch.dtype | None = None,
    eps: float | None = None,
) -> Tensor:
    """`torch.nn.functional.binary_cross_entropy`, infinite where certain and wrong.

    Parameters
    ----------
    input, target, weight, size_average, reduce, reduction
        As for `BCELoss`; all but the input may be Python numbers.
    pos_weight, label_smoothing, where, axis, compute_dtype, eps
        As for `portable_bce.bce`.

    Returns
    -------
    loss : Tensor
        Of the dtype of `input`, and of its shape for "none", else without the axes reduced
        over; under autocast float32 for halves.

    Raises
    ------
    TypeError, ValueError
        As `portable_bce.bce`.

    Examples
    --------
    >>> import torch
    >>> from portable_bce.torch import binary_cross_entropy
    >>> binary_cross_entropy(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 1.0]))
    tensor(0.3466)
    """
    return _call(
        binary_cross_entropy,
        bce,
        (input, target, weight, pos_weight, where),
        reduction=_name(size_average, reduce, reduction),
        label_smoothing=label_smoothing,
        axis=axis,
        compute_dtype=compute_dtype,
        eps=eps,
    )


def _name(size_average: bool | None, reduce: bool | None, reduction: Name) -> Name:
    """Return the reduction that the deprecated arguments name, with PyTorch's warning."""
    if size_average is None and reduce is None:
        return reduction
    name: Name = torch.nn.BCELoss(None, size_average, reduce).reduction
    return name


def _call(
    public: Callable[..., Tensor],
    function: Callable[..., Tensor],
    arguments: tuple[Any, ...],
    **settings: Any,
) -> Tensor:
    """Call the core, unless an argument overrides PyTorch's functions (as FX's proxies do)."""
    x, target, weight, pos_weight, where = arguments
    settings |= {"weight": weight, "pos_weight": pos_weight, "where": where}
    if has_torch_function(arguments):
        return handle_torch_function(public, arguments, x, target, **settings)
    if (
        isinstance(x, Tensor)
        and x.dtype in _HALVES
        and torch.amp.is_autocast_available(x.device.type)
        and torch.is_autocast_enabled(x.device.type)
    ):
        x = x.float()  # as autocast does for PyTorch's, so that the loss is float32
    return function(x, target, **settings)
