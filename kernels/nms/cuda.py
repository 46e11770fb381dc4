"""Greedy non-maximum suppression in CUDA C++: all on the device, its result padded."""

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.cuda import Program
from kernels.nms.tiles import TILE, by_score, chunks, kept, words

PROGRAM = Program(Path(__file__).with_name("cuda.cu"))
REAL = {torch.float32: "float", torch.float64: "double"}
MOST = 6144 * TILE
"""Boxes at most: the kernel keeps a bit for each in 48 KB of shared memory."""


def nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int[Tensor, " k"]:
    """The reference's list exactly. Waits for the device once, for the length of the list.

    Raises ValueError for more boxes than MOST.
    Source: Girshick et al. 2014, sec. 2.2.
    """
    return kept(*padded(boxes, scores, iou_threshold))


def padded(
    boxes: Float[Tensor, "n 4"],
    scores: Float[Tensor, " n"],
    iou_threshold: float,
    labels: Int[Tensor, " n"] | None = None,
) -> tuple[Int[Tensor, " n"], Int[Tensor, " 1"]]:
    """The boxes that are kept, best first, then -1, and how many they are.

    labels   boxes of different labels do not compete; None: all do

    Nothing waits for the device, so a CUDA graph can hold it.
    Raises ValueError for more boxes than MOST.
    """
    n = len(boxes)
    if n > MOST:
        raise ValueError(f"nms: at most {MOST} boxes fit this kernel, got {n}")
    boxes, order = boxes.contiguous(), by_score(scores)
    labels = None if labels is None else labels.contiguous()
    keep, removed, count = torch.empty_like(order), order.new_zeros(words(n)), order.new_zeros(1)
    program = PROGRAM.with_defines(REAL=REAL[boxes.dtype])
    for first, end in chunks(n):
        mask = order.new_empty(end - first, words(n))
        program.launch(
            "overlaps",
            *(boxes, labels, order, mask, n, first, end, float(iou_threshold)),
            grid=(words(n) - first // TILE, words(end - first)),
            block=(32, 8),
        )
        width = min(1 << (words(n) - 1).bit_length(), 1024)
        program.launch(
            "gather",
            *(mask, order, removed, keep, count, n, first, end, width),
            grid=1,
            block=min(TILE * width, 1024),
        )
    return keep, count
