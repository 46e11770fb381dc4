"""Which images a training step sees: a pure function of the seed and the step."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader

from mrcnn.data.dataset import Dataset, Example
from mrcnn.data.transforms import AnyTransform, apply
from mrcnn.seeds import generator


def batch_indices(count: int, batch_size: int, step: int, seed: int) -> list[int]:
    """The images of a step: consecutive places in an endless row of shuffled epochs."""
    places = range(step * batch_size, (step + 1) * batch_size)
    orders: dict[int, list[int]] = {}
    for epoch in {place // count for place in places}:
        draw = generator(seed, "epoch", epoch)
        orders[epoch] = torch.randperm(count, generator=draw).tolist()
    return [orders[place // count][place % count] for place in places]


class Batches:
    """batches[step]: the augmented examples of a training step.

    workers   processes that prepare the steps to come; 0 prepares each when asked for

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
    ) -> None:
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.augment, self.workers = augment, workers
        self._step = -1
        self._examples: list[Example] = []
        self._ahead: Iterator[list[Example]] | None = None

    def __getitem__(self, step: int) -> list[Example]:
        if step != self._step:
            self._examples = self._next(step) if self.workers else self.prepare(step)
            self._step = step
        return self._examples

    def prepare(self, step: int) -> list[Example]:
        """The examples of a step, made now."""
        examples = []
        for index in batch_indices(len(self.dataset), self.batch_size, step, self.seed):
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
        self.first = first
        self.plain = Batches(batches.dataset, batches.batch_size, batches.seed, batches.augment)

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> list[Example]:
        return self.plain.prepare(self.first + index)
