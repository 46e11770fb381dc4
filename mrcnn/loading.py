"""Weights into a module, or one line on why they do not fit."""

from collections.abc import Mapping

from torch import Tensor, nn


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put `weights` into a module. Raises ValueError naming the first that do not fit.

    Counters of batches are left out where a norm is frozen, and counts none.
    """
    wanted = module.state_dict()
    counters = {k for k in weights if k.endswith(".num_batches_tracked")} - wanted.keys()
    weights = {k: v for k, v in weights.items() if k not in counters}
    missing, unexpected = sorted(wanted.keys() - weights), sorted(weights.keys() - wanted)
    both = sorted(wanted.keys() & weights.keys())
    shaped = [k for k in both if wanted[k].shape != weights[k].shape]
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in {
            "missing": missing,
            "unexpected": unexpected,
            "of another shape": [
                f"{k}: {tuple(weights[k].shape)}, not {tuple(wanted[k].shape)}" for k in shaped
            ],
        }.items()
        if names
    ]
    if problems:
        raise ValueError(f"{source}: parameters do not fit: {'; '.join(problems)}")
    module.load_state_dict(dict(weights))
