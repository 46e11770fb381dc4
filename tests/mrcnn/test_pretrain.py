"""Dense pretraining: what it asks for, and what its trunk can be used for."""

from dataclasses import replace

import pytest
import torch

from mrcnn.data.shapes import Shapes
from mrcnn.loading import load_weights
from mrcnn.optimise import TrainConfig
from mrcnn.pretrain import DensePretraining, coverage, pretrained_trunk, pretraining_id
from mrcnn.progress import Progress
from mrcnn.structures import PixelFormat, Targets
from mrcnn.trunk import SmallResNet

TRUNK = SmallResNet(widths=(8, 8, 16, 16, 32), blocks=1, trainable_stages=3)


def targets(*rows):
    """Targets whose masks are whole rows of a 2 x 3 image, (row, label) each."""
    masks = torch.zeros(len(rows), 2, 3, dtype=torch.bool)
    for mask, (row, _) in zip(masks, rows, strict=True):
        mask[row] = True
    return Targets(torch.zeros(len(rows), 4), torch.tensor([label for _, label in rows]), masks)


def test_coverage_by_hand():
    """Background first; of objects that share pixels the later is seen; padding is background."""
    seen = coverage([targets((0, 2), (1, 1), (0, 1)), targets((1, 2))], (3, 4), 2)
    assert seen.shape == (2, 3, 3, 4)
    assert torch.equal(seen.sum(1), torch.ones(2, 3, 4))
    edge = [0, 0, 0, 0]
    assert seen.argmax(1).tolist() == [
        [[1, 1, 1, 0], [1, 1, 1, 0], edge],
        [edge, [2, 2, 2, 0], edge],
    ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a trunk that two steps have pretrained."""
    spec = DensePretraining(train=TrainConfig(steps=2, batch_size=2, augment=()))
    folder = tmp_path_factory.mktemp("trunk")
    pictures = Shapes(size=32, train=4, val=1).open("train", folder)
    progress = Progress(folder / "progress.jsonl")
    given = TRUNK, spec, PixelFormat(), pictures, folder, progress, lambda: False, "cpu", {}
    return pretrained_trunk(*given)


def test_all_stages_are_pretrained_whichever_are_trained_later(weights):
    """Also the stem and its statistics, which the detector then keeps as they are."""
    counters = {n: int(v) for n, v in weights.items() if n.endswith("num_batches_tracked")}
    assert set(counters.values()) == {2}
    assert {n.split(".")[1] for n in counters} == set("01234")


def test_a_trunk_with_frozen_stages_takes_the_weights(weights):
    frozen = TRUNK.build()
    load_weights(frozen, weights, "the trunk's initial weights")
    assert all(torch.equal(v, weights[n]) for n, v in frozen.state_dict().items())


def test_trials_that_freeze_other_stages_share_a_trunk():
    ids = {
        pretraining_id(trunk, DensePretraining(), PixelFormat(), "data")
        for trunk in (TRUNK, replace(TRUNK, trainable_stages=5), replace(TRUNK, blocks=2))
    }
    assert len(ids) == 2
