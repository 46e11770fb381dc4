"""Measurements that need no training: from a name to a folder with a result and its page."""

from pathlib import Path

from ablations.equivariance import layer_curves, network_curves
from mrcnn.atomic import write_json
from mrcnn.checkpoint import load_model
from mrcnn.config import Trial
from mrcnn.model import MaskRCNN
from mrcnn.presets import PRESETS
from mrcnn.provenance import made_by
from mrcnn.spec import unknown
from reports.equivariance import FILE, render

PROBES = ("equivariance",)


def probed(what: str, out: Path, checkpoint: Path | None, preset: str) -> list[Path]:
    """Run a probe and write its result and page into `out`.

    Raises ValueError for a probe or preset there is not, or a checkpoint that cannot be read.
    """
    if what not in PROBES:
        raise ValueError(unknown(what, list(PROBES), "probe"))
    model, trial, about = _network(checkpoint, preset)
    given = f" --checkpoint {checkpoint}" if checkpoint else f" --preset {preset}"
    network = network_curves(model, trial)
    out.mkdir(parents=True, exist_ok=True)
    result = {
        "layer": layer_curves(),
        "network": network,
        "about": about,
        "command": f"python -m ablations probe {what}{given} --out {out}",
        "made_by": made_by("cpu", {}),
    }
    write_json(out / FILE, result)
    return [out / FILE, *render(out)]


def _network(checkpoint: Path | None, preset: str) -> tuple[MaskRCNN, Trial, str]:
    if checkpoint is not None:
        model, trial, _ = load_model(checkpoint)
        return model, trial, f"The trained network {checkpoint.name}"
    if preset not in PRESETS:
        raise ValueError(unknown(preset, list(PRESETS), "preset"))
    trial = PRESETS[preset]
    return MaskRCNN(trial.model).eval(), trial, f"{preset}, untrained: random weights"
