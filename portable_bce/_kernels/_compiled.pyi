from typing import final

@final
class Level:
    """An instruction set that the kernels are compiled for and this CPU can run."""

    @property
    def name(self) -> str: ...

levels: tuple[Level, ...]
