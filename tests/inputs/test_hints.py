"""Each hint that an error prints works as it stands, and does not lead into another error."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace

import portable_bce
from tests.backends import Backend
from tests.inputs.error_cases import CASES

lazy_xp_modules: list[object] = []  # errors come before anything could be compiled

LOGITS = np.asarray([0.5, -1.0, 2.0], dtype=np.float32)
LABELS = np.asarray([0, 1, 1])


def expressions(message: str) -> list[str]:
    """Return the expressions that a message tells its reader to use."""
    hint = message.partition(". Use ")[2]
    return [one for one in re.findall(r"`([^`]*)`", hint) if one not in ("&", "label")]


def foreign() -> dict[str, Any]:
    """Return labels as users have them; the first word of a name is a package."""
    read_only = LABELS.astype(float)
    read_only.flags.writeable = False
    kinds: dict[str, Callable[[Any], Any]] = {
        "array": lambda array: array.array("d", LABELS.tolist()),
        "dask.array": lambda dask: dask.from_array(LABELS, chunks=2),
        "decimal": lambda decimal: decimal.Decimal(1),
        "decimal in a list": lambda decimal: [decimal.Decimal(one) for one in LABELS.tolist()],
        "array_api_strict": lambda strict: strict.asarray(LABELS),
        "jax.numpy": lambda jax: jax.asarray(LABELS),
        "numpy": lambda _: LABELS,
        "numpy, read-only": lambda _: read_only,
        "numpy, big-endian": lambda _: LABELS.astype(">f8"),
        "numpy, long double": lambda _: LABELS.astype(np.longdouble),
        "numpy, float16": lambda _: LABELS.astype(np.float16),
        "numpy, complex": lambda _: LABELS.astype(complex),
        "numpy, objects": lambda _: LABELS.astype(object),
        "numpy, digits": lambda _: LABELS.astype(str),
        "numpy, bytes": lambda _: LABELS.astype("S1"),
        "numpy, record": lambda np: np.rec.fromarrays([LABELS, LABELS], names="label,other"),
        "numpy, masked": lambda np: np.ma.masked_equal(LABELS, 0),
        "numpy, masked floats": lambda np: np.ma.masked_equal(LABELS.astype(float), 0),
        "numpy, one number": lambda np: np.asarray(1.0),
        "builtins, list": lambda _: LABELS.tolist(),
        "builtins, list of lists": lambda _: [LABELS.tolist()],
        "builtins, tuple of floats": lambda _: (0.0, 1.0, 1.0),
        "builtins, range": lambda _: range(3),
        "builtins, memoryview": lambda _: memoryview(LABELS.astype(float)),
        "builtins, complex": lambda _: 1 + 0j,
        "pandas": lambda pandas: pandas.Series(LABELS),
        "pandas, floats": lambda pandas: pandas.Series(LABELS.astype(float)),
        "pandas, missing": lambda pandas: pandas.Series([0, 1, None], dtype="Int64"),
        "pandas, missing bools": lambda pandas: pandas.Series([True, None, False], dtype="boolean"),
        "pandas, frame": lambda pandas: pandas.DataFrame({"label": LABELS}),
        "pandas, index": lambda pandas: pandas.Index(LABELS),
        "polars": lambda polars: polars.Series(LABELS),
        "scipy.sparse, csr_matrix": lambda sparse: sparse.csr_matrix(LABELS[None]),
        "scipy.sparse, csc_array": lambda sparse: sparse.csc_array(LABELS[None].astype(float)),
        "scipy.sparse, coo_array": lambda sparse: sparse.coo_array(LABELS[None]),
        "scipy.sparse, lil_matrix": lambda sparse: sparse.lil_matrix(LABELS[None] > 0),
        "scipy.sparse, asarray": lambda sparse: np.asarray(sparse.csr_matrix(LABELS[None])),
        "sparse": lambda sparse: sparse.COO.from_numpy(LABELS),
        "torch": lambda torch: torch.asarray(LABELS),
        "torch, with gradient": lambda torch: torch.ones(3, requires_grad=True),
        "torch, bfloat16": lambda torch: torch.ones(3, dtype=torch.bfloat16),
        "torch, sparse": lambda torch: torch.ones(3).to_sparse(),
        "torch, list": lambda torch: list(torch.ones(3)),
        "xarray": lambda xarray: xarray.DataArray(LABELS),
    }
    found = {}
    for kind, make in kinds.items():
        module = re.split("[, ]", kind)[0]
        if importlib.util.find_spec(module.partition(".")[0]):
            found[kind] = make(importlib.import_module(module))
    return found


def followed(call: Callable[..., Any], name: str, given: dict[str, Any], limit: int = 1) -> Any:
    """Call, do what the error says as it is printed, and call again."""
    try:
        return call(**given)
    except (TypeError, ValueError) as error:
        message = str(error).partition("\n")[0]  # JAX appends lines of its own
    assert limit, f"the hint led into another error: {message}"
    changed = dict(given)
    if message.endswith("Convert it, for example to float32"):
        xp = array_namespace(given[name])
        changed[name] = xp.astype(given[name], xp.float32)
    elif message.endswith("Take its real part"):
        changed[name] = given[name].real
    else:
        told = expressions(message)
        assert told, f"no hint: {message}"
        known = {one: sys.modules.get(one) for one in MODULES} | given
        for one in told:
            keyword, equals, expression = one.partition("=")
            is_keyword = equals and keyword.isidentifier()
            changed[keyword if is_keyword else name] = eval(
                expression if is_keyword else one, known
            )
    return followed(call, name, changed, limit - 1)


MODULES = ("numpy", "torch", "jax", "dask", "array_api_strict", "cupy")


# What no expression mends.
NO_HINT = {
    ("where", "decimal"),  # a number is no mask
    ("where", "builtins, complex"),
    ("where", "pandas, missing bools"),  # neither true nor false
    ("logits", "torch, sparse"),  # logits of PyTorch, which names its own mend
}


@pytest.mark.parametrize("operand", ["targets", "weight", "pos_weight", "where", "logits"])
def test_hints_for_what_users_pass_work(backend: Backend, operand: str) -> None:
    """What scipy.sparse, pandas, lists and other libraries give, beside logits of each library.

    https://github.com/data-apis/array-api-compat/issues/388: labels come from `todense()`.
    """
    if operand == "logits" and backend.name != "numpy":
        return  # no other argument says that another library is meant
    for kind, value in foreign().items():
        is_own = re.match("[a-z_]+", kind)[0] == library_of(backend)  # type: ignore[index]
        if (operand, kind) in NO_HINT or (is_own and kind != "numpy, masked"):
            continue
        is_row = getattr(value, "shape", None) == (1, 3) or kind in ROWS
        x = backend.array(LOGITS.reshape((1, 3) if is_row else (3,)))
        given: dict[str, Any] = {"logits": x, "targets": 1.0, operand: value}
        result = followed(portable_bce.bce_with_logits, operand, given)
        if operand != "logits":
            assert type(result) is type(portable_bce.bce_with_logits(x, 1.0)), kind


ROWS = ("builtins, list of lists", "scipy.sparse, asarray")


def library_of(backend: Backend) -> str:
    name: str = backend.xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    return "" if name == "numpy" else name  # of NumPy's own there are other kinds


@pytest.mark.parametrize("case", CASES)
def test_hints_are_expressions(case: str) -> None:
    _, _, message = CASES[case]
    for one in expressions(message):
        keyword, equals, expression = one.partition("=")
        ast.parse(expression if equals and keyword.isidentifier() else one, mode="eval")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_least_eps_that_an_error_prints_is_accepted(dtype: str) -> None:
    """Rounded to three digits it was below itself."""
    q = np.full(2, 0.5, dtype=dtype)
    with pytest.raises(ValueError, match=r"^`eps` must lie in \[") as caught:
        portable_bce.bce(q, 1, eps=1e-300)
    least = float(re.findall(r"\[(\S+),", str(caught.value))[0])
    portable_bce.bce(q, 1, eps=least)
