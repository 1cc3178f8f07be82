"""Write the kernels in C: ``python generate.py kernels_generated.h``, as the build does.

This is a stand-in: its only kernel shows what the build and its tests expect of a header.
"""

from __future__ import annotations

import sys
from pathlib import Path

HEADER = """\
/* Written by generate.py. */
#ifndef KERNELS_GENERATED_H
#define KERNELS_GENERATED_H

static void k_double(double *restrict result, const double *restrict x, long count)
{
    for (long i = 0; i < count; i++)
        result[i] = x[i] + x[i];
}

#endif
"""


def main() -> None:
    """Write the header to the file that the command line names."""
    Path(sys.argv[1]).write_text(HEADER)


if __name__ == "__main__":
    main()
