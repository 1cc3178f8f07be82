"""The lowest PyTorch that the extra admits is the lowest that works; an older one is told so."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("torch")

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
# What PyTorch 2.4 does not have.
OLDER = """
import torch
del torch._C.DispatchKeySet.raw_repr
torch.__version__ = "2.4.1"
import portable_bce
try:
    portable_bce.bce_with_logits(torch.zeros(1), 1.0)
except ImportError as error:
    print(error)
"""


def test_an_older_pytorch_is_refused_with_what_brings_a_newer_one() -> None:
    """https://github.com/huggingface/transformers/issues/43509: a bare AttributeError."""
    done = subprocess.run(
        [sys.executable, "-c", OLDER], capture_output=True, text=True, check=True, timeout=60
    )
    said = done.stdout.strip()
    assert said == (
        "portable_bce needs PyTorch 2.5 or newer; got 2.4.1. Use `pip install --upgrade "
        '"portable-bce[torch]"`'
    )
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    (lowest,) = re.findall(r"PyTorch (\S+) or newer", said)
    assert extras["torch"] == [f"torch>={lowest}"]
