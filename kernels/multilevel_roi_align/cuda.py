"""RoIAlign of all levels in one launch of CUDA: a block of threads takes a RoI and some channels.

Maps that are channels_last are read where they are, others are turned first. A RoI of an image or a
level that is not there gives zeros and no gradient, and so does one that is not finite: to refuse
it would be to wait for the GPU.

Backward there are two ways. The usual one adds to the maps by atomics, in float32 at least: it
costs zeroing them, one addition per pixel that a RoI reads, and for half precision a conversion;
the last bits differ from run to run. After torch.use_deterministic_algorithms(True), each tile of
8 x 8 pixels walks all RoIs in order and sums what those that reach it give: the same bits in any
order of blocks and threads, with nothing to zero or convert, but a look at every RoI for every
tile, and a wait for the tiles that most RoIs share. The mean takes that way too where a RoI may
read more than 512 pixels along an axis.
"""

import ctypes
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kernels.cuda import Program, scalars
from kernels.cuda.layout import as_its_map, pixels_first
from kernels.op import layout_of

PROGRAM = Program(Path(__file__).with_name("cuda.cu"))
THREADS = 128
LANES = 8
"""Threads of a block that read a pixel together, 16 bytes each: one cache line."""
MANY = 4096
"""Blocks of `mean` from which on a thread reads two cache lines of a pixel: what it does for each
tap, the reads and sums aside, is then done for twice the channels."""
BROAD = 16
"""Threads that add to a pixel by atomics: fewer blocks, each of which sorts what its RoI reads."""
SIDE = 8
"""Of the tiles of pixels that are summed without atomics."""
LEVELS = 8
"""Most levels of a pyramid."""
TAPS = (64, 128, 256, 512)
"""What a RoI may read along an axis. Each has a program of its own: small tables are quicker."""
PITCHES = (7 * 7, 14 * 14 + 1)
"""Bins whose results are turned on their way out, for maps that are not channels_last; odd, so that
no two threads meet in a bank of shared memory."""


class Level(ctypes.Structure):
    """A map as the kernels are told of it: rois.cuh has the same."""

    _fields_ = (
        ("height", ctypes.c_longlong),
        ("width", ctypes.c_longlong),
        ("scale", ctypes.c_double),
    )


class Task(ctypes.Structure):
    """What is asked for, as the kernels are told: rois.cuh has the same."""

    _fields_ = (
        ("levels", Level * LEVELS),
        ("depth", ctypes.c_longlong),
        ("rois", ctypes.c_longlong),
        ("images", ctypes.c_longlong),
        ("channels", ctypes.c_longlong),
        ("high", ctypes.c_longlong),
        ("wide", ctypes.c_longlong),
        ("ratio", ctypes.c_longlong),
        ("aligned", ctypes.c_longlong),
    )


def multilevel_roi_align(
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"] | None,
    *,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> Float[Tensor, "k c oh ow"]:
    """The reference's samples, their weights merged per pixel; a block per RoI and cache line.

    levels   None: all on the first map

    Raises ValueError for more than 8 levels.
    Source: the definition in reference.py.
    """
    task = _task(features, rois, output_size, spatial_scales, sampling_ratio, aligned)
    bins = int(output_size[0] * output_size[1])
    pitch = next((p for p in PITCHES if bins <= p), 0)
    if layout_of(features[0]) == torch.channels_last:
        pitch = 0
    call = _call(task, rois, reduce, features, pitch)
    maps = [pixels_first(f) for f in features]
    layout = torch.contiguous_format if pitch else torch.channels_last
    shape = (len(rois), features[0].shape[1], output_size[0], output_size[1])
    pooled = torch.empty(shape, dtype=features[0].dtype, device=rois.device, memory_format=layout)
    given = (*_eight(maps), *_contiguous(rois, levels), pooled)
    if reduce == "mean" and call.tabled:
        call.launch("mean", *given, items=len(rois), lanes=LANES * call.loads)
    else:
        call.launch("by_samples", *given, None, items=len(rois))
    return pooled


def backward(
    grad: Float[Tensor, "k c oh ow"],
    *,
    features: Sequence[Float[Tensor, "n c _h _w"]],
    rois: Float[Tensor, "k 5"],
    levels: Int[Tensor, " k"] | None,
    output_size: Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    reduce: Literal["mean", "max"],
) -> list[Tensor]:
    """The gradients of the features; the top of this module says what the two ways to them cost.

    Raises ValueError for more than 8 levels.
    """
    task = _task(features, rois, output_size, spatial_scales, sampling_ratio, aligned)
    call = _call(task, rois, reduce, [grad, *features], 0)
    grads, places = pixels_first(grad), _contiguous(rois, levels)
    largest = None
    if reduce == "max":
        maps = [pixels_first(f) for f in features]
        largest = torch.empty_like(grads, dtype=torch.int32, memory_format=torch.channels_last)
        call.launch("by_samples", *_eight(maps), *places, None, largest, items=len(rois))
    if torch.are_deterministic_algorithms_enabled() or (reduce == "mean" and not call.tabled):
        found = _gathered(call, grads, places, largest, features)
    else:
        found = _scattered(call, grads, places, largest, features)
    return [as_its_map(g, f) for g, f in zip(found, features, strict=True)]


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A task, and the program for it.

    vector   channels that a thread reads at once
    loads    how often a thread of `mean` does so at each pixel
    tabled   whether what bins read fits the tables of the kernels for the mean
    """

    task: Task
    program: Program
    vector: int
    loads: int
    tabled: bool

    def launch(
        self, kernel: str, *arguments: Tensor | None, items: int, lanes: int = LANES
    ) -> None:
        """A kernel that takes slices of the channels of `items` RoIs or tiles, a block each."""
        grid = items * -(-self.task.channels // (lanes * self.vector))
        self.program.launch(kernel, self.task, *arguments, grid=grid, block=THREADS)


def _call(task: Task, rois: Tensor, reduce: str, maps: Sequence[Tensor], pitch: int) -> _Call:
    """pitch: of the tile in which results are turned, 0 where they are not."""
    dtype, last = maps[0].dtype, torch.channels_last
    vector = 16 // dtype.itemsize
    in_place = (m for m in maps if m.is_contiguous(memory_format=last))
    if task.channels % vector or any(m.data_ptr() % 16 for m in in_place):
        vector = 1
    bins, longest = max(task.high, task.wide), max(max(m.shape[2:]) for m in maps)
    taps = bins * 2 * task.ratio if task.ratio else longest + 3 * bins
    size = next((size for size in TAPS if taps <= size), None)
    lines, left = divmod(task.channels, LANES * vector)
    twice = not left and lines % 2 == 0 and lines * len(rois) >= MANY and pitch <= PITCHES[0]
    program = _program(
        dtype, rois.dtype, vector, 1 + twice, size or TAPS[0], pitch, reduce == "max"
    )
    return _Call(
        task=task, program=program, vector=vector, loads=1 + twice, tabled=size is not None
    )


@functools.cache
def _program(
    maps: torch.dtype,
    rois: torch.dtype,
    vector: int,
    loads: int,
    taps: int,
    pitch: int,
    maximum: bool,
) -> Program:
    return PROGRAM.with_defines(
        **scalars(maps, rois),
        THREADS=str(THREADS),
        LANES=str(LANES),
        BROAD=str(BROAD),
        VECTOR=str(vector),
        LOADS=str(loads),
        SIDE=str(SIDE),
        TAPS=str(taps),
        PLANES=str(pitch * LANES * vector * loads),
        MAXIMUM=str(int(maximum)),
    )


def _task(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: Sequence[int],
    scales: Sequence[float],
    ratio: int,
    aligned: bool,
) -> Task:
    if len(features) > LEVELS:
        raise ValueError(f"multilevel_roi_align: at most {LEVELS} levels, got {len(features)}")
    maps = [Level(f.shape[2], f.shape[3], scale) for f, scale in zip(features, scales, strict=True)]
    return Task(
        levels=(Level * LEVELS)(*maps),
        depth=len(features),
        rois=len(rois),
        images=features[0].shape[0],
        channels=features[0].shape[1],
        high=output_size[0],
        wide=output_size[1],
        ratio=ratio,
        aligned=aligned,
    )


def _scattered(
    call: _Call,
    grads: Tensor,
    places: tuple[Tensor, Tensor | None],
    largest: Tensor | None,
    features: Sequence[Tensor],
) -> list[Tensor]:
    """By atomics, into zeros, in float32 at least."""
    wide = torch.promote_types(grads.dtype, torch.float32)
    last = torch.channels_last
    sums = [torch.zeros_like(f, dtype=wide, memory_format=last) for f in features]
    if largest is None:
        given = (grads, *places, *_eight(sums))
        call.launch("scatter", *given, items=len(grads), lanes=BROAD)
    else:
        given = (grads, *places, largest, *_eight(sums))
        call.launch("scatter_largest", *given, items=len(grads), lanes=BROAD)
    return sums


def _gathered(
    call: _Call,
    grads: Tensor,
    places: tuple[Tensor, Tensor | None],
    largest: Tensor | None,
    features: Sequence[Tensor],
) -> list[Tensor]:
    """Without atomics: the same in every bit."""
    extents = torch.empty(len(grads), 5, dtype=torch.int64, device=grads.device)
    call.program.launch(
        "find_extents", call.task, *places, extents, grid=-(-len(grads) // THREADS), block=THREADS
    )
    found = [torch.empty_like(f, memory_format=torch.channels_last) for f in features]
    tiles = sum(len(f) * -(-f.shape[2] // SIDE) * -(-f.shape[3] // SIDE) for f in features)
    call.launch("gather", grads, *places, extents, largest, *_eight(found), items=tiles)
    return found


def _eight(maps: Sequence[Tensor]) -> list[Tensor | None]:
    return [*maps, *[None] * (LEVELS - len(maps))]


def _contiguous(rois: Tensor, levels: Tensor | None) -> tuple[Tensor, Tensor | None]:
    return rois.contiguous(), None if levels is None else levels.contiguous()
