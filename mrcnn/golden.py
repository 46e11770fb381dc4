"""Golden files: what a peer computed in one forward pass, with weights made by a stated rule.

A file NAME.json says which parameters the peer has and how they are made from their names, and
NAME.npz holds what came out, stage by stage. Nothing of the peer has to be installed.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor

from mrcnn.structures import Detections

DEFAULT_GAIN = 2**0.5
DETECTRON2_GAINS = {
    "fpn_lateral2": 0.08,
    "fpn_lateral3": 0.2,
    "fpn_lateral4": 0.5,
    "anchor_deltas": 0.3,
    "bbox_pred": 0.5,
    "objectness_logits": 2.0,
    "cls_score": 2.0,
}
"""Where the JSON has no table of its own."""


@dataclass(frozen=True)
class Golden:
    """One forward pass of a peer's own code, in our conventions: RGB, labels from 1, background
    first. A reduced file has the same stages and less of each.

    parameters   the peer's state dict: name -> shape
    gains        of the rule, by the module that owns a weight
    image        as the network sees it, before it is normalised
    features     of every level, finest first; of a reduced file, each `steps`th channel, row and
                 column
    proposals    of the RPN, best first, and their scores: logits or probabilities
    pooled       what the box branch reads of the first proposals, before any res5
    class_logits, deltas   of all proposals; of a reduced file deltas are 0 where they matter to no
                 detection and the proposal is not among the first `rows`
    rows         how many proposals the box head is compared on
    found        final detections in network pixels
    mask_probabilities, final_masks   of the first of them, at the output size those
    final_boxes  of all, in an output of `output_size` (height, width)
    """

    name: str
    parameters: Mapping[str, tuple[int, ...]]
    gains: Mapping[str, float]
    image: UInt8[Tensor, "3 h w"]
    features: tuple[Float[Tensor, "1 _c _h _w"], ...]
    steps: tuple[int, int, int]
    proposals: Float[Tensor, "n 4"]
    proposal_scores: Float[Tensor, " n"]
    pooled: Float[Tensor, "_p _c2 s s"]
    class_logits: Float[Tensor, "n k1"]
    deltas: Float[Tensor, "n k 4"]
    rows: int
    found: Detections
    mask_probabilities: Float[Tensor, "f m m"]
    output_size: tuple[int, int]
    final_boxes: Float[Tensor, "d 4"]
    final_masks: Bool[Tensor, "f oh ow"]


def read_golden(folder: Path, name: str) -> Golden:
    """The golden file of a name. Raises ValueError if it is not there."""
    try:
        about = json.loads((folder / f"{name}.json").read_text())
        with np.load(folder / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file}
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}/{name}: no golden file ({error})") from None
    given = {key: torch.from_numpy(a) for key, a in arrays.items() if a.dtype.kind in "fiu"}
    levels = sorted(key for key in given if key.startswith("feature_"))
    size = int(given["output_size"][0]), int(given["output_size"][1])
    masks = given["det_mask_probs"]
    less = about.get("reduced", {"steps": [1, 1, 1], "rows": len(given["class_logits"])})
    return Golden(
        name=name,
        parameters={key: tuple(shape) for key, shape in about["state_dict"].items()},
        gains=about.get("gain_table", DETECTRON2_GAINS),
        image=given["image"].flip(0),
        features=tuple(given[key] for key in levels),
        steps=tuple(less["steps"]),
        proposals=given["proposal_boxes"],
        proposal_scores=next(given[key] for key in SCORES if key in given),
        pooled=given["box_roi_features_8"],
        class_logits=given["class_logits"].roll(1, 1),
        deltas=given["box_deltas"].unflatten(1, (-1, 4)),
        rows=less["rows"],
        found=Detections(
            boxes=given["det_boxes_network"],
            labels=given["det_classes"] + 1,
            scores=given["det_scores"],
        ),
        mask_probabilities=masks[:, 0] if masks.dim() == 4 else masks,
        output_size=size,
        final_boxes=given["final_boxes"],
        final_masks=unpacked(arrays["final_masks_packed"], size[1]),
    )


SCORES = ("proposal_logits", "proposal_scores")
STEPS = (16, 4, 4)
LESS: dict[str, Any] = {"steps": STEPS, "rows": 64, "masks": 10, "pooled": 1}
"""What a reduced file keeps."""


def reduce_golden(folder: Path, name: str, out: Path) -> None:
    """Write a file of the same name and format to `out`, of a twentieth of the size.

    Channels and pixels of the features are sampled, deltas kept where a class scores enough to be
    a candidate, and masks of the first detections kept.
    """
    about = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file if file[key].dtype.kind in "fiu"}
    c, y, x = STEPS
    for key in [key for key in arrays if key.startswith("feature_")]:
        arrays[key] = arrays[key][:, ::c, ::y, ::x]
    scores = torch.from_numpy(arrays["class_logits"]).softmax(1)[:, :-1].numpy()
    candidate = (scores > 0.04).repeat(4, axis=1)
    candidate[: LESS["rows"]] = True
    arrays["box_deltas"] = np.where(candidate, arrays["box_deltas"], np.float32(0))
    for key, count in {"det_mask_probs": "masks", "final_masks_packed": "masks"}.items():
        arrays[key] = arrays[key][: LESS[count]]
    arrays["box_roi_features_8"] = arrays["box_roi_features_8"][: LESS["pooled"]]
    for unused in ("det_mask_logits", "network_input_corner", "network_input_shape"):
        arrays.pop(unused, None)
    kept = ("source", "image", "gain_table", "config", "state_dict")
    about = {key: about[key] for key in kept if key in about} | {"reduced": LESS}
    out.mkdir(parents=True, exist_ok=True)
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in about.items())
    (out / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    np.savez_compressed(out / f"{name}.npz", **arrays)


def unpacked(rows: NDArray[np.uint8], width: int) -> Bool[Tensor, "d h {width}"]:
    """Bitmaps whose rows `numpy.packbits` packed."""
    return torch.from_numpy(np.unpackbits(rows, axis=-1, count=width).astype(bool))


def made_weights(golden: Golden) -> dict[str, Tensor]:
    """The peer's weights, from the names of its parameters alone; integers stay 0."""
    return {
        name: made_weight(name, shape, golden.gains) for name, shape in golden.parameters.items()
    }


def made_weight(name: str, shape: tuple[int, ...], gains: Mapping[str, float]) -> Tensor:
    """One parameter: normal numbers from a generator seeded by its name, scaled by its kind.

    gains   of weights of more than one dimension, by their module: its last name, or the end of
            its dotted path
    """
    module, _, kind = name.rpartition(".")
    if kind == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.long)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    n = torch.randn(shape, generator=generator)
    kinds: dict[str, Any] = {
        "running_mean": lambda: 0.1 * n,
        "running_var": lambda: 1 + 0.1 * n.abs(),
        "bias": lambda: 0.05 * n,
    }
    if kind in kinds:
        return kinds[kind]()
    if n.dim() == 1:
        return 0.4 + 0.05 * n
    owned = (gain for key, gain in gains.items() if f".{module}".endswith(f".{key}"))
    return n * next(owned, DEFAULT_GAIN) / n[0].numel() ** 0.5
