"""ResNet classifiers that detectors start from: torchvision's, and MSRA's as Detectron has them."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mrcnn.config import Trial
from mrcnn.weights import detectron, detectron2, torchvision
from mrcnn.weights.names import Table, renamed
from mrcnn.weights.peer import COUNTERS
from mrcnn.weights.reading import read_state_dict

NOT_OF_THE_TRUNK = {
    r"(stem\.)?fc(1000)?\.(weight|bias)|stem\.conv1\.bias": "of the classifier",
    **COUNTERS,
    **detectron.NO_WEIGHTS,
}


def read_body(source: Path) -> dict[str, Tensor]:
    """The weights of a ResNet classifier as a trunk's, its classifier left over.

    torchvision's .pth, MSRA's or Caffe2's .pkl (R-50.pkl, X-101-32x8d.pkl) with Detectron's names,
    and what detectron2 makes of torchvision's. MSRA's have the stride in the 1x1 convolution and
    read BGR of 0 .. 255, which the trial has to say. Raises ValueError for a file that is none.
    """
    found = {}
    tensors = {
        name: tensor
        for name, tensor in read_state_dict(source).items()
        if not any(re.fullmatch(left, name) for left in NOT_OF_THE_TRUNK)
    }
    table = _table(tensors)
    if table is detectron.BODY:
        tensors = detectron.prepared(tensors, Trial())
    for name, tensor in tensors.items():
        role = renamed(name, table)
        if role is None:
            raise ValueError(f"{source}: no parameter of a ResNet is called {name!r}")
        found[_place(role)] = tensor.float() if tensor.is_floating_point() else tensor
    return found


def _table(tensors: Mapping[str, Tensor]) -> Table:
    if detectron.is_body(tensors):
        return detectron.BODY
    return detectron2.body("") if "stem.conv1.weight" in tensors else torchvision.BODY


def _place(role: str) -> str:
    """Where a trunk has what does this."""
    role = role.replace("stem.conv.", "stages.0.0.").replace("stem.norm.", "stages.0.1.")
    return re.sub(r"^stage(\d)\.", r"stages.\1.", role)
