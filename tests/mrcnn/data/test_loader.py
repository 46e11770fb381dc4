"""A batch is a pure function of seed and step."""

from collections import Counter

import pytest
import torch

from mrcnn.data.dataset import Dataset
from mrcnn.data.loader import Batches, batch_indices, grouped, turn
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


def test_workers_draw_what_one_process_would_whatever_their_number_and_seed(cache):
    """Each image's generator comes from seed, step and image id, never from a worker."""
    dataset = SPEC.open("train", cache)
    seen = []
    for workers in (0, 1, 2):
        torch.manual_seed(workers)
        batches = Batches(dataset, 4, 3, (Dihedral(),), workers=workers)
        seen.append(torch.stack([e.image for step in range(4) for e in batches[step]]))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    other = Batches(dataset, 4, 4, (Dihedral(),))
    assert not torch.equal(seen[0], torch.stack([e.image for s in range(4) for e in other[s]]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_share_is_the_same_examples_as_in_the_whole_batch(cache, workers):
    dataset = SPEC.open("train", cache)
    whole, share = Batches(dataset, 6, 3, (Dihedral(),)), (1, 4)
    part = Batches(dataset, 6, 3, (Dihedral(),), workers=workers, places=share)
    for step in range(3):
        for place, example in zip(share, part[step], strict=True):
            assert example.image_id == whole[step][place].image_id
            assert torch.equal(example.image, whole[step][place].image)


class Photographs(Dataset):
    """Sizes as in COCO: most are wide, some tall, few square."""

    def __init__(self, count):
        kinds = [(480, 640)] * 6 + [(640, 480)] * 3 + [(500, 500)]
        self.sizes = [kinds[i * 7 % 10] for i in range(count)]

    def __len__(self):
        return len(self.sizes)

    def size(self, index):
        return self.sizes[index]


def test_aspect_groups_batch_wide_with_wide_and_tall_with_tall():
    """Squares go with wide images, as in torchvision and mmdetection."""
    data = Photographs(200)
    plain = Batches(data, 4, 0, ())
    batches = Batches(data, 4, 0, (), aspect_groups=(1.0,))

    def wide(indices):
        return {w >= h for h, w in (data.size(i) for i in indices)}

    assert all(len(wide(batches.indices(step))) == 1 for step in range(200))
    assert any(len(wide(plain.indices(step))) == 2 for step in range(200))


def test_without_aspect_groups_batches_are_as_they_were():
    batches = Batches(Photographs(50), 4, 3, ())
    assert all(batches.indices(s) == batch_indices(50, 4, s, seed=3) for s in range(30))


@pytest.mark.parametrize("boundaries", [(1.0,), (0.5, 0.63, 0.79, 1.0, 1.26, 1.59, 2.0)])
def test_grouped_epochs_see_every_image_about_once(boundaries):
    batches = Batches(Photographs(200), 4, 0, (), aspect_groups=boundaries)
    epochs = 3
    row = Counter(i for step in range(epochs * 50) for i in batches.indices(step))
    assert set(row) == set(range(200))
    assert max(row.values()) - min(row.values()) <= 2
    steps = [turn([60, 30, 10], step, seed=1)[0] for step in range(1000)]
    assert Counter(steps) == {0: 600, 1: 300, 2: 100}


def test_a_grouped_batch_is_a_pure_function_of_seed_and_step():
    data = Photographs(90)
    forward = Batches(data, 4, 5, (), aspect_groups=(1.0,))
    expected = [forward.indices(step) for step in range(60)]
    late = Batches(data, 4, 5, (), aspect_groups=(1.0,))
    assert [late.indices(step) for step in (37, 2, 59)] == [expected[s] for s in (37, 2, 59)]
    other = Batches(data, 4, 6, (), aspect_groups=(1.0,))
    assert [other.indices(step) for step in range(60)] != expected


@pytest.mark.parametrize("sizes", [[3, 5], [1, 1, 7], [4], [2, 3, 5, 7]])
def test_the_turns_of_each_group_are_counted_without_a_gap(sizes):
    seen = Counter()
    for step in range(500):
        group, before = turn(sizes, step, seed=2)
        assert before == seen[group]
        seen[group] += 1


def test_groups_by_hand():
    assert grouped([0.5, 1.0, 2.0, 0.9], (1.0,)) == [[0, 3], [1, 2]]
    assert grouped([2.0, 3.0], (1.0,)) == [[0, 1]]
