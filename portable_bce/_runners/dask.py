"""Dask."""

from portable_bce._reduction import pairwise_total
from portable_bce._runners.plain import Plain


class Dask(Plain):
    def __init__(self, evaluate):
        object.__setattr__(self, "total", pairwise_total)
