"""The probe: exact shifts, and errors that are zero where nothing is rounded."""

import json
import math

import pytest
import torch

from ablations.equivariance import CELLS, Waves, layer_curves, network_curves, scenes
from ablations.probe import probed
from mrcnn.data.shapes import Shapes
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4
from mrcnn.roi_ops import RoIAlign, RoIPool, RoIWarp
from mrcnn.scales import at_scale

LAYERS = {
    "pool": RoIPool(),
    "warp": RoIWarp(),
    "align": RoIAlign(),
    "legacy": RoIAlign(aligned=False),
}


def test_a_wave_by_hand_and_its_shift():
    """cos(x pi / 4) at centres 0.5, 1.5, ...; a shift by one cell moves the map by one column."""
    wave = Waves(torch.tensor([[[math.pi / 4, 0.0]]]).double(), torch.zeros(1, 1).double())
    assert wave.seen(4, 0.0)[0, 0, 2, 1] == pytest.approx(math.cos(1.5 * math.pi / 4))
    torch.testing.assert_close(wave.seen(8, 1.0)[..., 1:], wave.seen(8, 0.0)[..., :-1])


@pytest.fixture(scope="module")
def curves():
    return layer_curves(LAYERS, steps=8, rois=16)["error"]


def test_no_layer_changes_after_no_shift_or_a_whole_stride(curves):
    for values in curves.values():
        assert values[0] == 0
        assert values[-1] < 1e-5


def test_what_rounds_changes_and_what_does_not_hardly_does(curves):
    for values in (curves["pool"], curves["warp"]):
        assert max(values) > 0.3
    for values in (curves["align"], curves["legacy"]):
        assert max(values) < 0.1


def test_on_planes_roi_align_does_not_change_at_all(monkeypatch):
    """Bilinear sampling is exact there, so what is left of the error is the layer's alone."""

    def plane(self, cells, shift):
        x = torch.arange(cells, dtype=torch.float64) + 0.5 - shift
        return (x + 2 * x[:, None])[None, None].expand(1, 8, cells, cells).contiguous()

    monkeypatch.setattr(Waves, "seen", plane)
    found = layer_curves(LAYERS, steps=4, rois=8)["error"]
    assert max(found["align"]) < 1e-6
    assert max(found["warp"]) > 0.01


def test_scenes_are_the_same_picture_moved():
    (one,) = scenes(Shapes(size=64), 1, [0, 0.5, 4], 3)
    torch.testing.assert_close(one.images[2][:, 4:, 4:], one.images[0][:, :-4, :-4])
    assert not torch.equal(one.images[1], one.images[0])


def test_given_boxes_lie_around_objects_at_every_shift():
    found = scenes(Shapes(size=96), 12, [0, 8], 0)
    boxes = torch.cat([scene.boxes for scene in found])
    assert len(boxes) > 0
    assert boxes.min() >= 0
    assert (boxes + 8).max() <= 96


def test_a_whole_stride_moves_a_network_less_than_half_of_one_does():
    trial = at_scale(R50_C4, "smoke")
    found = network_curves(MaskRCNN(trial.model), trial, images=6, steps=2)
    assert found["shift"] == [0, 8, 16]
    assert found["mask IoU"][0] == found["box IoU"][0] == 1
    assert found["box strays, px"][0] == 0
    assert found["mask IoU"][2] > found["mask IoU"][1]


def test_the_probe_leaves_a_page(tmp_path, monkeypatch):
    import ablations.probe as module

    monkeypatch.setattr(module, "layer_curves", lambda: layer_curves(LAYERS, steps=4, rois=4))
    quick = lambda model, trial: network_curves(model, trial, images=3, steps=2)  # noqa: E731
    monkeypatch.setattr(module, "network_curves", quick)
    written = probed("equivariance", tmp_path, None, "small_c4")
    assert [p.suffix for p in written] == [".json", ".png", ".md", ".html"]
    assert json.loads(written[0].read_text())["layer"]["layers"] == list(LAYERS)
    assert "| align |" in written[2].read_text()
    page = written[3].read_text()
    assert "data:image/png;base64," in page
    assert "http" not in page


@pytest.mark.parametrize(
    ("what", "preset", "said"),
    [("equivarianz", "small_c4", "'equivariance'"), ("equivariance", "small_c44", "'small_c4'")],
)
def test_unknown_probes_and_presets_are_named(what, preset, said, tmp_path):
    with pytest.raises(ValueError, match=f"did you mean {said}"):
        probed(what, tmp_path, None, preset)


def test_maps_hold_every_roi():
    assert CELLS - 9 - 12 > 0
