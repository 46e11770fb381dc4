"""Every law must be able to fail: each planted bug is caught by the law named beside it."""

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis.errors import FlakyFailure

import kernels
from tests.kernels import laws

align, pool, warp = kernels.roi_align, kernels.roi_pool, kernels.roi_warp
shift = torch.tensor([0, 1.0, 1, 1, 1], dtype=torch.float64)


def scaled(r, k):
    return r * torch.tensor([1, *[k["spatial_scale"]] * 4], dtype=r.dtype)


def with_rois(op, change):
    return lambda f, r, **k: op(f, change(r, k), **k)


def half_pixel(r, k):
    return r + shift * 0.5 / k["spatial_scale"]


def whole_pixels(r, k):
    back = torch.tensor([1, *[1 / k["spatial_scale"]] * 4], dtype=r.dtype)
    return scaled(r, k).round() * back


def half_precision(r, k):
    return torch.cat([r[:, :1], r[:, 1:].half().double()], 1)


def no_images(r, k):
    return r * torch.tensor([0.0, 1, 1, 1, 1], dtype=r.dtype)


def swapped(r, k):
    return r[:, [0, 2, 1, 4, 3]]


def one_less(r, k):
    return r - torch.tensor([0, 0, 0, 1, 1], dtype=r.dtype) / k["spatial_scale"]


def detached(f, r, **k):
    return align(f.detach(), r, **k) + 0 * f.sum()


def doubled_gradient(f, r, **k):
    out = align(f, r, **k)
    return out + (out - out.detach())


def stale(f, r, **k):
    stale.kept = getattr(stale, "kept", None)
    out = align(f, r, **k)
    kept = stale.kept if stale.kept is not None and stale.kept.shape == out.shape else out
    stale.kept = out
    return kept


def unscaled(f, r, **k):
    return align(f, r, **{**k, "spatial_scale": 1.0})


def zero_outside(f, r, **k):
    grown = torch.nn.functional.pad(f, (1, 1, 1, 1))
    return align(grown, r + shift / k["spatial_scale"], **k)


def better_of_ties_last(b, s, *, iou_threshold):
    order = len(b) - 1 - torch.arange(len(b))
    return order[kernels.nms(b.flip(0), s.flip(0), iou_threshold=iou_threshold)]


def nms_at_least(b, s, *, iou_threshold):
    return kernels.nms(b, s, iou_threshold=max(iou_threshold - 0.05, 0.0))


def nms_unsorted(b, s, *, iou_threshold):
    return kernels.nms(b, s, iou_threshold=iou_threshold).sort().values


def iou_plus_one(a, b):
    one = torch.tensor([0, 0, 1.0, 1])
    return kernels.box_iou(a + one, b + one)


def iou_over_first(a, b):
    area = (a[:, 2:] - a[:, :2]).prod(1)
    shared = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
    return shared.clamp(min=0).prod(2) / area[:, None]


def pasted(change):
    return lambda m, b, **k: kernels.paste_masks(m, change(b), **k)


MUTANTS = {
    "align: half a pixel off": (laws.plane_is_exact, with_rois(align, half_pixel)),
    "align: whole pixels": (laws.plane_is_exact, with_rois(align, whole_pixels)),
    "align: legacy frame": (laws.plane_is_exact, lambda f, r, **k: align(f, r, aligned=False, **k)),
    "align: half coordinates": (laws.plane_is_exact, with_rois(align, half_precision)),
    "align: x and y swapped": (laws.plane_is_exact, with_rois(align, swapped)),
    "align: bins rolled": (laws.plane_is_exact, lambda f, r, **k: align(f, r, **k).roll(1, -1)),
    "align: maximum": (laws.plane_is_exact, lambda f, r, **k: align(f, r, reduce="max", **k)),
    "align: float32 inside": (
        laws.plane_is_exact,
        lambda f, r, **k: align(f.float(), r.float(), **k).double(),
    ),
    "align: far side one less": (laws.align_equals_the_loop, with_rois(align, one_less)),
    "align: first image only": (laws.align_equals_the_loop, with_rois(align, no_images)),
    "align: zeros at the border": (laws.align_equals_the_loop, zero_outside),
    "align: one sample": (
        laws.align_equals_the_loop,
        lambda f, r, **k: align(f, r, **{**k, "sampling_ratio": 1}),
    ),
    "align: zeros": (laws.align_equals_the_loop, lambda f, r, **k: 0 * align(f, r, **k)),
    "align: stale output": (laws.align_equals_the_loop, stale),
    "align: scale ignored": (laws.knows_its_scale, unscaled),
    "align: maximum is not linear": (
        laws.is_linear,
        lambda f, r, **k: align(f, r, reduce="max", **k),
    ),
    "align: sorted RoIs": (
        laws.follows_its_rois,
        with_rois(align, lambda r, k: r[r[:, 1].argsort()]),
    ),
    "align: no gradient": (laws.gradient_is_the_adjoint, detached),
    "align: gradient twice": (laws.gradient_is_the_adjoint, doubled_gradient),
    "pool: half to even": (
        laws.pool_equals_the_loop,
        with_rois(pool, lambda r, k: whole_pixels(r * 0.999, k)),
    ),
    "pool: far side one less": (laws.pool_equals_the_loop, with_rois(pool, one_less)),
    "pool: first image only": (laws.pool_equals_the_loop, with_rois(pool, no_images)),
    "pool: bilinear": (
        laws.pool_equals_the_loop,
        lambda f, r, **k: warp(f, r, reduce="max", **k),
    ),
    "warp: not rounded": (
        laws.warp_is_align_on_the_rounded_box,
        lambda f, r, box, **k: align(f, r, **k),
    ),
    "warp: + 1 everywhere": (
        laws.warp_is_align_on_the_rounded_box,
        lambda f, r, box, **k: warp(f, r, box="inclusive", **k),
    ),
    "iou: + 1": (laws.iou_is_a_similarity, iou_plus_one),
    "iou: over the first": (laws.iou_is_a_similarity, iou_over_first),
    "nms: threshold off": (laws.nms_is_certified, nms_at_least),
    "nms: not sorted": (laws.nms_is_certified, nms_unsorted),
    "nms: ties backwards": (laws.nms_is_certified, better_of_ties_last),
    "nms: all kept": (
        laws.nms_is_certified,
        lambda b, s, iou_threshold: s.argsort(descending=True, stable=True),
    ),
    "paste: half a pixel off": (laws.paste_equals_the_loop, pasted(lambda b: b + 0.5)),
    "paste: whole pixels": (laws.paste_equals_the_loop, pasted(torch.round)),
    "paste: one column more": (
        laws.paste_fills_its_box,
        pasted(lambda b: b + torch.tensor([0, 0, 1.0, 0])),
    ),
    "paste: transposed": (
        laws.paste_fills_its_box,
        pasted(lambda b: b[:, [1, 0, 3, 2]]),
    ),
}


@pytest.mark.parametrize("bug", MUTANTS)
def test_planted_bug_is_caught(bug):
    law, mutant = MUTANTS[bug]
    profile = settings.get_profile("ci")
    settings.register_profile("hunt", profile, max_examples=200, phases=[Phase.generate])
    settings.load_profile("hunt")
    try:
        with pytest.raises(
            (AssertionError, FlakyFailure)
        ):  # a stale output is never twice the same
            law(mutant)
    finally:
        settings.load_profile("ci")
