"""Views of an image: their sizes, where the original lies in them, and how masks are merged."""

import pytest
import torch
from hypothesis import given

from mrcnn.data.transforms import Resize, SquarePad
from mrcnn.views import TestTimeAugmentation, view
from tests.strategies import boxes

IMAGE = torch.arange(3 * 40 * 60, dtype=torch.float32).view(3, 40, 60) % 251


def test_one_view_for_each_size_and_its_mirror_image():
    plain = TestTimeAugmentation(short=(20, 80), long=100, flip=False)
    both = TestTimeAugmentation(short=(20, 80), long=100, flip=True)
    assert [v.image.shape[1:] for v in plain.views(IMAGE, ())] == [(20, 30), (66, 100)]
    views = both.views(IMAGE, ())
    assert [v.flip for v in views] == [False, True, False, True]
    assert torch.equal(views[1].image, views[0].image.flip(2))


def test_the_paper_looks_at_nine_sizes_and_their_mirror_images():
    augment = TestTimeAugmentation()
    assert augment.short == tuple(range(400, 1201, 100))
    assert len(augment.views(torch.zeros(3, 4, 4), (Resize(short=(4,)),))) == 18


def test_views_keep_what_the_evaluation_does_beside_resizing():
    """Only short and long of its Resize are replaced; other transforms stay."""
    augment = TestTimeAugmentation(short=(20,), long=100, flip=False)
    smooth, rough = (
        augment.views(IMAGE, (Resize(short=(800,), antialias=a),))[0].image for a in (True, False)
    )
    assert smooth.shape == rough.shape == (3, 20, 30)
    assert not torch.equal(smooth, rough)
    padded = augment.views(IMAGE, (Resize(), SquarePad(size=64, shorter=20)))[0]
    assert padded.image.shape[1:] == (64, 64)


@given(boxes())
def test_boxes_come_back_from_every_view(found):
    """Also from padded ones, and mirrored with their padding."""
    image = torch.zeros(3, 100, 100)
    for transforms in ((), (Resize(short=(37,)),), (SquarePad(size=80, shorter=33),)):
        seen = view(image, transforms)
        for one in (seen, seen.mirrored()):
            torch.testing.assert_close(one.left(one.entered(found)), found, rtol=0, atol=1e-4)


def test_boxes_of_a_mirrored_view_by_hand():
    """60 wide, seen at half the size: 10 .. 30 from the left is 30 .. 50 from the right."""
    mirrored = view(IMAGE, (Resize(short=(20,)),)).mirrored()
    entered = mirrored.entered(torch.tensor([[10.0, 4, 30, 8]]))
    assert entered.tolist() == [[15.0, 2.0, 25.0, 4.0]]


def test_a_mirrored_view_shows_a_box_what_the_plain_one_shows():
    """A pixel that is marked lies in its box in every view."""
    image = torch.zeros(3, 40, 60)
    image[:, 10:20, 6:16] = 255
    marked = torch.tensor([[6.0, 10, 16, 20]])
    for transforms in ((Resize(short=(80,)),), (SquarePad(size=100, shorter=60),)):
        seen = view(image, transforms)
        for one in (seen, seen.mirrored()):
            x1, y1, x2, y2 = one.entered(marked)[0].round().int().tolist()
            assert float(one.image[:, y1:y2, x1:x2].mean()) > 230
            assert one.image[0].sum() * 0.9 < one.image[0, y1:y2, x1:x2].sum()


def test_how_masks_are_merged_by_hand():
    """0.5 and 0.9: mean 0.7, mean of the logits 0 and 2.197 gives 0.75, maximum 0.9."""
    masks = torch.tensor([0.5, 0.9])[:, None, None, None]
    for name, value in (("mean", 0.7), ("logits", 0.75), ("maximum", 0.9)):
        merged = TestTimeAugmentation(masks=name).merged(masks)
        assert float(merged) == pytest.approx(value, abs=1e-4)


def test_logits_of_certain_masks_are_finite():
    masks = torch.tensor([1.0, 1.0, 0.0])[:, None, None, None]
    assert torch.isfinite(TestTimeAugmentation(masks="logits").merged(masks)).all()


@pytest.mark.parametrize("bad", [{"short": ()}, {"short": (0,)}, {"long": 0}])
def test_views_without_a_size_are_refused(bad):
    with pytest.raises(ValueError, match="views need sizes of at least 1"):
        TestTimeAugmentation(**bad)
