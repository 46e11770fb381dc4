"""Tables of names: how a peer calls a parameter, and what it does in a network of ours.

A row is two patterns, e.g. ("backbone.fpn_lateral{i+2}.*", "lateral{i}.conv.*"): `{i}` is a number,
`{i+2}` the same plus two, `*` any rest. The same table renames in both directions; where several
rows fit, the first does.

What a parameter does has a name of its own, the same whatever layers a head has or has not
(`roles` gives them for a network):

    stem.conv, stem.norm         stage{s}.{torchvision's name in that stage}, s = 1..4 (res2..res5)
    lateral{i}.conv, .norm       output{i}.conv, .norm, i = 0 the finest level
    rpn.conv{n}, rpn.norm{n}     rpn.objectness, rpn.deltas
    box.conv{n}, box.norm{n}     box.fc{n}, box.classes, box.deltas
    mask.conv{n}, mask.norm{n}   mask.fc{n}, mask.deconv, mask.logits
    keypoint.conv{n}             keypoint.deconv
"""

import re
from functools import cache

from torch import nn

from mrcnn.model import MaskRCNN

Table = tuple[tuple[str, str], ...]
HOLE = re.compile(r"\{(\w)([+-]\d+)?\}|\*")


def renamed(name: str, table: Table) -> str | None:
    """The name on the right for a name on the left; None if no row fits."""
    return next((new for left, right in table if (new := _through(name, left, right))), None)


def renamed_back(name: str, table: Table) -> str | None:
    """The name on the left for a name on the right; None if no row fits."""
    return next((new for left, right in table if (new := _through(name, right, left))), None)


def _through(name: str, pattern: str, template: str) -> str | None:
    expression, holes = _compiled(pattern)
    match = expression.fullmatch(name)
    if match is None:
        return None
    found = {}
    for (letter, plus), value in zip(holes, match.groups(), strict=True):
        found[letter] = value if letter == "*" else int(value) - plus

    def fill(hole: re.Match[str]) -> str:
        value = found[hole[1] or "*"]
        return str(value) if hole[1] is None else str(int(value) + int(hole[2] or 0))

    return HOLE.sub(fill, template)


@cache
def _compiled(pattern: str) -> tuple[re.Pattern[str], tuple[tuple[str, int], ...]]:
    """The pattern as an expression, and of each of its holes the letter and what is added."""
    parts, holes, end = [], [], 0
    for hole in HOLE.finditer(pattern):
        parts += [re.escape(pattern[end : hole.start()]), r"(\d+)" if hole[1] else "(.+)"]
        holes.append((hole[1] or "*", int(hole[2] or 0)))
        end = hole.end()
    return re.compile("".join(parts) + re.escape(pattern[end:])), tuple(holes)


def roles(model: MaskRCNN) -> dict[str, str]:
    """What each parameter and buffer of a network does -> its name in `model.state_dict()`."""
    found: dict[str, str] = {}
    trunk = list(model.backbone.trunk.stages)
    found |= _layers(trunk[0], "backbone.trunk.stages.0", "stem", bare=True)
    stages = {f"backbone.trunk.stages.{s}": stage for s, stage in enumerate(trunk) if s}
    if model.roi_trunk is not None:
        stages["roi_trunk"] = model.roi_trunk
    for s, (place, stage) in enumerate(stages.items(), start=1):
        found |= {f"stage{s}.{name}": f"{place}.{name}" for name in stage.state_dict()}
    for kind in ("lateral", "output"):
        for i, module in enumerate(getattr(model.backbone, f"{kind}s", ())):
            found |= _layers(module, f"backbone.{kind}s.{i}", f"{kind}{i}", bare=True)
    heads = {"box": "box_head", "mask": "mask_head", "keypoint": "keypoint_head"}
    for role, place in {"rpn": "rpn", **heads}.items():
        if (head := getattr(model, place)) is not None:
            found |= _layers(head, place, role)
    return found


NAMED = ("objectness", "deltas", "classes")
"""Layers of heads that the modules themselves call what they do."""


def _layers(module: nn.Module, place: str, role: str, *, bare: bool = False) -> dict[str, str]:
    """The layers of a head in their order: conv1, norm1, conv2, ..., deconv, logits.

    bare   there is one convolution and at most one norm: no numbers
    """
    found: dict[str, str] = {}
    counts = {"conv": 0, "fc": 0}
    last = ""
    deconvolved = False
    for name, layer in module.named_modules():
        if not layer.state_dict() or any(True for _ in layer.children()):
            continue
        if name in NAMED:
            what = name
        elif isinstance(layer, nn.ConvTranspose2d):
            what, deconvolved = "deconv", True
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            kind = "conv" if isinstance(layer, nn.Conv2d) else "fc"
            counts[kind] += 1
            last = "" if bare else str(counts[kind])
            what = "logits" if deconvolved else kind + last
        else:
            what = f"norm{last}"
        start = f"{place}.{name}" if name else place
        found |= {f"{role}.{what}.{kind}": f"{start}.{kind}" for kind in layer.state_dict()}
    return found
