"""The steps together do exactly what the detector does; else their times would be of other work."""

from dataclasses import replace

import pytest
import torch

from benchmarks.detector.stages import ablation_inference, ablation_training
from benchmarks.detector.steps import (
    INFERENCE,
    TRAINING,
    Inference,
    Training,
    through,
    training_step,
)
from mrcnn.model import MaskRCNN
from mrcnn.optimise import optimise
from mrcnn.presets import R50_C4, R50_FPN, at_scale

TRIALS = {"small FPN": R50_FPN, "small C4": R50_C4}


@pytest.fixture(params=TRIALS)
def predicting(request):
    return ablation_inference(request.param, TRIALS[request.param])


@pytest.fixture(params=TRIALS)
def training(request):
    return ablation_training(request.param, TRIALS[request.param])


def test_steps_of_inference_are_detect_to_the_bit(predicting):
    with torch.no_grad():
        found = through(predicting.steps, predicting.given)["found"]
    wanted = predicting.whole()
    assert len(found) == predicting.images == len(wanted) == 8
    assert sum(map(len, wanted)) >= 100
    for mine, other in zip(found, wanted, strict=True):
        for name, value in vars(other).items():
            assert value is None or torch.equal(getattr(mine, name), value), name


def test_a_step_that_does_something_else_is_seen(predicting):
    model, trial = predicting.steps["transform"].__self__.model, None
    trial = predicting.steps["transform"].__self__.trial
    other = replace(
        trial, model=replace(trial.model, paste=replace(trial.model.paste, threshold=0.9))
    )
    with torch.no_grad():
        model.config = other.model
        found = through(Inference(model, other).steps, predicting.given)["found"]
        model.config = trial.model
    wanted = predicting.whole()
    assert any(not torch.equal(a.masks, b.masks) for a, b in zip(found, wanted, strict=True))


def stepwise(training):
    """Losses and gradients by the name of the parameter."""
    seen = through(training.steps, training.given, "optimiser")
    model = training.steps["backbone"].__self__.model
    names = {id(p): name for name, p in model.named_parameters()}
    parts = ("mask_head", "box_head", "rpn", "roi_trunk", "backbone")
    gradients = {names[id(p)]: g for part in parts for p, g in seen[f"of_{part}"]}
    return model, seen["rpn_losses"] | seen["box_losses"] | seen["mask_losses"], gradients


def test_steps_of_training_give_the_losses_and_the_gradients(training):
    model, losses, gradients = stepwise(training)
    wanted = training.whole()
    assert {name: float(v.detach()) for name, v in losses.items()} == {
        n: float(v) for n, v in wanted.items()
    }
    given = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    norm = torch.stack([g.norm() for g in given.values()]).norm()
    clipped = min(1.0, 5.0 / float(torch.stack([g.norm() for g in gradients.values()]).norm()))
    assert gradients.keys() == given.keys()
    for name, gradient in gradients.items():
        assert float((clipped * gradient - given[name]).norm()) <= 1e-5 * float(norm), name


def test_a_training_step_here_is_one_of_optimise(tmp_path):
    trial = at_scale(R50_FPN, "small")
    case = ablation_training("small FPN", R50_FPN)
    config = replace(trial.train, steps=1, warmup_steps=0, schedule=replace(trial.train.schedule))
    ours, theirs = (MaskRCNN(case.steps["backbone"].__self__.model.config) for _ in range(2))
    trained = [p for p in ours.parameters() if p.requires_grad]
    decayed = config.optimiser.weight_decay
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decayed},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = config.optimiser.build(groups)
    training_step(ours.train(), config, optimiser, case.given)

    def losses(step, part):
        draws = [
            torch.Generator().set_state(g.get_state())
            for g in case.steps["backbone"](
                {**case.given, "images": theirs.images(case.given["given"])}
            )["pyramid"].generators
        ]
        return theirs.losses(theirs.images(case.given["given"]), case.given["targets"], draws)

    optimise(
        theirs,
        losses,
        config,
        state=tmp_path / "state.pt",
        identity="",
        report=lambda step, losses: None,
        stop=lambda: False,
    )
    before = MaskRCNN(ours.config).state_dict()
    after = theirs.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in after)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, after[name]), name


@pytest.mark.parametrize("kind", [Inference, Training])
def test_a_step_can_be_repeated_and_changes_nothing(kind):
    case = (ablation_inference if kind is Inference else ablation_training)("small FPN", R50_FPN)
    owner = case.steps["proposals"].__self__
    steps = (replace(owner, retain=True) if kind is Training else owner).steps
    seen = dict(case.given)
    with torch.set_grad_enabled(kind is Training):
        for name in INFERENCE if kind is Inference else TRAINING[:-1]:
            first, again = (numbers_of(steps[name](seen)) for _ in range(2))
            assert first == again, name
            seen |= steps[name](seen)


def numbers_of(value):
    """All that is in a nest of tensors, as bytes, in an order."""
    if isinstance(value, torch.Tensor):
        return value.detach().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return [numbers_of(v) for v in value.values()]
    if isinstance(value, (list, tuple)):
        return [numbers_of(v) for v in value]
    if isinstance(value, torch.Generator):
        return value.get_state().numpy().tobytes()
    return [numbers_of(v) for v in vars(value).values()] if hasattr(value, "__dict__") else value
