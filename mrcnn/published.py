"""The average precision that others published for what a preset trains, and whether a run met it.

Sources: He et al. 2017 (arXiv 1703.06870v3), Tables 2, 5 and 8, minival, which is val2017; the
model zoos of Detectron, detectron2 and mmdetection; torchvision's documentation of its weights;
Matterport's release 2.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mrcnn.config import Trial
from mrcnn.data.dataset import Dataset
from mrcnn.presets import PRESETS
from mrcnn.spec import diff

TRAIN_2017, VAL_2017, VAL_2017_ANNOTATIONS = 118_287, 5_000, 36_781
"""Images of COCO train2017 and val2017; annotations of instances_val2017.json with its crowds."""
ANNOTATED = 117_266
"""Images of train2017 with an object on them: what an epoch is, for who trains on those alone."""
FREE = ("data", "seed", "body", "evaluate.batch_size", "train.accumulate")
"""What a run may change of its preset and still be compared."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was measured on COCO val2017 after training on train2017 from an ImageNet trunk.

    metrics     by the names that `evaluate` uses; points of 0 .. 100
    tolerance   how far each may lie from it. 0.8: the widest that detectron2 allows a training run
                of its own tests; 1 for the paper, whose own successor, by the same authors, lies 1
                off (Detectron's R50-C4, RPN trained separately: 31.3, the paper: 30.3)
    images      that training saw, with repetitions: steps times batch; None where not stated
    source      who published it, and where
    """

    metrics: Mapping[str, float]
    tolerance: float = 0.8
    images: int | None
    source: str


def _paper(
    ap: float, ap50: float, ap75: float, table: str, *, batch: int = 16, **others: float
) -> Published:
    metrics = {"mask AP": ap, "mask AP50": ap50, "mask AP75": ap75}
    metrics |= {name.replace("_", " "): value for name, value in others.items()}
    source = f"He et al. 2017, Table {table}"
    return Published(metrics=metrics, tolerance=1.0, images=160_000 * batch, source=source)


def _zoo(box: float, mask: float, images: int | None, source: str) -> Published:
    return Published(metrics={"box AP": box, "mask AP": mask}, images=images, source=source)


def _keypoints(keypoint: float, images: int | None, source: str, **others: float) -> Published:
    metrics = {"keypoint AP": keypoint}
    metrics |= {name.replace("_", " "): value for name, value in others.items()}
    tolerance = 1.0 if source.startswith("He et al.") else 0.8
    return Published(metrics=metrics, tolerance=tolerance, images=images, source=source)


ONCE, THRICE = 90_000 * 16, 270_000 * 16
"""The schedules 1x and 3x, in images."""

APART = " (its RPN was trained apart)"
PUBLISHED: dict[str, Published] = {
    "paper_c4": _paper(30.3, 51.2, 31.5, "2a"),
    "paper_fpn": _paper(33.6, 55.2, 35.3, "2a"),
    "r50_c4": _paper(30.3, 51.2, 31.5, f"2a{APART}"),
    "r101_c4": _paper(32.7, 54.2, 34.3, f"2a{APART}"),
    "r50_c5": _paper(30.9, 51.8, 32.1, f"2d{APART}", box_AP=34.0, box_AP50=55.3, box_AP75=36.4),
    "r50_fpn": _paper(33.6, 55.2, 35.3, f"2a{APART}"),
    "r101_fpn": _paper(35.4, 57.3, 37.5, f"2a{APART}"),
    "x101_fpn": replace(
        _paper(36.7, 59.5, 38.9, f"2a{APART}", box_AP=39.6, box_AP50=61.5, box_AP75=43.2),
        images=160_000 * 8,
    ),
    "r50_fpn_keypoints": _keypoints(64.2, 90_000 * 16, "He et al. 2017, Table 6"),
    "detectron_c4": _zoo(35.8, 31.4, ONCE, "Detectron, model zoo, e2e R-50-C4 1x"),
    "detectron_fpn": _zoo(37.7, 33.9, ONCE, "Detectron, model zoo, e2e R-50-FPN 1x"),
    "detectron2_c4": _zoo(36.8, 32.2, ONCE, "detectron2, model zoo, R50-C4 1x"),
    "detectron2_dc5": _zoo(38.3, 34.2, ONCE, "detectron2, model zoo, R50-DC5 1x"),
    "detectron2_fpn": _zoo(38.6, 35.2, ONCE, "detectron2, model zoo, R50-FPN 1x"),
    "detectron2_fpn_3x": _zoo(41.0, 37.2, THRICE, "detectron2, model zoo, R50-FPN 3x"),
    "mmdetection_fpn": _zoo(
        38.2, 34.7, 12 * ANNOTATED, "mmdetection, Mask R-CNN, R-50-FPN pytorch 1x"
    ),
    "mmdetection_fpn_caffe": _zoo(
        38.0, 34.4, 12 * ANNOTATED, "mmdetection, Mask R-CNN, R-50-FPN caffe 1x"
    ),
    "torchvision": _zoo(
        37.9, 34.6, 26 * ANNOTATED, "torchvision, MaskRCNN_ResNet50_FPN_Weights.COCO_V1"
    ),
    "torchvision_v2": _zoo(
        47.4, 41.8, 400 * ANNOTATED, "torchvision, MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1"
    ),
    "torchvision_keypoints": _keypoints(
        65.0, None, "torchvision, KeypointRCNN_ResNet50_FPN_Weights.COCO_V1", box_AP=54.6
    ),
    "matterport": _zoo(34.7, 29.6, None, "Matterport, release 2.0, R101-FPN"),
}
"""By preset. A preset that is not here has nothing published that it could be held against."""


def verdict(
    preset: str,
    trial: Trial,
    metrics: Mapping[str, float | None],
    dataset: Dataset,
    train_images: int | None = None,
) -> str:
    """One line: whether a run reproduced what was published for its preset, or why it cannot say.

    trial          what was run
    dataset        what it was scored on
    train_images   of the training split; None is not asked about
    """
    published = PUBLISHED.get(preset)
    if published is None:
        return f"not comparable: nothing is published for preset {preset}"
    reason = _incomparable(preset, published, trial, dataset, train_images)
    if reason:
        return f"not comparable: {reason}"
    missing = [name for name in published.metrics if metrics.get(name) is None]
    if missing:
        return f"not comparable: {missing[0]} was not measured"
    gaps = {name: (metrics[name] or 0.0) - wanted for name, wanted in published.metrics.items()}
    met = all(abs(gap) <= published.tolerance for gap in gaps.values())
    shown = ", ".join(
        f"{name} {metrics[name]:.1f} (published {wanted:.1f})"
        for name, wanted in published.metrics.items()
    )
    word = "reproduced" if met else "not reproduced"
    return f"{word} within {published.tolerance} points: {shown}; {published.source}"


def _incomparable(
    preset: str, published: Published, trial: Trial, dataset: Dataset, train_images: int | None
) -> str | None:
    if not is_val2017(dataset):
        return f"scored on {dataset.name}, published on COCO val2017"
    people = dataset.classes == ("person",)
    if not people and train_images not in (None, TRAIN_2017, ANNOTATED):
        return f"trained on {train_images} images, COCO train2017 has {TRAIN_2017}"
    for path, wanted, got in diff(PRESETS[preset], trial):
        if not path.startswith(FREE):
            return f"{path} is {got}, in preset {preset} {wanted}"
    seen = (trial.train.steps - trial.train.rpn_steps) * trial.train.batch_size
    if published.images is not None and abs(seen / published.images - 1) > 0.01:
        return f"trained on {seen} images, published after {published.images}"
    if trial.body is None:
        return "the trunk began with random weights, the published one with ImageNet's"
    return None


def is_val2017(dataset: Dataset) -> bool:
    """Whether a data set is COCO's val2017, by its counts."""
    if len(dataset) != VAL_2017:
        return False
    if dataset.classes == ("person",):
        return True
    return len(dataset.classes) == 80 and len(dataset.ground_truth().anns) == VAL_2017_ANNOTATIONS
