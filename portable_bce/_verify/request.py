"""What was asked for on the command line, turned into what is measured and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from portable_bce._backends import BACKENDS, Place, UnavailableError, installed
from portable_bce._verify.exact import FORMATS, has_reference
from portable_bce._verify.peers import PEERS
from portable_bce._verify.plan import exhaustive, sampled
from portable_bce._verify.points import PLAIN, TARGETS, Chunk
from portable_bce._verify.subjects import Spec, offered, open_places

# name on the command line -> classes of target
CLASSES = {
    "hard": PLAIN[:1],
    "soft": PLAIN[1:],
    "plain": PLAIN,
    "weighted": tuple(name for name in TARGETS if name not in PLAIN),
    "all": tuple(TARGETS),
}


@dataclass(frozen=True, slots=True)
class Request:
    """The options of verify; see ``python -m portable_bce verify --help``."""

    backends: tuple[str, ...] = ()
    device: str | None = None
    dtypes: tuple[str, ...] = ()
    compute_dtype: str | None = None
    peers: bool = False
    exhaustive: bool = False
    targets: str | None = None
    points: int = 100_000
    every: int = 1
    seed: int = 0
    jobs: int = 1
    state: Path | None = None

    def identity(self) -> dict[str, Any]:
        """Return what two runs must share to be one."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in ("jobs", "state")
        }

    def classes(self) -> tuple[str, ...]:
        """Return the classes of target."""
        return CLASSES[self.targets or ("hard" if self.exhaustive else "all")]

    def check(self) -> None:
        """Refuse what cannot be run, before anything is.

        Raises
        ------
        UnavailableError
            With what was required, what was given and what to give instead.
        """
        for name in ("points", "every", "jobs"):
            if getattr(self, name) < 1:
                raise UnavailableError(f"`--{name}` must be at least 1; got {getattr(self, name)}")
        if self.seed < 0:
            raise UnavailableError(f"`--seed` must not be negative; got {self.seed}")
        if self.exhaustive and "float64" in self.dtypes:
            raise UnavailableError(
                "`--exhaustive` takes float16, bfloat16 and float32; float64 has 2^64 logits. "
                "Leave it out and raise --points"
            )
        if self.compute_dtype is not None and set(self.dtypes) - {"float32"}:
            raise UnavailableError(
                f"`--compute-dtype {self.compute_dtype}` is measured for float32; got --dtype "
                f"{' '.join(self.dtypes)}. Leave --dtype out"
            )
        if not self.exhaustive and self.every > 1:
            raise UnavailableError("`--every` thins a sweep; add --exhaustive, or use --points")
        if self.peers and (self.compute_dtype or self.targets in ("weighted", "all")):
            raise UnavailableError(
                "`--peers` compares native loss, gradient and Hessian without weights; leave "
                "--compute-dtype out and give --targets hard, soft or plain"
            )

    def specs(self) -> list[Spec]:
        """Return what is measured: ours on every library and device, and the peers."""
        found = [spec for place in self._places() for spec in self._ours(place)]
        if self.peers:
            found += [spec for name in PEERS for spec in self._theirs(name)]
        if not found:
            raise UnavailableError(
                f"nothing to measure: no device has {' or '.join(self.dtypes) or 'a float'}"
                + (f" on {self.device}" if self.device else "")
            )
        return found

    def left_out(self) -> tuple[str, ...]:
        """Return the dtypes that nothing here is wide enough to judge."""
        return tuple(name for name in self._wanted() if not has_reference(FORMATS[name]))

    def chunks(self, spec: Spec) -> Iterator[Chunk]:
        """Return where a spec is measured."""
        classes = self.classes()
        if spec.implementation != "portable_bce":
            classes = tuple(name for name in classes if name in PLAIN)
        if self.exhaustive:
            return exhaustive(spec.form, classes, self.every, self.seed)
        return sampled(spec.form, classes, self.points, self.seed)

    def _wanted(self) -> tuple[str, ...]:
        if self.dtypes:
            return self.dtypes
        if self.compute_dtype is not None:
            return ("float32",)
        if self.peers:
            return ("float32",) if self.exhaustive else ("float32", "float64")
        return tuple(name for name in FORMATS if not (self.exhaustive and name == "float64"))

    def _places(self) -> Iterator[Place]:
        for name in self.backends or BACKENDS:
            if not self.backends and not installed(name):
                continue
            if self.peers and not self.backends and name != "numpy":
                continue
            try:
                found = open_places(name)
            except UnavailableError:
                if self.backends:
                    raise
                continue  # CuPy without a device, which nobody asked for
            labels = [place.label for place in found]
            chosen = [one for one in found if self.device in (None, one.label)]
            if self.backends and not chosen:
                raise UnavailableError(
                    f"`--device` must be a device of {name}, {' or '.join(labels)}; "
                    f"got {self.device}"
                )
            yield from chosen

    def _ours(self, place: Place) -> Iterator[Spec]:
        for dtype in self._wanted():
            if dtype not in offered(place) or not has_reference(FORMATS[dtype]):
                continue
            compute: tuple[str | None, ...] = (self.compute_dtype,)
            if dtype == "float32" and not (self.exhaustive or self.compute_dtype or self.peers):
                compute = (None, "float64")
            for one in compute:
                for compiled in (False, True) if place.backend == "jax" else (False,):
                    yield Spec("portable_bce", place.backend, dtype, place.label, one, compiled)

    def _theirs(self, name: str) -> Iterator[Spec]:
        try:
            peer = PEERS[name]()
        except ModuleNotFoundError:
            return
        for dtype in self._wanted():
            if dtype in peer.dtypes and has_reference(FORMATS[dtype]):
                yield Spec(name, peer.backend, dtype)
