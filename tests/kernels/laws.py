"""What must be true of an operator, whoever wrote it. A law takes a function and raises.

They are kept apart from the tests so that planted bugs can be put before them too.
"""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import oracles
from tests.strategies import boxes, cases, coefficients, rois_within, scales, sizes

RATIOS = st.sampled_from([1, 2, 3, "adaptive"])


def close(a, b, atol=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def centres(n):
    """Centres of n unit cells: 0.5 .. n - 0.5."""
    return torch.arange(n, dtype=torch.float64) + 0.5


def plane_is_exact(align):
    """Bilinear sampling is exact on a plane, and so is the mean of a bin: every bin equals the
    plane at its own centre. Rounding any coordinate breaks this law."""

    @given(data=st.data(), plane=st.tuples(*[coefficients] * 3), scale=scales, size=sizes)
    def law(data, plane, scale, size):
        a, b, c = plane
        rois = data.draw(rois_within(6, 9, scale))
        features = (a + b * centres(9) + c * centres(6)[:, None])[None, None]
        bins = align(features, rois, output_size=size, spatial_scale=scale)
        x1, y1, x2, y2 = (rois[:, 1:, None] * scale).unbind(1)
        x = torch.lerp(x1, x2, centres(size[1]) / size[1])[:, None, None, :]
        y = torch.lerp(y1, y2, centres(size[0]) / size[0])[:, None, :, None]
        close(bins, a + b * x + c * y)

    law()


def align_equals_the_loop(align):
    """Every bin equals the one computed point by point."""

    @given(case=cases(), size=sizes, ratio=RATIOS, aligned=st.booleans(), reduce=st.booleans())
    def law(case, size, ratio, aligned, reduce):
        features, rois, scale = case
        options = dict(output_size=size, spatial_scale=scale, sampling_ratio=ratio, aligned=aligned)
        options["reduce"] = "max" if reduce and ratio != "adaptive" else "mean"
        expected = oracles.every_bin(oracles.roi_align, features, rois, **options)
        close(align(features, rois, **options), expected)

    law()


def pool_equals_the_loop(pool):
    """Every bin is the largest pixel of its rounded bin. No arithmetic on values: no tolerance."""

    @given(case=cases(), size=sizes)
    def law(case, size):
        features, rois, scale = case
        options = dict(output_size=size, spatial_scale=scale)
        expected = oracles.every_bin(oracles.roi_pool, features, rois, **options)
        close(pool(features, rois, **options), expected, atol=0)

    law()


def warp_is_align_on_the_rounded_box(warp):
    """Rounding first, then RoIAlign: nothing else."""

    @given(case=cases(), size=sizes, extra=st.sampled_from([0, 1]))
    def law(case, size, extra):
        features, rois, scale = case
        rounded = rois.clone()
        for row in rounded:
            x1, y1, x2, y2 = (oracles.away(v * scale) for v in row[1:].tolist())
            ends = [x1, y1, max(x2, x1) + extra, max(y2, y1) + extra]
            row[1:] = torch.tensor(ends, dtype=torch.float64)
        options = dict(output_size=size, sampling_ratio=2, aligned=True, reduce="mean")
        expected = oracles.every_bin(
            oracles.roi_align, features, rounded, spatial_scale=1.0, **options
        )
        box = "inclusive" if extra else "plain"
        close(warp(features, rois, output_size=size, spatial_scale=scale, box=box), expected)

    law()


def is_linear(op):
    """op(a f + g) = a op(f) + op(g): true of the mean, not of any maximum."""

    @given(case=cases(), factor=coefficients)
    def law(case, factor):
        features, rois, scale = case
        other = features.flip(3).cos()
        options = dict(output_size=(2, 3), spatial_scale=scale)
        left = op(factor * features + other, rois, **options)
        close(left, factor * op(features, rois, **options) + op(other, rois, **options))

    law()


def follows_its_rois(op):
    """Permuting RoIs permutes outputs; permuting images and indices together changes nothing."""

    @given(case=cases(), seed=st.integers(0, 99))
    def law(case, seed):
        features, rois, scale = case
        g = torch.Generator().manual_seed(seed)
        options = dict(output_size=2, spatial_scale=scale)
        out = op(features, rois, **options)
        order = torch.randperm(len(rois), generator=g)
        close(op(features, rois[order], **options), out[order], atol=1e-12)
        images = torch.randperm(3, generator=g)
        moved = rois.clone()
        moved[:, 0] = images.argsort()[rois[:, 0].long()].double()
        close(op(features[images], moved, **options), out, atol=1e-12)

    law()


def knows_its_scale(op):
    """RoIs twice as large at half the scale are the same RoIs."""

    @given(case=cases())
    def law(case):
        features, rois, scale = case
        twice = rois * torch.tensor([1.0, 2, 2, 2, 2], dtype=torch.float64)
        small = op(features, rois, output_size=(2, 3), spatial_scale=scale)
        close(op(features, twice, output_size=(2, 3), spatial_scale=scale / 2), small, atol=1e-12)

    law()


def gradient_is_the_adjoint(op):
    """<op(f), g> = <f, grad>: the backward pass of a linear map is its transpose."""

    @given(case=cases())
    def law(case):
        features, rois, scale = case
        features = features.requires_grad_()
        out = op(features, rois, output_size=(2, 3), spatial_scale=scale)
        g = torch.sin(torch.arange(out.numel(), dtype=torch.float64)).view_as(out)
        (grad,) = torch.autograd.grad(out, features, g, materialize_grads=True)
        close((out * g).sum(), (features * grad).sum(), atol=1e-9)

    law()


def iou_is_a_similarity(iou):
    """1 with itself, symmetric, within 0 .. 1, unchanged by a shift; half a box is one half."""

    @given(a=boxes(), b=boxes())
    def law(a, b):
        found = iou(a, b)
        close(found, iou(b, a).T, atol=1e-6)
        assert bool(((found >= 0) & (found <= 1 + 1e-6)).all())
        close(iou(a, a).diagonal(), torch.ones(len(a)), atol=1e-6)
        close(iou(a + 7, b + 7), found, atol=1e-4)
        half = torch.cat([a[:, :2], (a[:, :2] + a[:, 2:]) / 2], 1)
        close(iou(a, half).diagonal(), torch.full((len(a),), 0.25), atol=1e-5)

    law()


def nms_is_certified(nms):
    """Kept boxes do not overlap, every dropped one overlaps a better kept one, best comes first."""

    @given(a=boxes(), threshold=st.floats(0.1, 0.9), seed=st.integers(0, 99))
    def law(a, threshold, seed):
        g = torch.Generator().manual_seed(seed)
        scores = (torch.rand(len(a), generator=g) * 5).round() / 5  # ties on purpose
        kept = nms(a, scores, iou_threshold=threshold).tolist()
        ious = oracle_iou(a)
        order = sorted(range(len(a)), key=lambda i: (-float(scores[i]), i))
        rank = {i: r for r, i in enumerate(order)}
        assert [rank[i] for i in kept] == sorted(rank[i] for i in kept)
        for i in range(len(a)):
            over = [ious[i][j] > threshold for j in kept if rank[j] < rank[i]]
            assert any(over) != (i in kept)

    law()


def oracle_iou(a):
    def one(p, q):
        w, h = min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1])
        shared = max(w, 0) * max(h, 0)
        areas = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1])
        return shared / (areas - shared)

    rows = a.double().tolist()
    return [[one(p, q) for q in rows] for p in rows]


def paste_equals_the_loop(paste):
    """Every pixel reads the mask at its own centre."""

    @given(seed=st.integers(0, 2**16))
    def law(seed):
        g = torch.Generator().manual_seed(seed)
        masks = torch.rand(2, 5, 5, generator=g)
        corner = torch.rand(2, 2, generator=g) * 12 - 3
        found = torch.cat([corner, corner + 0.5 + torch.rand(2, 2, generator=g) * 10], 1)
        soft = paste(masks, found, size=(9, 11), threshold=None)
        for got, mask, box in zip(soft, masks, found, strict=True):
            close(got.double(), oracles.paste_exact(mask, box.tolist(), (9, 11)), atol=1e-4)

    law()


def paste_fills_its_box(paste):
    """A full mask in a box of whole pixels sets exactly the pixels of that box."""

    @given(x=st.integers(0, 8), y=st.integers(0, 6), w=st.integers(2, 9), h=st.integers(2, 9))
    def law(x, y, w, h):
        full = torch.ones(1, 28, 28)
        box = torch.tensor([[x, y, x + w, y + h]]).float()
        expected = torch.zeros(16, 18, dtype=torch.bool)
        expected[y : y + h, x : x + w] = True
        assert torch.equal(paste(full, box, size=(16, 18))[0], expected)

    law()
