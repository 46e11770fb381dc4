"""Ours against torchvision's own detectors, stage by stage and end to end, with equal weights.

Weights follow a stated rule instead of being stored: a generator seeded by the parameter's name,
scaled by its fan-in. The case is checked to be worth comparing (detections, classes, positives),
and each planted fault must make the comparison fail.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import pytest
import torch
from torch import nn
from torchvision.models import detection

import kernels
from benchmarks.detector.peer_network import made_weights
from mrcnn import boxes as box_functions
from mrcnn.boxes import sides
from mrcnn.config import Trial
from mrcnn.data.dataset import Example
from mrcnn.data.transforms import Resize, apply
from mrcnn.evaluate import detect, no_targets
from mrcnn.matching import sample
from mrcnn.model import MaskRCNN
from mrcnn.roi_ops import RoIAlign
from mrcnn.rpn import propose, rpn_losses
from mrcnn.seeds import generator
from mrcnn.spec import vary
from mrcnn.structures import Targets
from mrcnn.trunk import set_stride
from mrcnn.weights.converting import convert

CLASSES = 8
SHORT, LONG = 224, 320
SIZES = ((240, 310), (200, 270))


@dataclass
class Both:
    theirs: torch.nn.Module
    ours: MaskRCNN
    trial: Trial
    images: list
    targets: list
    known: dict = field(default_factory=dict)

    def once(self, what, compute):
        """What torchvision's network computes, which no fault in ours changes."""
        if what not in self.known:
            self.known[what] = compute()
        return self.known[what]


@pytest.fixture
def both():
    return pair("maskrcnn_resnet50_fpn")


@cache
def pair(builder):
    """torchvision's network and ours, with images and targets."""
    limit = 60 if "keypoint" in builder else 100  # eight convolutions on each take a while
    theirs = getattr(detection, builder)(
        weights=None,
        weights_backbone=None,
        num_classes=CLASSES + 1,
        min_size=SHORT,
        max_size=LONG,
        box_detections_per_img=limit,
    )
    theirs.load_state_dict(made_weights(theirs.state_dict()))
    g = generator(5)
    images = [smooth_noise(h, w, g) for h, w in SIZES]
    targets = [some_targets(h, w, g) for h, w in SIZES]
    level_the_classes(theirs.eval(), images)
    found = convert(theirs.state_dict())
    ours = MaskRCNN(vary(found.trial.model, "detection.limit", limit))
    ours.load_state_dict(found.model.state_dict())
    return Both(theirs, ours.eval(), found.trial, images, targets)


@torch.no_grad()
def level_the_classes(model, images):
    """Biases under which no class is likelier than another: random weights favour one or two."""
    given, _ = model.transform([image / 255 for image in images])
    maps = model.backbone(given.tensors)
    proposals, _ = model.rpn(given, maps)
    heads = model.roi_heads
    pooled = heads.box_roi_pool(maps, proposals, given.image_sizes)
    scores, _ = heads.box_predictor(heads.box_head(pooled))
    heads.box_predictor.cls_score.bias -= scores.mean(0)


def smooth_noise(height, width, g):
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=g) * 255
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].clamp(0, 255)


def some_targets(height, width, g):
    corner = torch.rand(6, 2, generator=g) * torch.tensor([width - 90, height - 90])
    found = torch.cat([corner, corner + 20 + torch.rand(6, 2, generator=g) * 60], 1)
    masks = torch.zeros(6, height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, found.int().tolist(), strict=True):
        mask[y1 : (y1 + y2) // 2 + 3, x1:x2] = True
    labels = torch.randint(1, CLASSES + 1, (6,), generator=g)
    low, high = found[:, None, :2], found[:, None, 2:]
    place = low + torch.rand(6, 17, 2, generator=g) * (high - low)
    seen = torch.randint(0, 3, (6, 17, 1), generator=g).float()
    return Targets(found, labels, masks, torch.cat([place, seen], 2))


def trial_of(both):
    return replace(
        both.trial,
        model=both.ours.config,
        evaluate=replace(both.trial.evaluate, transforms=(RESIZE,)),
    )


RESIZE = Resize(short=(SHORT,), long=LONG)


def network_images(both):
    """The batch as each network reads it; the transforms themselves are compared here."""
    theirs, _ = both.theirs.transform([i / 255 for i in both.images])
    g = torch.Generator()
    views = [apply((RESIZE,), Example(i, no_targets(i), 0, ""), g).image for i in both.images]
    return theirs, both.ours.images(views)


def close(ours, theirs, atol, rtol=0.0):
    torch.testing.assert_close(ours, theirs, atol=atol, rtol=rtol)


def one_to_one(ours, theirs, tolerance):
    """Pairs (i, j) of nearest boxes within `tolerance` px; the rest is missing."""
    gap = (ours[:, None] - theirs[None]).abs().amax(2)
    best = gap.argmin(1)
    pairs = [(i, int(j)) for i, j in enumerate(best) if gap[i, j] <= tolerance]
    assert len({j for _, j in pairs}) == len(pairs)
    return pairs


def compare_features(both):
    theirs, ours = network_images(both)
    close(ours.pixels, theirs.tensors, 1e-5)
    with torch.no_grad():
        found = both.ours.backbone(ours.pixels).maps
    expected = list(their_stages(both)["maps"].values())
    assert len(found) == len(expected) == 5
    for mine, other in zip(found, expected, strict=True):
        close(mine, other, 1e-4 * float(other.abs().max()))


def their_stages(both):
    """What torchvision's network has at each stage, from one run from images to detections."""

    def compute():
        kept, model = {}, both.theirs
        hooks = [
            model.backbone.register_forward_hook(lambda *call: kept.update(maps=call[2])),
            model.rpn.register_forward_hook(lambda *call: kept.update(proposals=call[2][0])),
            model.roi_heads.register_forward_hook(  # whose dicts the last step changes
                lambda *call: kept.update(detections=[dict(one) for one in call[2][0]])
            ),
        ]
        with torch.no_grad():
            kept["end to end"] = model([image / 255 for image in both.images])
        for hook in hooks:
            hook.remove()
        return kept

    return both.once("stages", compute)


@torch.no_grad()
def compare_proposals(both):
    _, ours = network_images(both)
    expected = their_stages(both)["proposals"]
    pyramid = both.ours.backbone(ours.pixels)
    found = propose(
        both.ours.config.rpn,
        *both.ours.rpn(pyramid),
        both.ours.config.rpn.anchors(pyramid),
        ours.sizes,
        training=False,
    )
    for mine, other in zip(found, expected, strict=True):
        assert min(len(mine), len(other)) > 100
        pairs = one_to_one(mine, other, 1e-2)
        alone = [mine[i] for i in range(len(mine)) if i not in {i for i, _ in pairs}]
        alone += [other[j] for j in range(len(other)) if j not in {j for _, j in pairs}]
        assert len(alone) <= 0.01 * len(other), f"{len(alone)} proposals have no partner"
        for box in alone:  # only NMS on the edge of its threshold explains one
            edge = (kernels.box_iou(box[None], torch.cat([mine, other])) - 0.7).abs().min()
            assert float(edge) < 1e-4, f"no near-tie explains {box.tolist()}"
    return pyramid, expected, ours


@torch.no_grad()
def compare_detections(both):
    """From torchvision's proposals: the boxes, scores and masks of both."""
    pyramid, proposals, ours = compare_proposals(both)
    expected = their_stages(both)["detections"]
    found = both.ours.detect_masks(pyramid, both.ours.detect(pyramid, proposals, ours.sizes))
    found = both.ours.detect_keypoints(pyramid, found)
    for mine, other in zip(found, expected, strict=True):
        compare_found(mine, other["boxes"], other["scores"], other["labels"])
        order = aligned(mine, other["boxes"], other["labels"])
        if "masks" in other:
            close(mine.mask_probabilities[order], other["masks"][:, 0], 1e-4)
        if "keypoints" in other:
            compare_keypoints(mine.keypoints[order], other)


def compare_keypoints(mine, other):
    """x and y but where two pixels of a map are as good as each other, and the score of each."""
    close(mine[..., 2], other["keypoints_scores"], 1e-3)
    moved = (mine[..., :2] - other["keypoints"][..., :2]).abs().amax(2) > 1e-2
    assert int(moved.sum()) <= 0.002 * moved.numel(), f"{int(moved.sum())} keypoints are elsewhere"


def compare_found(mine, boxes, scores, labels):
    assert len(boxes) >= 50
    assert len(labels.unique()) >= 5
    assert len(mine) == len(boxes), "another number of detections"
    order = aligned(mine, boxes, labels)
    close(mine.boxes[order], boxes, 1e-3)
    close(mine.scores[order], scores, 5e-5)  # rounding of fifty layers, which depends on the CPU


def aligned(mine, boxes, labels):
    """For each of their detections, which of ours it is: the nearest of the same class."""
    gap = (mine.boxes[None] - boxes[:, None]).abs().amax(2)
    gap = gap + 1e6 * (mine.labels[None] != labels[:, None])
    order = gap.argmin(1)
    assert len(order.unique()) == len(order), "two of their detections are one of ours"
    assert float(gap[torch.arange(len(order)), order].max()) <= 1e-3, "a detection has no partner"
    return order


@torch.no_grad()
def compare_end_to_end(both):
    expected = their_stages(both)["end to end"]
    found = detect(both.ours, both.images, trial_of(both))
    for mine, other, image in zip(found, expected, both.images, strict=True):
        compare_found(mine, other["boxes"], other["scores"], other["labels"])
        order = aligned(mine, other["boxes"], other["labels"])
        if "keypoints" in other:
            compare_keypoints(mine.keypoints[order], other)
        if "masks" not in other:
            continue
        soft = kernels.paste_masks(
            mine.mask_probabilities[order],
            mine.boxes[order],
            size=tuple(image.shape[1:]),
            method=both.ours.config.paste.method,
            threshold=None,
        )
        differing = (soft - other["masks"][:, 0]).abs().amax((1, 2)) > 1e-4
        # a corner within 1e-3 px of a whole pixel may be cut to another pixel
        assert int(differing.sum()) <= 1, f"{int(differing.sum())} pasted masks differ"


@torch.no_grad()
def compare_losses(both, batch_statistics=False):
    expected, proposals = both.once(
        ("losses", batch_statistics), lambda: their_losses(both, generator(3), batch_statistics)
    )
    views = network_targets(both)
    targets = [view.targets for view in views]
    draw = generator(3)
    images = both.ours.images([view.image for view in views])
    pyramid = both.ours.backbone(images.pixels)
    outputs, anchors = both.ours.rpn(pyramid), both.ours.config.rpn.anchors(pyramid)
    found = rpn_losses(both.ours.config.rpn, *outputs, anchors, targets, [draw] * len(targets))
    sampled = both.ours.sample_rois(proposals, targets, [draw] * len(targets))
    found |= both.ours.roi_losses(pyramid, *sampled, targets)
    names = {
        "objectness": "loss_objectness",
        "proposal box": "loss_rpn_box_reg",
        "class": "loss_classifier",
        "box": "loss_box_reg",
        "mask": "loss_mask",
        "keypoint": "loss_keypoint",
    }
    assert {names[mine] for mine in found} == set(expected)
    for mine, loss in found.items():
        # what is divided by a deviation of the batch is rounded ten times as coarsely
        close(loss, expected[names[mine]], 0, rtol=1e-4 if batch_statistics else 1e-5)


def network_targets(both):
    g = torch.Generator()
    pairs = zip(both.images, both.targets, strict=True)
    return [RESIZE(Example(image, target, 0, ""), g) for image, target in pairs]


def their_losses(both, g, batch_statistics=False):
    """torchvision's losses and proposals, our sampler in place of its own: both see the same."""

    def sampler(count, fraction):
        def choose(matched):
            positives, negatives = [], []
            for one in matched:
                p, n = sample(one.sign().long(), count, fraction, g)
                for index, masks in ((p, positives), (n, negatives)):
                    mask = torch.zeros(len(one), dtype=torch.uint8)
                    mask[index] = 1
                    masks.append(mask)
            counted.append(sum(int(m.sum()) for m in positives))
            return positives, negatives

        return choose

    counted: list[int] = []
    proposals: list[torch.Tensor] = []
    model = both.theirs
    hook = model.roi_heads.register_forward_pre_hook(lambda _, inputs: proposals.extend(inputs[1]))
    before = model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler
    model.rpn.fg_bg_sampler = sampler(256, 0.5)
    model.roi_heads.fg_bg_sampler = sampler(512, 0.25)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(batch_statistics)
    targets = [
        {
            "boxes": t.boxes.clone(),
            "labels": t.labels,
            "masks": t.masks.to(torch.uint8),
            "keypoints": t.keypoints.clone(),
        }
        for t in both.targets
    ]
    try:
        losses = model([i / 255 for i in both.images], targets)
    finally:
        model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler = before
        hook.remove()
        model.eval()
    assert min(counted) >= 20, f"too few positives to compare anything: {counted}"
    return losses, proposals


STAGES = {
    "features": compare_features,
    "proposals": compare_proposals,
    "detections": compare_detections,
    "end to end": compare_end_to_end,
    "losses": compare_losses,
}


BUILDERS = [
    "maskrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "keypointrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "fasterrcnn_resnet50_fpn_v2",
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("builder", BUILDERS)
def test_parity(builder, stage):
    STAGES[stage](pair(builder))


@pytest.mark.parametrize("builder", ["maskrcnn_resnet50_fpn_v2"])
def test_losses_with_the_statistics_of_the_batch(builder):
    both = pair(builder)
    states = [{k: v.clone() for k, v in m.state_dict().items()} for m in (both.theirs, both.ours)]
    both.ours.train()
    try:
        compare_losses(both, batch_statistics=True)
    finally:
        both.ours.eval()
        for model, state in zip((both.theirs, both.ours), states, strict=True):
            model.load_state_dict(state)


def with_config(both, **changes):
    model = MaskRCNN(replace(both.ours.config, **changes))
    model.load_state_dict(both.ours.state_dict())
    return replace(both, ours=model.eval())


def stride_in_the_wrong_convolution(both, monkeypatch):
    broken = with_config(both)
    for stage in broken.ours.backbone.trunk.stages[2:]:
        set_stride(stage, 1)
        stage[0].conv1.stride = stage[0].downsample[0].stride = (2, 2)
    return broken


def eps(both, monkeypatch):
    broken = with_config(both)
    for module in broken.ours.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-2
    return broken


def low_clip(both, monkeypatch):
    monkeypatch.setattr(box_functions, "LARGEST_GROWTH", 0.1)
    return both


def plus_one(both, monkeypatch):
    monkeypatch.setattr(box_functions, "sides", lambda b: tuple(s + 1 for s in sides(b)))
    return both


def blue_first(both, monkeypatch):
    mean, std = both.ours.config.pixel_mean, both.ours.config.pixel_std
    return with_config(both, pixel_mean=mean[::-1], pixel_std=std[::-1])


def other(path, value):
    def change(both, monkeypatch):
        config = vary(both.ours.config, path, value)
        return with_config(both, **{f: getattr(config, f) for f in vars(config)})

    return change


FAULTS = {
    "half a pixel": ("detections", other("roi_op", RoIAlign(aligned=True))),
    "one sample per bin": (
        "detections",
        other("roi_op", RoIAlign(aligned=False, sampling_ratio=1)),
    ),
    "delta clip": ("proposals", low_clip),
    "box width + 1": ("detections", plus_one),
    "stride in the 1x1": ("features", stride_in_the_wrong_convolution),
    "norm eps": ("features", eps),
    "colour order": ("features", blue_first),
    "anchors not rounded": ("proposals", other("rpn.anchors.rounded", False)),
    "anchor spacing": ("proposals", other("rpn.anchors.spacing", "stride")),
    "anchor centres": ("proposals", other("rpn.anchors.offset", 0.5)),
    "level rule": ("detections", other("backbone.canonical_side", 160.0)),
    "detection NMS": ("end to end", other("detection.nms_iou", 0.4)),
    "paste": ("end to end", other("paste.method", "exact")),
    "hard mask targets": ("losses", other("mask_targets.threshold", 0.5)),
    "box beta": ("losses", other("box_head.beta", 1.0)),
    "RPN beta": ("losses", other("rpn.beta", 1.0)),
    "no ground truth among proposals": ("losses", other("add_ground_truth", False)),
    "best match not kept": ("losses", other("rpn.matching.keep_best", False)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault_is_seen(both, fault, monkeypatch):
    stage, plant = FAULTS[fault]
    broken = plant(both, monkeypatch)
    with pytest.raises(AssertionError):
        STAGES[stage](broken)
