"""Test-time augmentation: nothing changes with one view, symmetry stays, all views have a say."""

from dataclasses import replace

import pytest
import torch

from mrcnn.augmented import boxes_of_view, masks_in, predict_augmented, suppressed
from mrcnn.data.transforms import Resize
from mrcnn.detection import Detection
from mrcnn.evaluate import detect
from mrcnn.keypoint_head import KeypointHead
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.seeds import generator
from mrcnn.structures import Detections
from mrcnn.views import TestTimeAugmentation

ONE = TestTimeAugmentation(short=(64,), long=128, flip=False)
PLAIN = (Resize(short=(64,), long=128),)


@pytest.fixture(scope="module")
def trial():
    trial = at_scale(R50_FPN, "smoke")
    found = replace(trial.model.detection, min_score=0.0, limit=20)
    evaluate = replace(trial.evaluate, transforms=PLAIN)
    return replace(trial, model=replace(trial.model, detection=found), evaluate=evaluate)


@pytest.fixture(scope="module")
def model(trial):
    return MaskRCNN(trial.model).eval()


def an_image(height=50, width=70):
    return torch.randint(0, 256, (3, height, width), generator=generator(0)).to(torch.uint8)


def augmented(trial, augment):
    return replace(trial, evaluate=replace(trial.evaluate, augment=augment))


@pytest.mark.parametrize("gather", ["detections", "candidates"])
def test_one_plain_view_is_plain_detection(trial, model, gather):
    image = an_image()
    plain = detect(model, [image], trial)[0]
    again = detect(model, [image], augmented(trial, replace(ONE, gather=gather)))[0]
    assert len(plain) == 20
    torch.testing.assert_close(again.boxes, plain.boxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(again.scores, plain.scores, rtol=0, atol=1e-5)
    assert torch.equal(again.labels, plain.labels)
    assert int((again.masks ^ plain.masks).sum()) <= int(plain.masks.sum()) / 1000
    other = detect(model, [image], augmented(trial, replace(ONE, short=(40,))))[0]
    assert not torch.allclose(other.scores, plain.scores, atol=1e-5)


def mirrored_boxes(found, width):
    x1, y1, x2, y2 = found.boxes.unbind(1)
    return torch.stack([width - x2, y1, width - x1, y2], 1)


def test_with_flips_a_mirrored_image_has_mirrored_detections(trial, model):
    """A network alone is not symmetric; with both views of each size it is, masks included."""
    image = an_image(64, 64)
    both = replace(ONE, flip=True)
    for augment, symmetric in ((both, True), (ONE, False)):
        evaluation = augmented(trial, augment).evaluate
        left = predict_augmented(model, image, evaluation)
        right = predict_augmented(model, image.flip(2), evaluation)
        same = left.boxes.shape == right.boxes.shape and all(
            torch.allclose(one, two, atol=1e-2)
            for one, two in (
                (left.scores, right.scores),
                (left.boxes, mirrored_boxes(right, 64)),
                (left.mask_probabilities, right.mask_probabilities.flip(2)),
            )
        )
        assert same == symmetric


def test_masks_of_a_mirrored_view_are_turned_back(model):
    """The mask of a box in a mirrored view is the mirror image of that in the mirrored image."""
    image = an_image(64, 64).float()
    found = Detections(torch.tensor([[4.0, 6, 40, 50]]), torch.tensor([2]), torch.tensor([0.9]))
    turned = replace(found, boxes=mirrored_boxes(found, 64))
    view = replace(ONE, flip=True).views(image, ())[1]
    plain = ONE.views(image.flip(2), ())[0]
    with torch.no_grad():
        mirrored, other = masks_in(model, view, found), masks_in(model, plain, turned)
    torch.testing.assert_close(mirrored, other.flip(2), rtol=0, atol=1e-5)
    assert not torch.allclose(mirrored, other, atol=1e-5)


def test_masks_are_the_mean_of_all_views(trial, model):
    image = an_image(64, 64)
    sizes = (48, 64, 96)
    evaluation = augmented(trial, replace(ONE, short=sizes, flip=True)).evaluate
    found = predict_augmented(model, image, evaluation)
    views = evaluation.augment.views(image.float(), evaluation.transforms)
    assert [v.image.shape[1] for v in views] == [48, 48, 64, 64, 96, 96]
    with torch.no_grad():
        seen = torch.stack([masks_in(model, v, found) for v in views])
    torch.testing.assert_close(found.mask_probabilities, seen.mean(0), rtol=0, atol=1e-6)
    assert not torch.allclose(found.mask_probabilities, seen[2], atol=1e-3)


def test_boxes_of_all_views_compete_by_hand():
    """Equal boxes of one class from two views: the better score stays; other classes are apart."""
    box, other = [0.0, 0, 10, 10], [20.0, 20, 30, 30]
    first = Detections(torch.tensor([box, other]), torch.tensor([1, 1]), torch.tensor([0.6, 0.5]))
    second = Detections(torch.tensor([box, box]), torch.tensor([1, 2]), torch.tensor([0.9, 0.7]))
    found = suppressed(Detection(), [first, second])
    assert found.labels.tolist() == [1, 2, 1]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert found.boxes.tolist() == [box, box, other]
    assert len(suppressed(Detection(limit=2), [first, second])) == 2


def test_candidates_are_what_a_view_has_before_its_own_nms(trial, model):
    """Detectron's union gathers more than detectron2's, and both with a limit for all views."""
    image = an_image(64, 64)
    with torch.no_grad():
        few, many = (
            boxes_of_view(model, ONE.views(image.float(), ())[0], replace(ONE, gather=gather))
            for gather in ("detections", "candidates")
        )
    assert len(few) == 20 < len(many)
    for gather in ("detections", "candidates"):
        augment = replace(ONE, short=(48, 64), gather=gather)
        found = predict_augmented(model, image, augmented(trial, augment).evaluate)
        assert len(found) == 20
        assert (found.scores[:-1] >= found.scores[1:]).all()


def test_a_box_detector_and_an_image_without_detections(trial):
    evaluation = augmented(trial, replace(ONE, flip=True)).evaluate
    boxes_only = MaskRCNN(replace(trial.model, mask_head=None)).eval()
    assert predict_augmented(boxes_only, an_image(), evaluation).mask_probabilities is None
    certain = replace(trial.model.detection, min_score=1.0)
    nothing = MaskRCNN(replace(trial.model, detection=certain)).eval()
    assert detect(nothing, [an_image()], replace(trial, evaluate=evaluation))[0].masks.shape == (
        (0, 50, 70)
    )


def test_keypoints_are_refused(trial):
    model = MaskRCNN(replace(trial.model, keypoint_head=KeypointHead(width=8)))
    with pytest.raises(ValueError, match=r"evaluate.augment works for boxes and masks"):
        predict_augmented(model, an_image(), augmented(trial, ONE).evaluate)
