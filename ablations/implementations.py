"""What explains the difference between two implementations? Each field of one, taken to the other.

python -m ablations run implementations      about 20 minutes on two CPU cores, with Shapes

Two others: a file of your own with ABLATION = between("torchvision", "detectron2_fpn").
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ablations.ablation import Ablation
from mrcnn.choices import CHOICES
from mrcnn.config import ModelConfig
from mrcnn.differences import at, shown
from mrcnn.presets import PRESETS
from mrcnn.spec import diff, unknown, vary

TOGETHER = "the pixels that the network reads"
"""A choice whose fields mean nothing apart: a mean is in the order of the channels."""


def between(
    one: str,
    other: str,
    published: tuple[Sequence[float], Sequence[float]] = ((), ()),
    published_on: str = "nothing that compares",
) -> Ablation:
    """The networks of two presets, and between them one row for each field in which they differ.

    published   mask AP and what follows it of either, as far as there are any

    Each row is the first preset with one field of the second; the pixel format is one row. What
    cannot be a network alone is left out, and the question says so. How they are trained is not
    varied, nor keypoints where neither has any.
    Raises ValueError for a preset there is not, or two that are alike.
    """
    for name in (one, other):
        if name not in PRESETS:
            raise ValueError(unknown(name, list(PRESETS), "preset"))
    base, goal = PRESETS[one].model, PRESETS[other].model
    if base == goal:
        raise ValueError(f"the networks of {one} and {other} do not differ")
    alone: list[str] = []
    values = {one: base, **dict(rows(base, goal, alone)), other: goal}
    numbers = {n: tuple(p) for n, p in zip((one, other), published, strict=True) if p}
    return Ablation(
        title=f"From {one} to {other}",
        question=f"Which of their differences explains what {other} has over {one}?"
        + (f" Not networks alone, and left out: {', '.join(alone)}." if alone else ""),
        source="the implementations' own code and configurations, see mrcnn/peers.py",
        baseline=PRESETS[one],
        field="model",
        values=values,
        published=numbers,
        published_on=published_on,
        contrasts=tuple((name, one) for name in values if name != one),
        paired="initial weights, in rows that draw them otherwise",
    )


def rows(
    base: ModelConfig, goal: ModelConfig, left_out: list[str]
) -> Iterator[tuple[str, ModelConfig]]:
    """(name, network) for each field of `goal` that `base` does not have already.

    left_out   gets the paths of those that need another field as well
    """
    pixels = next(c for c in CHOICES if c.name == TOGETHER).fields
    posed = base.keypoint_head is not None or goal.keypoint_head is not None
    for path, _, value in diff(base, goal):
        if f"model.{path}" in pixels or (path.startswith("keypoint_") and not posed):
            continue
        try:
            yield f"{path} = {shown(value)}", vary(base, path, value)
        except ValueError:
            left_out.append(path)
    together: Any = base
    for path in (p.removeprefix("model.") for p in pixels):
        together = vary(together, path, at(goal, path))
    if together != base:
        yield "pixel order, range, mean and padding", together


ABLATION = between(
    "detectron_fpn",
    "detectron2_fpn",
    published=((33.9,), (35.2,)),
    published_on="COCO val2017, ResNet-50-FPN, 90k steps; detectron2 also trains at several sizes",
)
