"""What test_ranks.py has torchrun start twice: trainings by two processes and by one of them.

Rank 0 leaves the losses of each in a JSON file, the folder of which is the only argument.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from mrcnn.averages import average, counted
from mrcnn.evaluate import evaluate
from mrcnn.mask_head import SigmoidMaskLoss
from mrcnn.model import MaskRCNN
from mrcnn.optimise import SGD
from mrcnn.presets import R50_FPN, at_scale
from mrcnn.progress import Progress, silent
from mrcnn.ranks import ALONE, joined
from mrcnn.spec import vary
from mrcnn.train import Runtime, run_trial, train
from tests.mrcnn.test_norms import half_of_the_batch

FROZEN = vary(at_scale(R50_FPN, "smoke"), "model.backbone.trunk.norm", "frozen")
TRIAL = replace(FROZEN, train=replace(FROZEN.train, optimiser=SGD(rate=0.002)))
"""At five times the rate one process and two drift apart within twenty steps, for three seeds of
four; for one suddenly, as if rounding made two proposals change places. Not traced further."""
SHORT = vary(TRIAL, "train.steps", 4)
STAGED = vary(SHORT, "model.rpn_features", "separate")
CASES = {
    "global": vary(TRIAL, "train.steps", 20),
    "per_rank": vary(SHORT, "train.normaliser", "per_rank"),
    "parts": vary(SHORT, "train.accumulate", 2),
    "staged": vary(STAGED, "train.rpn_steps", 2),
    "short": SHORT,
}
STOP_AT = 2
DATA = Path(sys.argv[1]) / "data"


class Notes(Progress):
    """A progress that keeps the losses of each step as they are, not rounded."""

    def __init__(self, path):
        super().__init__(path)
        self.losses = []

    def phase(self, name, of):
        def note(step, losses):
            self.losses.append(dict(losses))

        note.seconds, note.at = 0.0, 0
        return note


def losses_of(name, ranks, out, *, stop_at=None):
    """The losses of each step of a case; the last rank stops it before step `stop_at`."""
    trial, folder = CASES[name], out / f"{name} by {ranks.of}"
    dataset = trial.data.open("train", DATA)
    model = MaskRCNN(trial.model, trial.seed).to(memory_format=torch.channels_last)
    notes = Notes(folder / f"{ranks.rank}.jsonl")
    last = ranks.rank == ranks.of - 1
    try:
        train(
            model,
            trial,
            dataset,
            folder,
            "identity",
            notes,
            lambda: last and len(notes.losses) == stop_at,
            ranks=ranks,
        )
    except KeyboardInterrupt:
        assert len(notes.losses) == stop_at
    return notes.losses


def resumed(ranks, out):
    """A run of two processes that was stopped, and the rest of it by two and by one."""
    begun = losses_of("short", ranks, out / "stopped", stop_at=STOP_AT)
    state = out / "stopped/short by 2/resume.pt"
    if ranks.leads:
        (out / "stopped/short by 1").mkdir()
        (out / "stopped/short by 1/resume.pt").write_bytes(state.read_bytes())
    by_two = losses_of("short", ranks, out / "stopped")
    by_one = losses_of("short", ALONE, out / "stopped") if ranks.leads else []
    return {"by two": begun + by_two, "by one": begun + by_one}


def evaluated(ranks):
    """What two processes detect together, and what one does."""
    trial = vary(TRIAL, "evaluate.batch_size", 2)
    dataset = trial.data.open("val", DATA)
    model = MaskRCNN(trial.model, trial.seed)
    by_two = evaluate(model, dataset, trial, silent, limit=5, ranks=ranks)
    by_one = evaluate(model, dataset, trial, silent, limit=5) if ranks.leads else by_two
    kept = "metrics", "predictions", "gallery"
    return [{name: getattr(by, name) for name in kept} for by in (by_two, by_one)]


def finished(ranks, out):
    """What a whole trial of two processes returns on this rank, and the files it leaves."""
    trial = vary(SHORT, "train.steps", 2)
    trial = replace(trial, pretraining=None, data=replace(trial.data, train=8, val=5))
    result = run_trial(trial, out / "trial", out, Runtime(threads=1), ranks=ranks)
    ranks.any(False)
    return result, sorted(path.name for path in (out / "trial").iterdir())


def without_positives(ranks):
    """The mean over the ranks of the mask loss where rank 0 alone has a positive RoI."""
    count = 1 if ranks.leads else 0
    logits = torch.ones(count, 3, 4, 4, requires_grad=True)
    labels = torch.ones(count, dtype=torch.long)
    with counted(ranks, "global"):
        loss = SigmoidMaskLoss()(logits, labels, torch.ones(count, 4, 4))
    return ranks.mean({"mask": float(loss.detach())})["mask"]


def unlike(ranks):
    """What is said where one rank divides more losses than the other, instead of waiting."""
    try:
        with counted(ranks, "global"):
            for _ in range(1 + ranks.rank):
                average(torch.ones(()), 1)
    except RuntimeError as error:
        return str(error)
    return ""


def main(out):
    """Every case, by two processes and by one of them."""
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        ranks.first(lambda: TRIAL.data.open("train", DATA))
        found = {"two": {name: losses_of(name, ranks, out) for name in CASES}}
        found["resumed"] = resumed(ranks, out)
        found["without positives"] = without_positives(ranks)
        found["unlike"] = unlike(ranks)
        found["norms"] = ranks.gathered(half_of_the_batch(ranks.rank))
        found["evaluated"] = evaluated(ranks)
        found["finished"] = ranks.gathered(finished(ranks, out))
        if ranks.leads:
            alone = ("global", "parts", "staged")
            found["one"] = {name: losses_of(name, ALONE, out) for name in alone}
            (out / "losses.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
