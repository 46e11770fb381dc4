"""How far each preset is from what its implementation computes, and what says so."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mrcnn.golden import made_weights, read_golden
from mrcnn.parity import STAGES, Comparison, compare
from mrcnn.peers import PEERS
from mrcnn.weights.converting import convert

GOLDEN = {
    "detectron2_R_50_FPN": "detectron2_fpn",
    "detectron2_R_50_C4": "detectron2_c4",
    "mmdetection_R_50_FPN": "mmdetection_fpn",
    "mmdetection_R_50_C4": "mmdetection_c4",
}
"""Each golden file and the preset whose numbers it holds."""

PEER_CODE = {
    "torchvision": "losses too",
    "torchvision_coco_v1": "as torchvision, with another eps",
    "torchvision_v2": "losses too",
    "torchvision_keypoints": "losses too",
}
"""Presets that tests/mrcnn/test_torchvision_parity.py puts beside torchvision's own modules."""


@dataclass(frozen=True)
class Verified:
    """One line of the table.

    by      "golden": numbers that the peer's code left; "peer code": run side by side in the
            tests; "formula": cases computed by hand from the cited source
    """

    preset: str
    stage: str
    by: str
    found: Comparison | None = None
    remark: str = ""

    def line(self, *, markdown: bool = False) -> str:
        """In words, or as a row of a Markdown table."""
        cells = [self.preset, self.stage, "", "", self.by, self.remark]
        if found := self.found:
            agrees = "" if found.agrees else "DIFFERS"
            remark = "; ".join(filter(None, [agrees, found.remark]))
            cells[2:] = f"{found.error:.1e}", f"{found.tolerance:g} {found.unit}", self.by, remark
        if markdown:
            return f"| {' | '.join(cells)} |"
        widths = 22, 20, 9, 20, 10, 0
        return " ".join(f"{cell:<{w}}" for cell, w in zip(cells, widths, strict=True)).rstrip()


HEADER = ("preset", "stage", "largest error", "tolerance", "verified by", "remark")


def verified(folder: Path) -> Iterator[Verified]:
    """A line for each stage of each golden file in `folder`, then one for every other preset.

    Raises ValueError for a folder without one of them, or with a broken one.
    """
    for name, preset in GOLDEN.items():
        golden = read_golden(folder, name)
        stages = [] if golden.steps == (1, 1, 1) else [s for s in STAGES if s != "end to end"]
        for stage, found in compare(convert(made_weights(golden)).model, golden, stages).items():
            yield Verified(preset, stage, "golden", found)
    for preset in PEERS:
        if preset in PEER_CODE:
            yield Verified(preset, "all, end to end", "peer code", remark=PEER_CODE[preset])
        elif preset not in GOLDEN.values():
            yield Verified(preset, "each choice apart", "formula", remark="nothing end to end")
