"""The parity table has a line for every preset of a peer, and says what its numbers rest on."""

from pathlib import Path

from mrcnn.parity import STAGES, Comparison
from mrcnn.peers import PEERS
from mrcnn.verified import GOLDEN, PEER_CODE, Verified, verified

REDUCED = Path(__file__).resolve().parents[1] / "golden"


def test_every_peer_has_a_line_and_every_stage_a_number(monkeypatch):
    monkeypatch.setattr(
        "mrcnn.verified.compare",
        lambda model, golden, stages: dict.fromkeys(stages, Comparison(0.5, 1.0, "px")),
    )
    monkeypatch.setattr(
        "mrcnn.verified.convert", lambda weights: type("Found", (), {"model": None})
    )
    lines = list(verified(REDUCED))
    assert {one.preset for one in lines} == set(PEERS)
    numbers = [one for one in lines if one.found is not None]
    assert len(numbers) == len(GOLDEN) * (
        len(STAGES) - 1
    )  # the reduced files do not begin at the image
    assert {one.by for one in numbers} == {"golden"}
    assert {one.preset for one in lines if one.by == "peer code"} == set(PEER_CODE)
    assert all(one.found is None for one in lines if one.by == "formula")


def test_a_stage_that_differs_says_so():
    good, bad = Comparison(1e-6, 1e-4, "px", "2 near-ties"), Comparison(1e-3, 1e-4, "px")
    assert "DIFFERS" not in Verified("a", "features", "golden", good).line()
    assert Verified("a", "features", "golden", bad).line().endswith("DIFFERS")
    row = Verified("a", "features", "golden", good).line(markdown=True)
    assert row == "| a | features | 1.0e-06 | 0.0001 px | golden | 2 near-ties |"
