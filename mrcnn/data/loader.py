"""Which images a training step sees: a pure function of the seed and the step."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from copy import copy

import torch
from torch.utils.data import DataLoader

from mrcnn.data.dataset import Dataset, Example
from mrcnn.data.transforms import AnyTransform, apply
from mrcnn.seeds import generator


def batch_indices(
    count: int, batch_size: int, step: int, seed: int, *group: int | str
) -> list[int]:
    """The images of a step: consecutive places in an endless row of shuffled epochs.

    group   what else than the seed the shuffling depends on, where there are groups of images
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders: dict[int, list[int]] = {}
    for epoch in {place // count for place in places}:
        draw = generator(seed, *group, "epoch", epoch)
        orders[epoch] = torch.randperm(count, generator=draw).tolist()
    return [orders[place // count][place % count] for place in places]


def grouped(aspects: Sequence[float], boundaries: Sequence[float]) -> list[list[int]]:
    """The images by width / height, wide and tall apart; groups without any are left out."""
    groups: list[list[int]] = [[] for _ in range(len(boundaries) + 1)]
    for index, aspect in enumerate(aspects):
        groups[bisect_right(boundaries, aspect)].append(index)
    return [group for group in groups if group]


def turn(sizes: Sequence[int], step: int, seed: int) -> tuple[int, int]:
    """Which group a step is of, and how many steps before it were.

    Each group gets its share of the steps, as evenly spread as whole steps allow: of the first n
    steps the first group has the whole part of n * share + a phase drawn from the seed; what it
    leaves is dealt out among the others in the same way.
    """
    for group, size in enumerate(sizes[:-1]):
        left = sum(sizes[group:])
        phase = int(torch.randint(left, (), generator=generator(seed, "group", group)))
        before = (step * size + phase) // left
        if ((step + 1) * size + phase) // left > before:
            return group, before
        step -= before
    return len(sizes) - 1, step


class Batches:
    """batches[step]: the augmented examples of a training step.

    workers         processes that prepare the steps to come; 0 prepares each when asked for
    aspect_groups   see `TrainConfig`; every image comes once in about an epoch's steps
    places          of each batch that are wanted: one process's share; None wants all

    Each example is augmented by a generator of (seed, step, image id), so that neither the order
    of work nor a resumption changes anything.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        augment: tuple[AnyTransform, ...],
        *,
        workers: int = 0,
        aspect_groups: tuple[float, ...] = (),
        places: Sequence[int] | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.augment, self.workers = augment, workers
        self.places = range(batch_size) if places is None else places
        self.groups: list[list[int]] = []
        if aspect_groups:
            sizes = [dataset.size(i) for i in range(len(dataset))]
            self.groups = grouped([w / h for h, w in sizes], aspect_groups)
        self._step = -1
        self._examples: list[Example] = []
        self._ahead: Iterator[list[Example]] | None = None

    def __getitem__(self, step: int) -> list[Example]:
        if step != self._step:
            self._examples = self._next(step) if self.workers else self.prepare(step)
            self._step = step
        return self._examples

    def indices(self, step: int) -> list[int]:
        """The images of a step's whole batch."""
        if not self.groups:
            return batch_indices(len(self.dataset), self.batch_size, step, self.seed)
        which, step = turn([len(g) for g in self.groups], step, self.seed)
        group = self.groups[which]
        rows = batch_indices(len(group), self.batch_size, step, self.seed, "group", which)
        return [group[row] for row in rows]

    def prepare(self, step: int) -> list[Example]:
        """The examples of a step, made now."""
        examples = []
        every = self.indices(step)
        for index in (every[place] for place in self.places):
            example = self.dataset.example(index)
            draw = generator(self.seed, "augment", step, example.image_id)
            examples.append(apply(self.augment, example, draw))
        return examples

    def _next(self, step: int) -> list[Example]:
        if self._ahead is None or step != self._step + 1:
            steps = _Steps(self, step)
            self._ahead = iter(
                DataLoader(steps, batch_size=None, num_workers=self.workers)  # type: ignore[arg-type]
            )
        return next(self._ahead)


class _Steps:
    """The steps from `first` on, as the loader's worker processes see them."""

    def __init__(self, batches: Batches, first: int) -> None:
        self.first, self.plain = first, copy(batches)
        self.plain.workers, self.plain._ahead = 0, None

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> list[Example]:
        return self.plain.prepare(self.first + index)
