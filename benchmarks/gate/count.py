"""The gate's other lane: instructions in place of time, counted once on each side."""

from benchmarks.gate.counted import Count, instructions
from benchmarks.gate.run import Found, Plan, Say
from benchmarks.gate.verdict import exact


def by_instructions(plan: Plan, found: Found, tell: Say) -> None:
    """Count the instructions of every open benchmark on both sides, and judge the counts. What is
    kept as samples are counts, in millions.
    """
    names = found.open
    tell(
        f"counting the instructions of {len(names)} benchmarks; what this says of time is indirect"
    )
    one, other = (instructions(names, side) for side in plan.sides)
    for name in names:
        counts = [(side.name, c[name]) for side, c in zip(plan.sides, (one, other), strict=True)]
        calls = [c.calls for _, c in counts if isinstance(c, Count)]
        if len(calls) < 2:
            why = "; ".join(f"{side}: {c}" for side, c in counts if not isinstance(c, Count))
            found.errors[name] = why
            tell(f"{name}: not measured: {why}")
            continue
        found.verdicts[name] = exact(calls[0], calls[1], found.about[name]["effect"])
        found.samples[name] = [
            {"round": 1, "block": 0, "side": side.name, "ms": [n / 1e6 for n in made]}
            for side, made in zip(plan.sides, calls, strict=True)
        ]
