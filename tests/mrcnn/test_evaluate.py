"""What a network finds is in the pixels of the image, scored, timed and kept to be looked at."""

from dataclasses import replace

import pytest
import torch

from mrcnn.data.annotations import encode_mask
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import SquarePad
from mrcnn.evaluate import as_results, detect, evaluate, kinds_of
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, R50_FPN_KEYPOINTS, R50_FPN_MASK_KEYPOINTS, at_scale
from mrcnn.structures import Detections
from mrcnn.views import view

SHAPES = Shapes(size=64, train=4, val=6)


def test_a_network_is_scored_in_the_pixels_of_the_image(cache):
    """Detections of a resized image come back in the pixels of the original."""
    trial = at_scale(R50_FPN, "smoke")
    model = MaskRCNN(trial.model)
    image = torch.randint(0, 256, (3, 50, 90)).to(torch.uint8)
    from dataclasses import replace

    from mrcnn.data.transforms import Resize

    twice = replace(trial.evaluate, transforms=(Resize(short=(100,), long=400),))
    found = detect(model, [image], replace(trial, evaluate=twice))[0]
    assert found.masks.shape[1:] == (50, 90)
    assert float(found.boxes[:, 2].max()) <= 90 + 1e-3
    assert float(found.boxes[:, 2].max()) > 45


def test_evaluation_leaves_the_model_as_it_was(cache):
    trial = at_scale(R50_FPN, "smoke")
    model = MaskRCNN(trial.model).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    seen = []
    outcome = evaluate(model, SHAPES.open("val", cache), trial, lambda *a: seen.append(a))
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert seen[-1][:3] == ("evaluate", 6, 6)
    assert len(outcome.gallery["images"]) == 6
    assert {p["image_id"] for p in outcome.predictions} <= set(range(1, 7))


def test_masks_survive_their_encoding():
    from pycocotools import mask as coco_mask

    mask = torch.rand(7, 9) > 0.5
    assert (coco_mask.decode(encode_mask(mask)) == mask.numpy()).all()


@pytest.mark.parametrize("half_pixel", [0.0, 0.5])
def test_what_reading_added_to_keypoints_is_taken_off(half_pixel):
    keypoints = torch.tensor([[[4.5, 5.5, 0.7], [1, 2, 0.3]]])
    box, one = torch.tensor([[1.0, 2, 9, 8]]), torch.tensor([1])
    found = Detections(box, one, torch.tensor([0.9]), keypoints=keypoints)
    result = as_results(found, 7, (3,), half_pixel)[0]
    wanted = [4.5 - half_pixel, 5.5 - half_pixel, 0.7, 1 - half_pixel, 2 - half_pixel, 0.3]
    assert result["keypoints"] == pytest.approx(wanted)
    assert result["bbox"] == [1, 2, 8, 6]


def test_keypoints_come_back_in_the_pixels_of_the_image():
    trial = at_scale(R50_FPN_KEYPOINTS, "smoke")
    model = MaskRCNN(trial.model)
    image = torch.randint(0, 256, (3, 50, 90)).to(torch.uint8)
    from dataclasses import replace

    from mrcnn.data.transforms import Resize

    twice = replace(trial.evaluate, transforms=(Resize(short=(100,), long=400),))
    found = detect(model, [image], replace(trial, evaluate=twice))[0]
    x, x1, x2 = found.keypoints[..., 0], found.boxes[:, None, 0], found.boxes[:, None, 2]
    assert len(found)
    assert ((x >= x1 - 1e-3) & (x <= x2 + 1e-3)).all()


@pytest.mark.parametrize(
    ("preset", "kinds"),
    [
        (R50_FPN, ("mask", "box")),
        (R50_FPN_KEYPOINTS, ("box", "keypoint")),
        (R50_FPN_MASK_KEYPOINTS, ("mask", "box", "keypoint")),
    ],
)
def test_what_a_network_predicts_is_what_is_scored_and_shown(cache, preset, kinds):
    trial = at_scale(preset, "smoke")
    model = MaskRCNN(trial.model)
    assert kinds_of(model) == kinds
    outcome = evaluate(model, SHAPES.open("val", cache), trial, lambda *a: None)
    assert {name.split()[0] for name in outcome.metrics} - {"missed"} == set(kinds)
    known = {*kinds, "boundary"} if "mask" in kinds else {*kinds}
    assert {name.split("_")[0] for name in outcome.matches if "_matched" in name} == known
    assert ("mask_branch_ms" in outcome.cost) == ("mask" in kinds)
    assert 0 < outcome.cost.get("mask_branch_ms", 1e-9) < outcome.cost["ms_per_image"]
    assert outcome.cost["flops_g"] > 0
    shown = outcome.gallery["images"][0]
    assert shown["roi_grid"]["object"] in range(len(shown["truth"]))
    assert all(len(one["keypoints"]) == 3 for one in shown["truth"])
    assert all(("keypoints" in one) == ("keypoint" in kinds) for one in shown["detections"])
    assert all(("keypoints" in p) == ("keypoint" in kinds) for p in outcome.predictions)


def test_padding_is_taken_off_boxes_again():
    """A padded square shows what the image alone shows, in the image's own pixels."""
    model = MaskRCNN(at_scale(R50_FPN, "smoke").model).eval()
    image = torch.randint(0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(3)).byte()
    trial = at_scale(R50_FPN, "smoke")
    square = SquarePad(size=128, shorter=64)
    padded = replace(trial, evaluate=replace(trial.evaluate, transforms=(square,)))
    found = detect(model, [image], padded)[0]
    seen = view(image.float(), (square,))
    raw = model.predict(model.images([seen.image]))[0]
    assert seen.frame != (0.0, 0.0, 96.0, 64.0)
    torch.testing.assert_close(seen.entered(found.boxes), raw.boxes, rtol=0, atol=1e-3)
    assert found.masks.shape[1:] == (64, 96)
