"""A batch is a pure function of seed and step."""

import pytest
import torch

from mrcnn.data.loader import Batches, batch_indices
from mrcnn.data.shapes import Shapes
from mrcnn.data.transforms import Dihedral

SPEC = Shapes(size=64, train=30, val=8)


@pytest.mark.parametrize(("count", "size"), [(10, 3), (7, 7), (5, 12)])
def test_every_epoch_sees_every_image_once(count, size):
    steps = 60
    row = [i for s in range(steps) for i in batch_indices(count, size, s, seed=0)]
    assert len(row) == steps * size
    for start in range(0, len(row) - count + 1, count):
        assert sorted(row[start : start + count]) == list(range(count))


def test_epochs_and_seeds_are_shuffled_anew():
    orders = [tuple(batch_indices(20, 20, s, seed)) for s in range(2) for seed in range(2)]
    assert len(set(orders)) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_starting_anywhere_gives_the_same_batch(cache, workers):
    dataset = SPEC.open("train", cache)
    forward = Batches(dataset, 4, 3, (Dihedral(),), workers=workers)
    expected = [forward[step] for step in range(4)]
    late = Batches(dataset, 4, 3, (Dihedral(),))
    for step in (2, 3, 0):
        for one, other in zip(late[step], expected[step], strict=True):
            assert one.image_id == other.image_id
            assert torch.equal(one.image, other.image)
            assert torch.equal(one.targets.boxes, other.targets.boxes)
