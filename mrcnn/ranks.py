"""Processes that train one network together, as torchrun starts them; each is a rank.

What all of them must agree on goes over the CPU (gloo), so that no GPU waits for it; gradients go
the way of DistributedDataParallel (nccl between GPUs). Every rank has to ask the same questions in
the same order.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Result = TypeVar("Result")
Losses = Callable[[int, int], Mapping[str, Tensor]]

PATIENCE = timedelta(days=2)
"""How long a rank waits for another one that lives; the end of one is noticed at once."""
FAILED, DONE, STOPPED = 0.0, 1.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The processes of a run, seen from one of them.

    rank    of this process; rank 0 leads: it alone writes and shows
    of      how many there are
    group   the process group of their agreements; None where there is one process

    Its methods raise ConnectionError when another process of the run has ended.
    """

    rank: int = 0
    of: int = 1
    group: Any = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, count: int, block: int = 1) -> tuple[int, ...]:
        """Which of `count` things in a row are this rank's: blocks of them, dealt out in turn."""
        return tuple(i for i in range(count) if i // block % self.of == self.rank)

    def table(self, numbers: list[float]) -> list[list[float]]:
        """The numbers that each rank came with, by rank; every rank brings as many."""
        if self.of == 1:
            return [numbers]
        mine = torch.tensor(numbers, dtype=torch.float64)
        every = [torch.empty_like(mine) for _ in range(self.of)]
        with _together():
            distributed.all_gather(every, mine, group=self.group)
        return [row.tolist() for row in every]

    def any(self, flag: bool) -> bool:
        """Whether the flag is up on any rank. Returns once all have asked."""
        return any(row[0] for row in self.table([float(flag)]))

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean over the ranks of each value; a single NaN shows in it."""
        columns = zip(*self.table(list(values.values())), strict=True)
        return {name: sum(c) / self.of for name, c in zip(values, columns, strict=True)}

    def gathered(self, thing: Result) -> list[Result]:
        """On rank 0 what every rank came with, by rank; on the others their own alone."""
        if self.of == 1:
            return [thing]
        every: list[Any] | None = [None] * self.of if self.leads else None
        with _together():
            distributed.gather_object(thing, every, dst=0, group=self.group)
        return every or [thing]

    def first(self, work: Callable[[], Result], stop: Callable[[], bool] = bool) -> Result:
        """Rank 0 does the work, which leaves files behind; then the others, who find them there.

        stop   asked by those that wait; raises KeyboardInterrupt when true or when rank 0 stopped
        """
        if self.of == 1:
            return work()
        if not self.leads:
            self._await_first(stop)
            return work()
        try:
            result = work()
        except BaseException as error:
            with suppress(ConnectionError):  # who waited may have gone already
                self._tell(STOPPED if isinstance(error, KeyboardInterrupt) else FAILED)
            raise
        self._tell(DONE)
        return result

    def _tell(self, outcome: float) -> None:
        with _together():
            distributed.broadcast(torch.tensor([outcome]), 0, group=self.group)

    def _await_first(self, stop: Callable[[], bool]) -> None:
        outcome = torch.zeros(1)
        with _together():
            told = distributed.broadcast(outcome, 0, group=self.group, async_op=True)
            assert told is not None  # it is for processes outside the group
            while not told.is_completed():
                if stop():
                    raise KeyboardInterrupt  # torchrun then asks rank 0 to stop as well
                time.sleep(0.02)
            told.wait()
        if outcome == STOPPED:
            raise KeyboardInterrupt
        if outcome == FAILED:
            raise ConnectionError("process 0 of this run could not go on; it says why")

    def same(self, model: nn.Module) -> None:
        """Give every rank the weights and statistics of rank 0."""
        if self.of > 1:
            with _together():
                for tensor in model.state_dict().values():
                    distributed.broadcast(tensor, 0)

    def shared(
        self, model: nn.Module, losses: Losses, *, partly: bool
    ) -> tuple[Losses, Callable[[], AbstractContextManager[None]]]:
        """The losses such that their gradients come out averaged over the ranks, and a context in
        which they do not yet: for all but the last of a batch's parts.

        partly   some step leaves some parameters without a gradient
        """
        if self.of == 1:
            return losses, nullcontext
        with _together():
            together = DistributedDataParallel(
                _Losses(model, losses), find_unused_parameters=partly
            )
        return together, together.no_sync


ALONE = Ranks()
"""A run of one process."""


class _Losses(nn.Module):
    """Losses as the forward pass that DistributedDataParallel wants."""

    def __init__(self, model: nn.Module, losses: Losses) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, step: int, part: int) -> Mapping[str, Tensor]:
        return self.losses(step, part)


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started with this one; ALONE where it was not torchrun.

    Source: torchrun's documentation for the variables it sets.
    """
    of = int(os.environ.get("WORLD_SIZE", "1"))
    if of == 1:
        yield ALONE
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    # of 1 x 1 convolutions in channels_last, whose strides can be written in two ways
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    group = distributed.new_group(backend="gloo", timeout=PATIENCE)
    yield Ranks(rank=distributed.get_rank(), of=of, group=group)
    distributed.destroy_process_group()  # not after an error: it would wait for the others


def own_device(device: str) -> str:
    """The GPU of this process where torchrun started several: "cuda" becomes "cuda:1" in the
    second. Raises ValueError if they are all to use the same.
    """
    of = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if of == 1 or not device.startswith("cuda"):
        return device
    if device != "cuda":
        raise ValueError(f"--device {device}: {of} processes need a GPU each; say --device cuda")
    return f"cuda:{os.environ['LOCAL_RANK']}"


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"another process of this run has ended ({error})") from error
