"""What a trace is taken of: images, presets, checkpoints, and one line for what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mrcnn.checkpoint import save_model
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.trace_source import traced

SMALL = ["model.rpn.post_nms_test=4", "data.val=4", "data.size=64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("source")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(made / "photo.png")
    trial = at_scale(R50_FPN, "smoke")
    trial = replace(trial, data=replace(trial.data, val=4))
    save_model(MaskRCNN(trial.model), trial, made / "model.safetensors", tuple("abcdefgh"))
    return made


def asked(folder, *files, preset=None, changes=(), shapes=None, detection=0, shown=None):
    paths = [folder / file for file in files]
    return traced(paths, preset, list(changes), shapes, detection, shown, folder, "cpu")


def test_an_image_and_a_checkpoint(folder):
    made = asked(folder, "photo.png", "model.safetensors")
    assert made.about["source"] == {
        "image": "photo.png",
        "network": "model.safetensors",
        "trained": True,
        "changes": [],
    }
    assert made.about["classes"] == list("abcdefgh")
    assert made.about["size"] == [40, 60]
    assert made.about["truth"] is None


def test_a_built_in_image_comes_with_its_objects(folder):
    made = asked(folder, preset="small_fpn", shapes=1, changes=SMALL)
    assert made.about["source"]["trained"] is False
    assert made.about["source"]["image"] == "Shapes, 64 px, validation image 1"
    assert len(made.about["truth"]) >= 1
    assert made.about["classes"] == made.about["source"]["truth_classes"]


def test_a_checkpoint_can_be_read_with_another_layer(folder):
    changes = ["model.roi_op=RoIPool()"]
    plain = asked(folder, "model.safetensors", shapes=2)
    other = asked(folder, "model.safetensors", shapes=2, changes=changes)
    assert other.about["model"]["roi_op"] == {"is": "RoIPool"}
    assert np.array_equal(plain.arrays["proposals"], other.arrays["proposals"])
    assert not np.array_equal(plain.arrays["box_bins"], other.arrays["box_bins"])


WRONG = {
    "with these options an image and a checkpoint, got": (["photo.png"], {}),
    "with these options no file, got": (["photo.png"], dict(preset="small_fpn", shapes=1)),
    "no such image file": (["none.png"], dict(preset="small_fpn")),
    "not readable as an image": (["model.safetensors"], dict(preset="small_fpn")),
    "not readable as safetensors": (["photo.png", "photo.png"], {}),
    "did you mean 'small_fpn'": ([], dict(preset="small_fpm", shapes=1)),
    "--shapes must be 0 to 3, got 4": ([], dict(preset="small_fpn", shapes=4, changes=SMALL)),
    "--object must be below 0": (["photo.png", "model.safetensors"], dict(shown=0)),
    "is no field of ModelConfig": (
        ["model.safetensors"],
        dict(shapes=1, changes=["model.roi_opp=RoIPool()"]),
    ),
    "--set model.num_classes=3": (
        ["model.safetensors"],
        dict(shapes=1, changes=["model.num_classes=3"]),
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_said(folder, message):
    files, options = WRONG[message]
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        asked(folder, *files, **options)
