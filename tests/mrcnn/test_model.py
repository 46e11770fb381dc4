"""The detector as a whole: every swap trains and predicts, and what must not matter does not."""

import itertools
from dataclasses import replace

import pytest
import torch

from kernels import using
from kernels.roi_align import ROI_ALIGN
from mrcnn.config import ModelConfig
from mrcnn.mask_head import FCNMaskHead, MLPMaskHead, SigmoidMaskLoss, SoftmaxMaskLoss
from mrcnn.model import MaskRCNN
from mrcnn.presets import PRESETS, R50_C4, R50_C5, R50_FPN, at_scale
from mrcnn.roi_ops import RoIAlign, RoIPool, RoIWarp
from mrcnn.seeds import generator
from mrcnn.structures import Targets

BASES = {"C4": R50_C4, "C5": R50_C5, "FPN": R50_FPN}
OPS = {"pool": RoIPool(), "warp": RoIWarp(), "align": RoIAlign(), "max": RoIAlign(reduce="max")}
LOSSES = {"sigmoid": SigmoidMaskLoss(), "softmax": SoftmaxMaskLoss()}


def config(base, **changes) -> ModelConfig:
    return replace(at_scale(BASES[base], "smoke").model, **changes)


def a_batch(model, sizes=((64, 64), (50, 70))):
    g = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, h, w), generator=g).to(torch.uint8) for h, w in sizes]
    targets = []
    for h, w in sizes:
        masks = torch.zeros(2, h, w, dtype=torch.bool)
        masks[0, 5:30, 8:40], masks[1, 25:45, 30:50] = True, True
        found = torch.tensor([[8.0, 5, 40, 30], [30, 25, 50, 45]])
        targets.append(Targets(found, torch.tensor([3, 8]), masks))
    return model.images(images), targets


SWAPS = [
    pytest.param(base, op, loss, head, agnostic, id=f"{base}-{op}-{loss}-{head}-{agnostic}")
    for base, op, loss, head, agnostic in itertools.product(
        BASES, OPS, LOSSES, ("fcn", "mlp"), (False, True)
    )
    if (op == "align") + (loss == "sigmoid") + (head == "fcn") + (not agnostic) >= 2
]


@pytest.mark.parametrize(("base", "op", "loss", "head", "agnostic"), SWAPS)
def test_every_swap_trains_and_predicts(base, op, loss, head, agnostic):
    heads = {
        "fcn": FCNMaskHead(width=8, convs=0 if base == "C4" else 1),
        "mlp": MLPMaskHead(widths=(8,)),
    }
    model = MaskRCNN(
        config(
            base,
            roi_op=OPS[op],
            mask_loss=LOSSES[loss],
            mask_head=heads[head],
            class_agnostic_masks=agnostic,
        )
    )
    images, targets = a_batch(model)
    losses = model.losses(images, targets, [generator(0)] * len(targets))
    assert set(losses) == {"objectness", "proposal box", "class", "box", "mask"}
    torch.stack(list(losses.values())).sum().backward()
    without = {
        n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    }
    assert without == {n for n, p in model.named_parameters() if not p.requires_grad}
    assert {n.split(".")[3] for n in without} == {"0", "1"}  # the stem and res2
    found = model.eval().predict(images)
    side = model.config.mask_size
    assert [one.mask_probabilities.shape[1:] for one in found] == [(side, side)] * 2


def test_box_detectors_have_no_masks():
    model = MaskRCNN(config("FPN", mask_head=None))
    images, targets = a_batch(model)
    assert "mask" not in model.losses(images, targets, [generator(0)] * len(targets))
    assert model.eval().predict(images)[0].mask_probabilities is None


@pytest.mark.parametrize("backend", ROI_ALIGN.native("cpu"))
@pytest.mark.parametrize("base", BASES)
def test_images_without_objects_train_and_predict(base, backend):
    model = MaskRCNN(config(base))
    images, targets = a_batch(model)
    empty = targets[0][torch.zeros(0, dtype=torch.long)]
    with using(roi_align=backend):
        for some in ([empty, targets[1]], [empty, empty]):
            losses = model.losses(images, some, [generator(0)] * len(some))
            assert all(bool(v.isfinite()) for v in losses.values())
            torch.stack(list(losses.values())).sum().backward()


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    """Padding to a common size moves nothing: detections equal those of each image alone."""
    model = MaskRCNN(config("FPN")).eval()
    g = generator(1)
    sizes = ((64, 96), (64, 64))
    images = [torch.randint(0, 256, (3, *s), generator=g).to(torch.uint8) for s in sizes]
    both = model.predict(model.images(images))
    alone = [model.predict(model.images([image]))[0] for image in images]
    assert len(both[0]) == len(alone[0]) > 0
    torch.testing.assert_close(both[0].boxes, alone[0].boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(both[0].scores, alone[0].scores, rtol=0, atol=1e-5)


def test_changing_one_part_leaves_the_initial_weights_of_the_others():
    one = MaskRCNN(config("FPN"), seed=4).state_dict()
    two = MaskRCNN(config("FPN", mask_head=MLPMaskHead(widths=(8,))), seed=4).state_dict()
    shared = [n for n in one if not n.startswith("mask_head")]
    assert shared
    assert all(torch.equal(one[n], two[n]) for n in shared)
    other = MaskRCNN(config("FPN"), seed=5).state_dict()
    assert not torch.equal(one["rpn.conv.weight"], other["rpn.conv.weight"])


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    MaskRCNN(config("C4"))
    assert torch.equal(torch.rand(1), expected)


def test_the_same_step_twice_is_bitwise_the_same():
    model = MaskRCNN(config("C4"))
    images, targets = a_batch(model)
    once, again = (model.losses(images, targets, [generator(3)] * len(targets)) for _ in range(2))
    assert all(torch.equal(once[k], again[k]) for k in once)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_bring_themselves_to_a_smoke_scale(name):
    trial = at_scale(PRESETS[name], "smoke")
    model = MaskRCNN(trial.model)
    images, targets = a_batch(model)
    model.losses(images, targets, [generator(0)] * len(targets))


def test_paper_sizes_of_r50_c4_and_fpn():
    """C4 masks are 14 x 14, FPN masks 28 x 28; res5 runs on RoIs at stride 1."""
    assert R50_C4.model.mask_size == 14
    assert R50_FPN.model.mask_size == R50_C5.model.mask_size == 28
    model = MaskRCNN(R50_C4.model)
    assert model.roi_trunk[0].conv2.stride == (1, 1)
    assert model.mask_head[0].in_channels == 2048
    assert model.backbone.strides == [16]
    assert MaskRCNN(R50_C5.model).backbone.strides == [32]
    assert MaskRCNN(R50_FPN.model).backbone.strides == [4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    "changes",
    [
        dict(roi_trunk=None),
        dict(num_classes=0),
        dict(rois_per_image=0),
        dict(positive_fraction=1.5),
    ],
)
def test_networks_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError, match="need|must"):
        config("C4", **changes)
