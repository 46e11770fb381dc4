"""A training that another trial did already: its weights, what it cost, how it went."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrcnn.checkpoint import load_model
from mrcnn.config import Trial
from mrcnn.model import MaskRCNN
from mrcnn.provenance import trial_id
from mrcnn.spec import plain


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a trial has to tell of its training, its own or another one's.

    seconds   of the steps alone
    before    of them, those of another process: that of `by`, or one that was interrupted
    cost      what else belongs to it: the memory it took, where that was another process
    history   one entry for each noted step
    by        id of the trial that did it; None: the trial itself
    """

    seconds: float
    before: float
    history: list[dict[str, Any]]
    cost: Mapping[str, float]
    by: str | None = None


def load_training(file: Path, trial: Trial, data_hash: str) -> tuple[MaskRCNN, Training]:
    """The network of `trial` with the weights in `file`, a model.safetensors in its run's folder.

    Raises ValueError naming the field if that training is not the one that `trial` needs, or the
    file if it, or the result.json beside it, cannot be read.
    """
    found, theirs, _ = load_model(file)
    have, need = (plain(one, identity=True, training=True) for one in (theirs, trial))
    if differs := first_difference(have, need):
        raise ValueError(f"{file}: {differs}")
    model = MaskRCNN(trial.model)
    model.load_state_dict(found.state_dict())
    path = file.with_name("result.json")
    try:
        result = json.loads(path.read_text())
        cost = {"peak_memory_mb": float(result["cost"]["peak_memory_mb"])}
        seconds, history = float(result["cost"]["train_s"]), list(result["history"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the result of a training ({error})") from None
    by = trial_id(theirs, data_hash)
    return model, Training(seconds=seconds, before=seconds, history=history, cost=cost, by=by)


def first_difference(theirs: Any, wanted: Any, at: str = "") -> str | None:
    """The path and both values of the first difference of two trials in plain values; None if
    there is none.
    """
    if isinstance(theirs, dict) and isinstance(wanted, dict) and theirs["is"] == wanted["is"]:
        found = (first_difference(theirs[k], wanted[k], f"{at}.{k}".strip(".")) for k in theirs)
        return next(filter(None, found), None)
    return None if theirs == wanted else f"trained with {at} = {theirs}, the trial has {wanted}"
