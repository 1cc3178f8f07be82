from typing import Any, final

@final
class Level:
    """An instruction set that the kernels are compiled for and this CPU can run."""

    @property
    def name(self) -> str: ...
    def evaluate(
        self,
        formula: int,
        outputs: int,
        is_double: bool,
        x: Any,
        targets: Any,
        weight: Any,
        pos_weight: Any,
        where: Any,
        smoothing: float,
        eps: float | None,
        divisor: Any,
        first: Any,
        second: Any,
        summed: int | None,
        is_bfloat16: int,
        threads: int,
        /,
    ) -> bool: ...

levels: tuple[Level, ...]
formulas: tuple[str, ...]
outputs: tuple[tuple[str, ...], ...]
