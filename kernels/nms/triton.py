"""Greedy non-maximum suppression in Triton: all on the device, its result padded."""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

from kernels.box_iou.triton import iou
from kernels.nms.tiles import TILE, by_score, chunks, kept, words
from kernels.triton.interpreting import ready
from kernels.triton.rois import UNFUSED, bits, number

WORDS_AT_ONCE = 8192
"""Words of the mask that the gathering program holds: as many rows of it as fit."""


def nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, " n"], iou_threshold: float
) -> Int[Tensor, " k"]:
    """The reference's list exactly. Waits for the device once, for the length of the list.

    Raises ValueError for tensors on the CPU where Triton does not interpret.
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
    Raises ValueError for tensors on the CPU where Triton does not interpret.
    """
    ready(boxes)
    n, order = len(boxes), by_score(scores)
    boxes, labels = boxes[order], None if labels is None else labels[order]
    keep, removed, count = torch.full_like(order, -1), order.new_zeros(words(n)), order.new_zeros(1)
    width = triton.next_power_of_2(max(words(n), 1))
    for first, end in chunks(n):
        mask = order.new_empty(end - first, words(n))
        _overlaps[(words(n) - first // TILE, words(end - first))](
            *(boxes, labels, bits(iou_threshold), mask, n, first, end, words(n), TILE),
            **UNFUSED,  # a product rounded late could turn a comparison
        )
        at_once = min(max(WORDS_AT_ONCE // width, 1), TILE)
        _gather[(1,)](
            *(mask, order, removed, keep, count, first, end, words(n), TILE, width, at_once),
            num_warps=8,
        )
    return keep, count


@triton.jit
@no_type_check
def _overlaps(
    boxes,
    labels,
    threshold,
    mask,
    n,
    first,
    end,
    words,
    tile: tl.constexpr,
):
    """A tile of the mask (end - first, words): bit j of word w of row i is for box tile w + j.

    Boxes (n, 4) and labels (n) come by falling score. A bit is set for a worse box, and in the
    tiles of the diagonal for a better one, whose IoU with box first + i is above the threshold, a
    number in bits.
    """
    row, column = first // tile + tl.program_id(1), first // tile + tl.program_id(0)
    if column >= row:
        bit = tl.arange(0, tile)
        i, j = row.to(tl.int64) * tile + bit, column.to(tl.int64) * tile + bit
        hit = iou(boxes, i, n, boxes, j, n)
        hit = hit > number(threshold, hit.dtype)
        if labels is not None:
            own, other = tl.load(labels + i, mask=i < n), tl.load(labels + j, mask=j < n)
            hit = hit & (own[:, None] == other[None])
        hit = hit & ((column > row) | (j[None] < i[:, None]))
        word = tl.sum(tl.where(hit, (tl.full([tile], 1, tl.int64) << bit)[None], 0), 1)
        tl.store(mask + (i - first) * words + column, word, mask=i < end)


@triton.jit
@no_type_check
def _gather(
    mask,
    order,
    removed,
    keep,
    count,
    first,
    end,
    words,
    tile: tl.constexpr,
    width: tl.constexpr,
    at_once: tl.constexpr,
):
    """One program goes through the tiles of the diagonal, best first, and finds the boxes kept.

    mask      (end - first, words) of `_overlaps`
    order     (n) the boxes by falling score
    removed   (words) a bit per box that is dropped, before and after this chunk
    keep      (n) out: the boxes kept, best first
    count     (1) how many they are, before and after this chunk
    """
    bit, word = tl.arange(0, tile), tl.arange(0, width)
    power = tl.full([tile], 1, tl.int64) << bit
    gone = tl.load(removed + word, mask=word < words, other=0)
    kept = tl.load(count)
    for base in range(first, end, tile):
        i, here = base + bit, base // tile
        rows = mask + (i - first).to(tl.int64) * words
        better = tl.load(rows + here, mask=i < end, other=0)
        dropped = tl.sum(tl.where(word == here, gone, 0))
        is_open = (i < end) & ((dropped & power) == 0)
        # A box stays if no better one that stays overlaps it. After k rounds the first k boxes are
        # right, and what a round does not change is right altogether: mostly three or four do.
        alive = tl.sum(tl.where(is_open, power, 0))
        before = alive - 1
        while before != alive:
            before = alive
            alive = tl.sum(tl.where(is_open & ((better & before) == 0), power, 0))
        stays = (alive & power) != 0
        place = kept + tl.cumsum(stays.to(tl.int64), 0) - 1
        tl.store(keep + place, tl.load(order + i, mask=stays), mask=stays)
        kept += tl.sum(stays.to(tl.int64))
        for start in range(0, tile, at_once):
            row = start + tl.arange(0, at_once)
            look = ((alive >> row) & 1) == 1
            some = tl.load(
                mask + (base - first + row).to(tl.int64)[:, None] * words + word[None],
                mask=look[:, None] & ((word > here) & (word < words))[None],
                other=0,
            )
            gone = gone | tl.reduce(some, 0, _either)
    tl.store(removed + word, gone, mask=word < words)
    tl.store(count, kept)


@triton.jit
@no_type_check
def _either(a, b):
    return a | b
