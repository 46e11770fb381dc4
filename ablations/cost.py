"""How long trials take that nobody here has run yet: measured, at the small scale alone."""

from collections.abc import Iterable

from mrcnn.config import Trial
from mrcnn.data.shapes import Shapes
from mrcnn.trunk import SmallResNet

MS_PER_STEP = {
    ("C4", 2, 1): 250,
    ("C4", 4, 1): 415,
    ("C5", 2, 1): 355,
    ("FPN", 2, 1): 275,
    ("FPN", 4, 1): 425,
    ("FPN", 4, 4): 350,
}
"""By backbone, blocks and groups: a step of 8 images of 128 px on one thread, two trials at a time
on two CPU cores. C4 and FPN of 2 blocks are the means of 17 and 9 trials of
reports/published/roi_layer-small and mask_head-small; the others are by the processor time of their
steps over C4's, taken in turns. Heads differ by a third at most.
"""
EVALUATE_S = 16.0
"""For 400 images of 128 px; the same reports."""
START_S = 8.0
"""A process, its imports and the reading of its data."""
PRETRAIN_S = 130.0
"""For 500 steps of 16 images with one thread and two blocks; the same reports."""


def expected_s(trial: Trial, *, trained: bool = False) -> float | None:
    """Seconds that a trial takes beside another one; None for what was never measured.

    trained   its weights are there, and have only to be evaluated
    """
    trunk, data = trial.model.backbone.trunk, trial.data
    if not isinstance(trunk, SmallResNet) or not isinstance(data, Shapes):
        return None
    step = MS_PER_STEP.get((type(trial.model.backbone).__name__, trunk.blocks, trunk.groups))
    if step is None:
        return None
    area = (data.size / 128) ** 2
    training = 0.0 if trained else trial.train.steps * trial.train.batch_size / 8 * step / 1e3
    return START_S + area * (training + data.val / 400 * EVALUATE_S)


def pretraining_s(trials: Iterable[Trial], jobs: int = 1) -> float:
    """Seconds until the trunks that the trials start from are there, each made once, so many at a
    time: one trunk is hardly faster with all threads. Nothing for unmeasured ones.
    """
    seen = {
        (trial.model.backbone.trunk, trial.pretraining, trial.model.pixels, trial.data)
        for trial in trials
        if trial.pretraining is not None
    }
    each = [
        PRETRAIN_S * trunk.blocks / 2 * pretraining.train.steps * pretraining.train.batch_size / 8e3
        for trunk, pretraining, _, _ in seen
        if isinstance(trunk, SmallResNet)
    ]
    return max([*each, sum(each) / jobs])
