"""Our detector against torchvision's, in turn, with equal weights and answers that are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.detector.agreement import (
    Agreement,
    agreement,
    assert_same_boxes,
    assert_same_detections,
    assert_same_losses,
)
from benchmarks.detector.peer_network import FULL, Scale
from benchmarks.detector.peer_steps import as_detections, proposing, sampled_as_ours
from benchmarks.detector.steps import Seen, training_step
from benchmarks.detector.turns import Turns, in_turn
from benchmarks.detector.twins import Twins, image_of, objects_of, twins
from benchmarks.timing import interval_of_median
from mrcnn.evaluate import detect
from mrcnn.precision import Precision, autocast
from mrcnn.progress import Show, silent
from mrcnn.seeds import generator
from mrcnn.structures import Detections
from mrcnn.weights.names import renamed, roles
from mrcnn.weights.peer import arranged
from mrcnn.weights.torchvision import PEER, V1

LOSSES = {
    "objectness": "loss_objectness",
    "proposal box": "loss_rpn_box_reg",
    "class": "loss_classifier",
    "box": "loss_box_reg",
    "mask": "loss_mask",
}


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Milliseconds of each round, ours and torchvision's side by side.

    same   how far their answers lie apart, in words
    """

    name: str
    device: str
    threads: int
    precision: str
    ours_ms: tuple[float, ...]
    peer_ms: tuple[float, ...]
    same: str

    @property
    def ratio(self) -> tuple[float, float, float]:
        """How many times as fast as torchvision: the median over rounds, its 95 % interval."""
        pairs = zip(self.peer_ms, self.ours_ms, strict=True)
        return interval_of_median([theirs / ours for theirs, ours in pairs])


def inference(
    scale: Scale = FULL,
    threads: int = 1,
    rounds: int = 9,
    precision: Precision = "fp32",
    show: Show = silent,
) -> Contest:
    """One image through both, from uint8 pixels to masks in the image, answers compared before and
    after. In fp32 they have to be the same; in lower precision how far they lie apart is said.
    """
    torch.set_num_threads(threads)
    pair, image = twins(scale), image_of(scale, 5)
    ours, theirs = both_inferences(pair, image, precision)

    def compare() -> Agreement:
        check = assert_same_detections if precision == "fp32" else agreement
        return check(ours(), as_detections(theirs()))

    compare()
    times = in_turn(ours, theirs, rounds, f"inference, {precision}, {threads} threads", show)
    return _contest(f"inference, {scale.name}", threads, precision, times, str(compare()))


def both_inferences(
    pair: Twins, image: Tensor, precision: Precision
) -> tuple[Callable[[], list[Detections]], Callable[[], list[dict[str, Tensor]]]]:
    """What is timed: ours and torchvision's."""

    def ours() -> list[Detections]:
        with autocast(precision, "cpu"):
            return detect(pair.ours, [image], pair.trial)

    def theirs() -> list[dict[str, Tensor]]:
        with torch.no_grad(), autocast(precision, "cpu"):
            found: list[dict[str, Tensor]] = pair.theirs([image.float() / 255])
        return found

    return ours, theirs


@dataclass(frozen=True)
class BothSteps:
    """A training step of each network on the same scene, with the same anchors and RoIs drawn.

    The learning rate is 0, so that weights stay equal: the optimiser's work is the same.
    """

    pair: Twins
    precision: Precision
    given: Seen

    @staticmethod
    def of(pair: Twins, precision: Precision = "fp32", seed: int = 5) -> "BothSteps":
        """On one image with objects where there are proposals."""
        image = image_of(pair.scale, seed)
        given = {"given": [image], "targets": [objects_of(pair, image)], "seed": seed}
        return BothSteps(pair, precision, given)

    def ours(self, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Losses of our step."""
        with autocast(self.precision, "cpu"):
            return training_step(self.pair.ours, self.pair.trial.train, optimiser, self.given)

    def theirs(
        self, optimiser: torch.optim.Optimizer, proposals: list[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Losses of torchvision's, on proposals of its own if none are given."""
        model: Any = self.pair.theirs
        optimiser.zero_grad(set_to_none=True)
        draws = [
            generator(self.given["seed"], "sampling", i) for i in range(len(self.given["targets"]))
        ]
        with (
            autocast(self.precision, "cpu"),
            sampled_as_ours(model, self.pair.scale, draws),
            proposing(model, proposals),
        ):
            images = [image.float() / 255 for image in self.given["given"]]
            targets = [
                {"boxes": t.boxes, "labels": t.labels, "masks": t.masks.to(torch.uint8)}
                for t in self.given["targets"]
            ]
            losses: dict[str, Tensor] = model(images, targets)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return {name: losses[theirs].detach() for name, theirs in LOSSES.items()}

    def compared(
        self, ours: dict[str, Tensor], optimiser: torch.optim.Optimizer, proposals: list[Tensor]
    ) -> str:
        """How far our losses, and our gradients that are there now, lie from torchvision's, in
        words. It is given our proposals, as one near-tie of NMS would draw other RoIs; its own have
        to be the same but for one in a hundred.

        Raises AssertionError if it is more than rounding.
        """
        own: list[Tensor] = []
        hook = self.pair.theirs.roi_heads.register_forward_pre_hook(  # type: ignore[union-attr, operator]
            lambda _, inputs: own.extend(inputs[1])
        )
        try:
            theirs = self.theirs(optimiser, proposals)
        finally:
            hook.remove()
        alone = assert_same_boxes(proposals, own)
        mine, other = ({n: float(v.detach()) for n, v in one.items()} for one in (ours, theirs))
        said = assert_same_losses(mine, other, gradients(self.pair))
        return f"{said}; {alone} of {sum(map(len, own))} proposals alone"


def training(
    scale: Scale = FULL,
    threads: int = 1,
    rounds: int = 9,
    precision: Precision = "fp32",
    show: Show = silent,
) -> Contest:
    """A step on one image through both, from uint8 pixels to new weights; losses and gradients
    compared before and after, in fp32.
    """
    torch.set_num_threads(threads)
    both = BothSteps.of(twins(scale), precision)
    networks = both.pair.ours, both.pair.theirs
    for network in networks:
        network.train()
    optimisers = [still_sgd(network) for network in networks]

    def ours() -> dict[str, Tensor]:
        return both.ours(optimisers[0])

    def theirs() -> dict[str, Tensor]:
        return both.theirs(optimisers[1])

    def compare() -> str:
        if precision != "fp32":
            return _losses_in_words((ours(), theirs()))
        images = both.pair.ours.images(both.given["given"])
        return both.compared(ours(), optimisers[1], both.pair.ours.settled_proposals(images))

    try:
        compare()
        times = in_turn(ours, theirs, rounds, f"training, {precision}, {threads} threads", show)
        name = f"training step, {scale.name}"
        return _contest(name, threads, precision, times, compare())
    finally:
        for network in networks:
            network.eval()


def still_sgd(network: torch.nn.Module) -> torch.optim.Optimizer:
    """torchvision's own optimiser with a rate of 0: all of the work, and the weights stay."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=0.0, momentum=0.9, weight_decay=1e-4)


def gradients(pair: Twins) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By role, our network's gradients and torchvision's, its rows in our order."""
    ours = dict(pair.ours.named_parameters())
    mine = {role: ours[place] for role, place in roles(pair.ours).items() if place in ours}
    named = {str(renamed(n, V1)): p for n, p in pair.theirs.named_parameters()}
    theirs, _ = arranged(
        {n: p.grad for n, p in named.items() if p.grad is not None}, PEER.layout, 1
    )
    return {n: p.grad for n, p in mine.items() if p.grad is not None}, theirs


def _losses_in_words(losses: tuple[dict[str, Tensor], dict[str, Tensor]]) -> str:
    mine, other = (sum(map(float, one.values())) for one in losses)
    return f"losses {mine:.4g}, torchvision's {other:.4g}: they draw other RoIs, not compared"


def _contest(name: str, threads: int, precision: Precision, times: Turns, same: str) -> Contest:
    return Contest(
        name=name,
        device="cpu",
        threads=threads,
        precision=precision,
        ours_ms=times.first,
        peer_ms=times.second,
        same=same,
    )


CONTESTS = {"inference": inference, "training": training}
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
