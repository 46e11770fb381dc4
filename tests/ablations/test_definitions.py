"""The tables: each row a network that learns, and published numbers as they stand in the paper."""

import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from ablations.ablation import METRICS
from ablations.grid import named, names
from ablations.paper import TABLES
from mrcnn.data.loader import Batches
from mrcnn.data.shapes import Shapes
from mrcnn.model import MaskRCNN
from mrcnn.scales import at_scale
from mrcnn.seeds import generator
from mrcnn.spec import fingerprint, plain
from mrcnn.trunk import ResNet, SmallResNet

TRAIN_TINY = Shapes(size=64, train=4, val=1)


@cache
def networks(scale):
    """Every different network of every ablation, by name of ablation and row."""
    found = {}
    for name in names():
        for row, trial in named(name).rows():
            model = at_scale(trial, scale).model
            found.setdefault(json.dumps(plain(model)), (f"{name}: {row}", model))
    return dict(found.values())


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    return Batches(TRAIN_TINY.open("train", tmp_path_factory.mktemp("data")), 2, 0, ())[0]


@pytest.mark.parametrize("case", networks("smoke"))
def test_every_row_has_finite_losses_and_gradients(case, batch):
    model = MaskRCNN(networks("smoke")[case])
    images = model.images([e.image for e in batch])
    draws = [generator(i, "sampling") for i in range(2)]
    losses = model.losses(images, [e.targets for e in batch], draws)
    torch.stack(list(losses.values())).sum().backward()
    assert losses.keys() >= {"class", "box"}
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.isfinite(g).all() for g in gradients)


def backbones(scale):
    """The different backbones among them."""
    return {config.backbone for config in networks(scale).values()}


def test_every_backbone_can_be_built_at_the_small_scale():
    for backbone in backbones("small"):
        assert isinstance(backbone.trunk, SmallResNet)
        backbone.build(backbone.trunk.build())


def test_every_trunk_stays_what_it_is_at_the_medium_scale():
    """At its true strides, C5 at 32, and with norms that can learn."""
    strides = {"C4": [16], "C5": [32], "FPN": [4, 8, 16, 32, 64]}
    for backbone in backbones("medium"):
        assert isinstance(backbone.trunk, ResNet)
        assert (backbone.trunk.norm, backbone.trunk.trainable_stages) == ("batch", 5)
        with torch.device("meta"):
            built = backbone.build(backbone.trunk.build())
        assert list(built.strides) == strides[type(backbone).__name__]


@pytest.mark.parametrize("name", [n for n in names() if n != "implementations"])
def test_what_can_be_paired_is(name):
    """Parts of equal shape start from equal weights, or `paired` says what does not."""
    ablation = named(name)
    rows = {r: MaskRCNN(at_scale(t, "smoke").model).state_dict() for r, t in ablation.rows()}
    base = rows[ablation.baseline_row]
    broken = {
        key
        for other in rows.values()
        for key in base.keys() | other.keys()
        if _parts(base) >= _parts({key: 0}) <= _parts(other)
        and (key not in base or key not in other or not _same(base[key], other[key]))
    }
    assert bool(broken) == bool(ablation.paired), sorted(broken)


def _parts(weights):
    return {key.partition(".")[0] for key in weights}


def _same(a, b):
    return a.shape == b.shape and torch.equal(a, b)


def test_published_numbers_are_of_metrics_that_a_record_can_hold():
    for name in names():
        ablation = named(name)
        assert set(ablation.metrics) <= set(METRICS), name
        longest = max((len(v) for v in ablation.published.values()), default=0)
        assert longest <= len(ablation.metrics)
        for row, numbers in ablation.published.items():
            assert all(math.isnan(x) or 0 < x < 100 for x in numbers), row


PAPER = {
    "backbones": {"ResNet-50-C4": (30.3, 51.2, 31.5), "ResNeXt-101-FPN": (36.7, 59.5, 38.9)},
    "roi_layer_c5": {"RoIPool": (23.6, 46.5, 21.6, 28.2, 52.7, 26.9)},
    "mask_loss": {"softmax, p >= 1/2": (24.8, 44.1, 25.1)},
    "mask_head": {"FCN": (33.6, 55.2, 35.3)},
    "class_agnostic": {"class-agnostic": (29.7,)},
    "mask_branch": {"Faster R-CNN, RoIAlign": (37.3, 59.6, 40.3, 19.8, 40.2, 48.8)},
    "branches": {"keypoints and masks": (52.0, 45.1, 64.7)},
    "roi_layer_keypoints": {"RoIAlign": (64.2, 86.6, 69.7, 58.7, 73.0)},
}
GAINS = {
    ("backbones", "ResNet-50-FPN", "ResNet-50-C4"): 3.3,
    ("mask_loss", "sigmoid", "softmax, p >= 1/2"): 5.5,
    ("roi_layer", "RoIAlign, mean", "RoIPool, max"): 3.4,
    ("roi_layer_c5", "RoIAlign", "RoIPool"): 7.3,
    ("mask_head", "FCN", "MLP, 2 layers"): 2.1,
    ("class_agnostic", "class-specific", "class-agnostic"): 0.6,
    ("mask_branch", "Mask R-CNN", "Faster R-CNN, RoIAlign"): 0.9,
    ("roi_layer_keypoints", "RoIAlign", "RoIPool"): 4.4,
}


@pytest.mark.parametrize("name", PAPER)
def test_published_numbers_are_the_papers(name):
    for row, numbers in PAPER[name].items():
        assert named(name).published[row] == numbers


@pytest.mark.parametrize("case", GAINS, ids=str)
def test_published_gains_are_those_of_the_papers_text(case):
    name, one, other = case
    ablation = named(name)
    assert (one, other) in ablation.contrasts
    assert ablation.published[one][0] - ablation.published[other][0] == pytest.approx(GAINS[case])


def test_the_papers_tables_are_ablations():
    assert set(TABLES) <= set(names())
    assert [named(name).table for name in TABLES[:5]] == [f"Table 2{x}" for x in "abcde"]


def test_tables_share_the_trials_of_one_network():
    """ResNet-50-C4 as the paper has it is in five tables, and trained once."""
    ids = [
        fingerprint(at_scale(named(name).baseline, "small"))
        for name in (
            "backbones",
            "mask_loss",
            "roi_layer",
            "class_agnostic",
            "res5",
            "sample_points",
        )
    ]
    assert len(set(ids)) == 1


def test_small_trunks_stand_for_50_101_and_grouped_layers():
    rows = {r: at_scale(t, "small").model.backbone.trunk for r, t in named("backbones").rows()}
    sizes = {row: (trunk.blocks, trunk.groups) for row, trunk in rows.items()}
    assert sizes == {
        "ResNet-50-C4": (2, 1),
        "ResNet-101-C4": (4, 1),
        "ResNet-50-FPN": (2, 1),
        "ResNet-101-FPN": (4, 1),
        "ResNeXt-101-FPN": (4, 4),
    }


def test_a_row_that_cannot_learn_would_be_seen(batch):
    """The test of the test: a NaN in one weight shows in losses or gradients."""
    model = MaskRCNN(at_scale(named("roi_layer").baseline, "smoke").model)
    with torch.no_grad():
        model.box_head.classes.weight[0, 0] = math.nan
    images = model.images([e.image for e in batch])
    draws = [generator(i, "sampling") for i in range(2)]
    losses = model.losses(images, [e.targets for e in batch], draws)
    assert not torch.isfinite(losses["class"])


def test_equal_rows_and_unknown_names_are_refused():
    ablation = named("roi_layer")
    twice = {**ablation.values, "again": ablation.values["RoIPool, max"]}
    with pytest.raises(ValueError, match="'RoIPool, max' and 'again' have the same model.roi_op"):
        replace(ablation, values=twice)
    with pytest.raises(ValueError, match="did you mean 'RoIPool, max'"):
        replace(ablation, changes=(("RoIPool max", "RoIWarp, max", (1.0,)),))
