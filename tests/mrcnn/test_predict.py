"""Overlays are drawn on what was found."""

import json

import numpy as np
import torch
from PIL import Image

from mrcnn.model import MaskRCNN
from mrcnn.predict import overlay, predict_files
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.structures import Detections


def found():
    masks = torch.zeros(1, 40, 60, dtype=torch.bool)
    masks[0, 10:30, 20:50] = True
    return Detections(
        torch.tensor([[20.0, 10, 50, 30]]), torch.tensor([2]), torch.tensor([0.9]), None, masks
    )


def test_an_overlay_colours_the_mask_and_nothing_else():
    image = torch.full((3, 40, 60), 100, dtype=torch.uint8)
    picture = np.asarray(overlay(image, found(), ("cat", "dog")))
    factor = picture.shape[0] // 40
    assert picture.shape == (40 * factor, 60 * factor, 3)
    inside = picture[20 * factor, 35 * factor]
    assert (abs(inside.astype(int) - 100) > 5).any()
    assert (picture[38 * factor, 5 * factor] == 100).all()


def test_nothing_found_leaves_the_image(tmp_path):
    image = torch.randint(0, 255, (3, 300, 300)).to(torch.uint8)
    none = found()[torch.zeros(0, dtype=torch.long)]
    picture = np.asarray(overlay(image, none, ("cat", "dog")))
    small = picture[:: picture.shape[0] // 300, :: picture.shape[1] // 300]
    assert (small == image.permute(1, 2, 0).numpy()).all()


def test_files_become_overlays_and_json(tmp_path):
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (50, 70 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    trial = at_scale(R50_FPN, "smoke")
    seen = []
    count = predict_files(
        MaskRCNN(trial.model),
        trial,
        tuple("abcdefgh"),
        [tmp_path],
        tmp_path / "out",
        0.0,
        lambda *step: seen.append(step[:3]),
    )
    assert count == 2
    assert seen[-1] == ("predict", 2, 2)
    kept = json.loads((tmp_path / "out/detections.json").read_text())
    assert [(i["width"], i["height"]) for i in kept["images"]] == [(70, 50), (71, 50)]
    assert {a["image_id"] for a in kept["annotations"]} <= {1, 2}
    assert all("segmentation" in a for a in kept["annotations"])


def test_an_overlay_shows_keypoints():
    from dataclasses import replace

    image = torch.full((3, 40, 60), 100, dtype=torch.uint8)
    plain = replace(found(), masks=None)
    points = replace(plain, keypoints=torch.tensor([[[35.0, 20, 1], [40, 25, 1]]]))
    pictures = [np.asarray(overlay(image, f, ("cat", "dog"))) for f in (plain, points)]
    factor = pictures[0].shape[0] // 40
    changed = (pictures[0] != pictures[1]).any(2)
    assert changed[20 * factor, 35 * factor]
    assert changed[25 * factor, 40 * factor]
    assert not changed[12 * factor, 25 * factor]
