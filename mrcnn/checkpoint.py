"""Our own networks as files: safetensors, which hold numbers and text and nothing to execute."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from mrcnn.atomic import replaced
from mrcnn.config import Trial
from mrcnn.loading import load_weights
from mrcnn.model import MaskRCNN
from mrcnn.spec import parse, plain

FORMAT = "mrcnn-lab 1"


def save_model(model: MaskRCNN, trial: Trial, path: Path, classes: tuple[str, ...]) -> None:
    """The weights with the trial and the class names they belong to, written atomically."""
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    about = {"format": FORMAT, "trial": plain(trial), "classes": classes}
    with replaced(path) as draft:  # one entry: safetensors writes several in any order
        save_file(weights, draft, metadata={"about": json.dumps(about)})


def load_model(path: Path) -> tuple[MaskRCNN, Trial, tuple[str, ...]]:
    """The network, its trial and its classes.

    Raises ValueError in one line for a file that is missing, truncated, not of this project, or
    whose parameters are not those of its own configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not readable as safetensors ({error})") from None
    if about.get("format") != FORMAT:
        raise ValueError(f"{path}: not a model of this project (format {about.get('format')!r})")
    trial = parse(about["trial"], Trial, str(path))
    model = MaskRCNN(trial.model)
    load_weights(model, weights, str(path))
    return model.eval(), trial, tuple(about["classes"])
