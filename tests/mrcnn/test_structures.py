"""Batches: colour order, range, mean, spread and padding, as each peer has them."""

from dataclasses import replace

import pytest
import torch

from mrcnn.config import ModelConfig
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.structures import batch, normalised

TORCHVISION = dict(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
MMDETECTION = dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), top=255)
DETECTRON2 = dict(mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0), top=255, order="bgr")


def photographs(*sizes):
    g = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, *s), generator=g).to(torch.uint8) for s in sizes]


def gap(one, two):
    return float((one.pixels - two.pixels).abs().max())


def test_the_range_is_a_matter_of_units():
    """pixel_range 1 and 255: torchvision's and mmdetection's normalisation agree to rounding."""
    images = photographs((40, 33))
    theirs, ours = normalised(images, **MMDETECTION), normalised(images, **TORCHVISION)
    assert 0 < gap(theirs, ours) < 1e-6


def test_the_order_of_channels_is_the_networks():
    """pixel_order "bgr": plane 0 is (blue - 103.53) / 1; images still come as RGB."""
    images = photographs((32, 32))
    found = normalised(images, **DETECTRON2).pixels[0]
    red, _, blue = images[0].float()
    torch.testing.assert_close(found[0], blue - 103.53)
    torch.testing.assert_close(found[2], red - 123.675)


def test_a_swapped_order_mean_or_range_is_seen():
    """Each mistake that a loader would not notice moves pixels by far more than rounding."""
    images = photographs((32, 32))
    right = normalised(images, **MMDETECTION)
    swapped = {
        "order": MMDETECTION | dict(order="bgr"),
        "mean": MMDETECTION | dict(mean=MMDETECTION["mean"][::-1]),
        "std": MMDETECTION | dict(std=MMDETECTION["std"][::-1]),
        "range": MMDETECTION | dict(top=1),
    }
    for name, options in swapped.items():
        assert gap(normalised(images, **options), right) > 0.01, name


def test_batches_are_padded_right_and_bottom_to_a_multiple_of_32():
    made = batch([torch.ones(3, 40, 33), torch.ones(3, 20, 65)])
    assert made.pixels.shape == (2, 3, 64, 96)
    assert made.sizes == ((40, 33), (20, 65))
    assert float(made.pixels[0].sum()) == 3 * 40 * 33
    assert float(made.pixels[0, :, :40, :33].min()) == 1


@pytest.mark.parametrize(("multiple", "size"), [(32, (64, 96)), (1, (40, 65)), (64, (64, 128))])
def test_padding_to_a_multiple(multiple, size):
    """pad_to: 32 with an FPN and in mmdetection, 1 in Detectron's and detectron2's C4."""
    made = normalised(photographs((40, 33), (20, 65)), **TORCHVISION, pad_to=multiple)
    assert made.pixels.shape[-2:] == size


def test_padding_comes_after_normalising():
    """The padding is 0 for the network, not black: black would be - mean / std."""
    made = normalised(photographs((20, 20)), **MMDETECTION)
    assert float(made.pixels[0, :, 20:].abs().max()) == 0
    black = torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert float(normalised([black], **MMDETECTION).pixels.max()) < -1


def test_the_network_reads_what_its_configuration_says():
    """pixel_order, pixel_range, pixel_mean, pixel_std and pad_to reach the batch."""
    config = replace(
        at_scale(R50_FPN, "smoke").model,
        pixel_order="bgr",
        pixel_range=255,
        pixel_mean=DETECTRON2["mean"],
        pixel_std=DETECTRON2["std"],
        pad_to=16,
    )
    images = photographs((40, 33))
    found = MaskRCNN(config).images(images)
    assert torch.equal(found.pixels, normalised(images, **DETECTRON2, pad_to=16).pixels)
    plain = MaskRCNN(at_scale(R50_FPN, "smoke").model).images(images)
    assert torch.equal(plain.pixels, normalised(images, **TORCHVISION).pixels)


@pytest.mark.parametrize("bad", [dict(pad_to=0), dict(pixel_std=(1.0, 0.0, 1.0))])
def test_pixels_that_mean_nothing_are_refused(bad):
    with pytest.raises(ValueError, match="pad_to and pixel_std"):
        ModelConfig(**bad)
