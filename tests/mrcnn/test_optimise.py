"""The loop: a resumed run takes the identical next step, and a broken loss stops it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mrcnn.optimise import SGD, AdamW, CosineSchedule, StepSchedule, TrainConfig, optimise
from mrcnn.seeds import generator, seeded

CONFIG = TrainConfig(
    steps=12, optimiser=AdamW(), schedule=CosineSchedule(), warmup_steps=4, clip=1.0
)


def a_model():
    return seeded(0, "model", lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)))


def losses_of(model):
    def losses(step, part):
        x = torch.randn(4, 5, generator=generator("data", step, part))
        return {"square": model(x).square().mean(), "absolute": model(x).abs().mean()}

    return losses


def run(model, config, path, *, stop_at=None, identity="a", losses=None):
    seen = []
    optimise(
        model,
        losses or losses_of(model),
        config,
        state=path,
        identity=identity,
        report=lambda step, terms: seen.append((step, terms)),
        stop=lambda: len(seen) == stop_at,
    )
    return seen


@pytest.mark.parametrize("optimiser", [AdamW(), SGD()])
@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_interrupted_and_resumed_is_bitwise_the_uninterrupted(tmp_path, optimiser, stop_at):
    config = replace(CONFIG, optimiser=optimiser)
    whole = a_model()
    expected = run(whole, config, tmp_path / "a.pt")
    first = a_model()
    with pytest.raises(KeyboardInterrupt):
        run(first, config, tmp_path / "b.pt", stop_at=stop_at)
    second = seeded(99, "other weights", lambda: a_model())
    rest = run(second, config, tmp_path / "b.pt")
    assert [step for step, _ in rest] == list(range(stop_at, 12))
    assert rest == expected[stop_at:]
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_state_without_the_optimiser_would_be_seen(tmp_path):
    """The test above can fail: forget the optimiser's moments and the next steps differ."""
    whole, resumed = a_model(), a_model()
    expected = run(whole, CONFIG, tmp_path / "a.pt")
    with pytest.raises(KeyboardInterrupt):
        run(resumed, CONFIG, tmp_path / "b.pt", stop_at=5)
    state = torch.load(tmp_path / "b.pt", weights_only=True)
    state["optimiser"]["state"] = {}
    torch.save(state, tmp_path / "b.pt")
    assert run(a_model(), CONFIG, tmp_path / "b.pt") != expected[5:]


def test_the_state_of_another_run_is_not_taken(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(a_model(), CONFIG, tmp_path / "s.pt", stop_at=5)
    assert len(run(a_model(), CONFIG, tmp_path / "s.pt", identity="b")) == 12


def test_a_broken_state_is_named(tmp_path):
    (tmp_path / "s.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"s\.pt is no saved training state"):
        run(a_model(), CONFIG, tmp_path / "s.pt")


def test_parts_of_a_batch_add_up(tmp_path):
    """Two halves of a batch, accumulated, take the step of the whole batch."""
    data = torch.randn(8, 5, generator=generator(1))

    def train(parts):
        model = a_model()

        def losses(step, part):
            return {"square": model(data[part::parts]).square().mean()}

        config = replace(CONFIG, accumulate=parts, optimiser=SGD())
        run(model, config, tmp_path / f"{parts}.pt", losses=losses)
        return torch.cat([p.flatten() for p in model.parameters()])

    torch.testing.assert_close(train(1), train(2), rtol=0, atol=1e-6)


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    model = a_model()

    def losses(step, part):
        bad = float("nan") if step == 3 else 1.0
        return {
            "fine": model(torch.ones(1, 5)).sum(),
            "broken": model(torch.ones(1, 5)).sum() * bad,
        }

    with pytest.raises(FloatingPointError, match="step 3: the broken loss is nan"):
        run(model, CONFIG, tmp_path / "s.pt", losses=losses)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_precision_learns(tmp_path, precision):
    seen = run(a_model(), replace(CONFIG, precision=precision, steps=40), tmp_path / "s.pt")
    early = sum(sum(t.values()) for _, t in seen[:5])
    assert sum(sum(t.values()) for _, t in seen[-5:]) < 0.8 * early


def test_rates_by_hand():
    """The paper: 0.02, divided by 10 at three quarters; warm-up from a third over 500 steps."""
    config = TrainConfig(steps=160_000, schedule=StepSchedule())
    assert config.rate(0) == pytest.approx(0.02 * (1 / 3 + 2 / 3 / 500))
    assert config.rate(499) == pytest.approx(0.02)
    assert config.rate(119_999) == pytest.approx(0.02)
    assert config.rate(120_000) == pytest.approx(0.002)
    cosine = replace(config, schedule=CosineSchedule(), warmup_steps=0)
    assert cosine.rate(80_000) == pytest.approx(0.01)


def test_rates_of_both_stages_by_hand():
    """The RPN for 100 steps, the detector for 400: each warms up, and falls at 3/4 of its own."""
    config = TrainConfig(steps=500, rpn_steps=100, warmup_steps=10, schedule=StepSchedule())
    assert [config.stage(step) for step in (0, 99, 100, 499)] == ["rpn"] * 2 + ["detector"] * 2
    assert config.rate(0) == pytest.approx(0.02 * (1 / 3 + 2 / 3 / 10)) == config.rate(100)
    assert config.rate(74) == pytest.approx(0.02) == config.rate(399)
    assert config.rate(75) == pytest.approx(0.002) == config.rate(400)
    assert replace(config, rpn_steps=0).stage(0) == "joint"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rpn_steps": 12}, "rpn_steps must be 0 to less than steps, got 12"),
        ({"aspect_groups": (2.0, 1.0)}, "aspect_groups must be positive and rise"),
        ({"aspect_groups": (0.0,)}, "aspect_groups must be positive and rise"),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        replace(CONFIG, **changes)
