"""What others call is measured as ours is, and loses what it is known to lose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rich")

import peers

# name -> values of float32 hard labels that it loses altogether (DESIGN.md, section 5)
LOST = {
    "torch": {"loss", "grad", "hess"},
    "optax": {"hess"},
    "scikit-learn": {"loss"},  # computed in float64, from |x| = 33.3 on
    "scikit-learn loss_gradient": set(),
    "published": {"grad", "hess"},
    "sigmoid": {"loss", "grad", "hess"},
}


@pytest.mark.parametrize("name", peers.PEERS)
def test_peers_lose_what_they_are_known_to_lose(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"torch": "torch", "optax": "optax"}.get(name, "sklearn" if "sc" in name else "numpy")
    pytest.importorskip(package)
    path = tmp_path / "peers.json"
    monkeypatch.setattr(peers, "PEERS", {name: peers.PEERS[name]})
    arguments = ["--dtype", "float32", "--targets", "hard", "--points", "99"]
    assert peers.main([*arguments, "--jobs", "1", "--json", str(path)]) == 0
    results = json.loads(path.read_text())["results"]
    ours, found = results
    assert (ours["implementation"], found["implementation"]) == ("portable_bce", name)
    assert (ours["kept"], found["kept"]) == (True, None)  # nobody else has promised anything
    lost = {cell["value"] for cell in found["cells"] if cell["ulps"] > 1e6}
    assert lost == LOST[name]
