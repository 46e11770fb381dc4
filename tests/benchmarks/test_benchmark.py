"""Benchmarks are named by what they are, and mistakes get the nearest name."""

import pytest

from benchmarks.benchmark import named

KNOWN = ("nms/1k/float32", "nms/10k/float32", "nms_soft/1k", "roi_align/P2/float32")


def test_first_parts_and_stars_stand_for_all_that_begin_so():
    assert named(["nms/1k/float32"], KNOWN) == ["nms/1k/float32"]
    assert named(["nms"], KNOWN) == ["nms/1k/float32", "nms/10k/float32"]
    assert named(["nms/10k", "nms"], KNOWN) == ["nms/10k/float32", "nms/1k/float32"]
    assert named(["*/float32"], KNOWN) == [n for n in KNOWN if n.endswith("float32")]
    assert named([], KNOWN) == []


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("roi_aling/P2", "roi_align/P2"), ("nms/1", "nms/1k"), ("nms/1k/float23", "nms/1k/float32")],
)
def test_a_mistake_is_named_beside_what_was_meant(wrong, near):
    with pytest.raises(ValueError, match=f"'{wrong}' is no benchmark; did you mean '{near}'"):
        named([wrong], KNOWN)


def test_what_is_like_nothing_gets_no_advice():
    with pytest.raises(ValueError, match=r"'zzz' is no benchmark \(names are like nms/1k"):
        named(["zzz"], KNOWN)
