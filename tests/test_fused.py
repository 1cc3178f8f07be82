"""CuPy's one kernel: traced, interpreted and compiled without a device, and run on one."""

from __future__ import annotations

import gc
import re
import weakref
from typing import Any

import numpy as np
import pytest
from array_api_compat import numpy as compat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import portable_bce
from portable_bce import _fused, _plain
from tests.fused import KERNELS, NAMES, Kernel, Traced, Unfused, abstract, fused, nvrtc, plain
from tests.test_blocks import calls

pytestmark = pytest.mark.usefixtures("forgotten")

FIRST = ("bce_with_logits", "bce")


@pytest.fixture(params=["unfused", "traced"])
def library(request: pytest.FixtureRequest) -> Unfused:
    if request.param == "unfused":
        return Unfused()
    pytest.importorskip("cupy")
    return Traced()


@pytest.fixture
def traced() -> Traced:
    pytest.importorskip("cupy")
    return Traced()


@settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(call=calls(), data=st.data())
def test_one_kernel_gives_what_plain_operations_give_to_the_last_bit(
    library: Unfused, call: tuple[str, list[Any], dict[str, Any]], data: st.DataObject
) -> None:
    """With every keyword, dtype and broadcast; CuPy's own trace of it, too."""
    name, (x, y), keywords = call
    if name == "bce":
        keywords["eps"] = data.draw(st.sampled_from([None, 0.01]))
    wanted = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    keywords |= {"x": x, "y": y, "rounded": data.draw(st.booleans())}
    got = fused(library, *wanted, **keywords)
    for one, other in zip(got, plain(library, *wanted, **keywords), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(*(np.signbit(a) | np.isnan(a) for a in (one, other)))
    if isinstance(library, Traced):
        kernels = library.kernels.copy()
        library.kernels.clear()
        work = np.result_type(x.dtype, keywords.get("compute_dtype") or np.float32)
        assert len(kernels) <= 2  # the first may count a denominator
        assert all(kernel.dtypes() <= {work.name, "bool"} for kernel in kernels)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (1,)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_shapes_without_elements_or_axes(
    library: Unfused, shape: tuple[int, ...], reduction: str
) -> None:
    keywords = {"x": np.ones(shape, np.float32), "y": 0.0, "reduction": reduction}
    got = fused(library, "loss", "grad", **keywords)
    for one, other in zip(got, plain(library, "loss", "grad", **keywords), strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("weight", [0.1, np.full(5, 1 + 0.49 * 2**-23)])
def test_factors_are_rounded_to_the_working_dtype_and_no_further(
    library: Unfused, dtype: str, weight: Any
) -> None:
    keywords = {"x": np.linspace(-1, 1, 5, dtype=dtype), "y": 0.3, "weight": weight}
    keywords |= {"pos_weight": 0.7, "reduction": "weighted_mean", "rounded": False}
    got = fused(library, *NAMES, **keywords)
    for one, other in zip(got, plain(library, *NAMES, **keywords), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_leaks_from_under_the_mask(library: Unfused, name: str, bad: float) -> None:
    mask = np.arange(12) % 3 > 0
    x, y, w = (np.full(12, 0.25, dtype=np.float32) for _ in range(3))
    keywords: dict[str, Any] = {"weight": w, "pos_weight": w, "reduction": "weighted_mean"}
    keywords |= {"eps": None} if name == "bce" else {}
    clean = fused(library, *NAMES, x=x, y=y, where=mask, **keywords)
    for array in (x, y, w):
        array[~mask] = bad
    dirty = fused(library, *NAMES, x=x, y=y, where=mask, **keywords)
    for one, other in zip(clean, dirty, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.all(one[~mask] == 0) for one in dirty[1:])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("labels", ["bool", "int8", "uint64", "float16", "float64"])
def test_operands_are_cast_inside_the_kernel(traced: Traced, dtype: str, labels: str) -> None:
    x, y = np.ones((3, 4), dtype), np.ones((3, 4), labels)
    keywords = {"weight": np.ones((3, 1), np.int64), "where": np.ones(4, bool)}
    loss, grad = fused(traced, "loss", "grad", x=x, y=y, **keywords)
    (kernel,) = traced.kernels
    given = [one.dtype.name for one in kernel.compiled.in_params]
    assert given == [dtype, labels, "int64", "bool"]
    assert [one.dtype.name for one in kernel.compiled.out_params] == [dtype, dtype]
    assert (loss.dtype, grad.dtype) == (x.dtype, x.dtype)


def test_what_is_not_returned_yet_leaves_the_kernel_unrounded(traced: Traced) -> None:
    """Losses to be summed, and derivatives for a pullback to scale."""
    x = np.ones(3, np.float16)
    for reduction, rounded, dtypes in (
        ("none", True, ["float16", "float16"]),
        ("mean", True, ["float32", "float16"]),
        ("none", False, ["float16", "float32"]),
    ):
        traced.kernels.clear()
        fused(traced, "loss", "grad", x=x, y=1, reduction=reduction, rounded=rounded)
        (kernel,) = traced.kernels
        assert [one.dtype.name for one in kernel.compiled.out_params] == dtypes


def test_numbers_are_arguments_of_the_kernel(traced: Traced) -> None:
    """Another weight, target, or length of a mean is no other kernel."""
    for number, length in ((0.1, 3), (0.7, 5)):
        x = np.ones(length, np.float32)
        keywords = {"weight": number, "pos_weight": 2 * number, "reduction": "mean"}
        fused(traced, "loss", "grad", x=x, y=number, **keywords)
    one, other = traced.kernels
    assert one.compiled.operation == other.compiled.operation
    assert [param.dtype.name for param in one.compiled.in_params] == ["float32"] * 5
    info = _fused._kernel.cache_info()
    assert (info.misses, info.hits) == (1, 1)


def test_eps_of_probabilities_is_compiled_once(library: Unfused) -> None:
    for _ in range(3):
        fused(library, "loss", x=np.ones(3), y=1, eps=1e-7)
    assert _fused._kernel.cache_info().misses == 1


def test_kernels_keep_no_array_alive() -> None:
    class Array(np.ndarray[Any, Any]):
        pass

    x = np.ones(3).view(Array)
    seen = weakref.ref(x)
    fused(Unfused(), "loss", "grad", x=x, y=x, weight=x, where=x > 0)
    del x
    gc.collect()
    assert seen() is None


def test_what_cannot_be_fused_is_evaluated_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    monkeypatch.setattr(_plain, "evaluate", lambda *_: ("plainly",))
    keywords = {"x": np.ones(3, np.float32), "y": np.ones(3, ml_dtypes.bfloat16)}
    assert fused(Unfused(), "loss", **keywords) == ("plainly",)
    assert fused(compat, "loss", x=np.ones(3), y=1) == ("plainly",)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", KERNELS)
def test_nvrtc_compiles_the_kernel_in_its_precision(traced: Traced, name: str, dtype: str) -> None:
    compiled = nvrtc()
    keywords = {"x": np.ones((3, 4), dtype), "y": np.ones((3, 4), bool), **KERNELS[name]}
    fused(traced, *NAMES, **keywords)
    *_, kernel = traced.kernels
    ptx = compiled(kernel.source())
    assert ptx.count(".entry") == 1
    # A denominator is summed in float64, and cast as it is read.
    doubles = re.findall(r"\t(?!ld|cvt)\w+(?:\.\w+)*\.f64\b.*", ptx)
    assert bool(doubles) == (dtype == "float64"), doubles


def test_public_functions_reach_the_fuser(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cupy")
    from array_api_compat import cupy

    class ReachedError(Exception):
        pass

    def fuse(function: Any) -> Any:
        def call(*arguments: Any) -> None:
            raise ReachedError(Kernel.of(function, arguments))

        return call

    monkeypatch.setattr(cupy, "fuse", fuse)
    x = abstract(np.ones((3, 4), np.float32))
    with pytest.raises(ReachedError) as reached:
        portable_bce.bce_with_logits_value_and_grad(x, 1.0, weight=x, label_smoothing=0.1)
    (kernel,) = reached.value.args
    assert kernel.dtypes() == {"float32", "bool"}
