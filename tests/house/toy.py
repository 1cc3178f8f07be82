"""A library that nobody has heard of: NumPy's arrays in a class of their own, and its runner."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import numpy as numpy_namespace
from numpy.lib.mixins import NDArrayOperatorsMixin

from portable_bce._evaluate import evaluate
from portable_bce._job import Job


class Toy(NDArrayOperatorsMixin):
    """An array of the toy library."""

    device = "cpu"

    def __init__(self, data: Any) -> None:
        self.data = np.asarray(data)
        self.dtype, self.shape, self.ndim = self.data.dtype, self.data.shape, self.data.ndim

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return TOY

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return wrapping(getattr(ufunc, method))(*inputs, **options)

    def __getitem__(self, index: Any) -> Toy:
        return Toy(self.data[index])


def wrapping(function: Any) -> Any:
    """Return a function of NumPy's as the toy library has it."""

    def wrapped(*inputs: Any, **options: Any) -> Any:
        return Toy(function(*(getattr(one, "data", one) for one in inputs), **options))

    return wrapped


class Namespace:
    """The functions and dtypes of the toy library."""

    __name__ = "toy"
    asarray = Toy

    def __getattr__(self, name: str) -> Any:
        if name == "ndarray":  # the toy library's arrays are not NumPy's
            raise AttributeError(name)
        value = getattr(numpy_namespace, name)
        is_about_dtypes = isinstance(value, type) or name in ("finfo", "isdtype")
        return value if is_about_dtypes or name.startswith("__") else wrapping(value)


TOY = Namespace()


# [runner]
class Runner:
    """The toy library's arrays, evaluated in the memory that NumPy's arrays have."""

    def evaluate(self, job: Job) -> tuple[Any, ...]:
        """Return one array for each output of the job."""
        arguments = job.arguments.mapped(lambda array: array.data)
        arguments = arguments._replace(xp=numpy_namespace)
        return tuple(map(Toy, evaluate(job._replace(arguments=arguments))))


RUNNER = Runner()
# [end]
