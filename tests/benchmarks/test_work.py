"""Bytes and operations are those of these inputs, counted one by one by slow loops."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.family import MEMBERS
from benchmarks.work import AREA, PAIR, work
from benchmarks.workloads import Place, Workload, proposals

HEIGHT, WIDTH, CHANNELS = 12, 17, 3
BOXES = torch.tensor(
    [
        [0.0, 3.0, 5.0, 21.0, 33.0],
        [1.0, -9.0, -7.0, 60.0, 20.0],  # reaches outside
        [1.0, 30.2, 10.1, 33.9, 12.3],
        [0.0, 3.0, 5.0, 21.0, 33.0],  # the first again: nothing new is read
        [1.0, 200.0, 200.0, 300.0, 300.0],  # reads nothing
        [0.0, 61.0, 40.0, 68.0, 48.0],  # ends at the border
    ]
)


def nearest(x):
    return math.copysign(math.floor(abs(x) + 0.5), x)


def read_at(x, length, margin):
    """The pixels that are read with a weight above 0 by a sample at x."""
    if x < -margin or x > length - 1 + margin:
        return set()
    x = min(max(x, 0.0), length - 1.0)
    low = math.floor(x)
    return {low} | ({low + 1} if x > low else set())


def aligned_axis(start, end, bins, ratio, length):
    """For each bin the pixels it reads; a ratio of 0 is adaptive."""
    step = (end - start) / bins
    count = ratio or max(math.ceil(step), 0)
    points = [[start + (b + (i + 0.5) / count) * step for i in range(count)] for b in range(bins)]
    return [set().union(*(read_at(x, length, 1.0) for x in some)) for some in points]


def align(x1, y1, x2, y2, *, bins, scale, ratio=2, half=0.5, height=HEIGHT, width=WIDTH):
    sides = (v * scale - half for v in (y1, y2, x1, x2))
    top, bottom, left, right = sides
    if not half:
        bottom, right = max(bottom, top + 1), max(right, left + 1)
    return (
        aligned_axis(top, bottom, bins, ratio, height),
        aligned_axis(left, right, bins, ratio, width),
    )


def warp(x1, y1, x2, y2, *, bins, scale):
    x1, y1, x2, y2 = (nearest(v * scale) for v in (x1, y1, x2, y2))
    return align(x1, y1, max(x2 + 1, x1 + 1), max(y2 + 1, y1 + 1), bins=bins, scale=1.0)


def pool(x1, y1, x2, y2, *, bins, scale):
    def axis(low, high, length):
        low, high = nearest(low * scale), nearest(high * scale)
        side, found = max(high - low + 1, 1), []
        for b in range(bins):
            pixels = range(int(low + b * side // bins), int(low - (-(b + 1) * side // bins)))
            found.append({p for p in pixels if 0 <= p < length})
        return found

    return axis(y1, y2, HEIGHT), axis(x1, x2, WIDTH)


def crop(x1, y1, x2, y2, *, bins, scale):
    def axis(low, high, length):
        step = (high - low) * (length - 1) / (bins - 1)
        return [read_at(low * (length - 1) + b * step, length, 0.0) for b in range(bins)]

    return axis(y1, y2, HEIGHT), axis(x1, x2, WIDTH)


SLOW = {"roi_align": align, "roi_warp": warp, "roi_pool": pool, "crop_and_resize": crop}


def counted(found):
    """(pixels read, each once; pixels read by bins) for [(image, (rows, columns)), ...]."""
    union, taps = set(), 0
    for image, (rows, columns) in found:
        for row in rows:
            for column in columns:
                taps += len(row) * len(column)
                union |= {(image, y, x) for y in row for x in column}
    return len(union), taps


def arguments(operator):
    found = {
        "features": torch.zeros(2, CHANNELS, HEIGHT, WIDTH),
        "rois": BOXES,
        "output_size": 3,
        "spatial_scale": 0.25,
    }
    if operator == "crop_and_resize":
        del found["spatial_scale"]
        found["rois"] = BOXES / torch.tensor([1, 68.0, 48.0, 68.0, 48.0])
    return found


@pytest.mark.parametrize("operator", SLOW)
@pytest.mark.parametrize("backward", [False, True])
def test_what_roi_operators_read_is_counted_pixel_by_pixel(operator, backward):
    given = arguments(operator)
    rows = [[float(v) for v in row] for row in given["rois"].double()]
    found = [(int(i), SLOW[operator](*box, bins=3, scale=0.25)) for i, *box in rows]
    pixels, taps = counted(found)
    assert 0 < pixels < 2 * HEIGHT * WIDTH
    values, each = len(BOXES) * CHANNELS * 9, 1 if operator == "roi_pool" else 2
    moved = (pixels * CHANNELS + values) * 4 + len(BOXES) * 5 * 4
    computed = taps * CHANNELS * each
    if backward:
        moved += (values + 2 * CHANNELS * HEIGHT * WIDTH) * 4
        computed += values if operator == "roi_pool" else computed
    least = work(Workload(operator=operator, inputs=lambda g: {}, backward=backward), given)
    assert (least.bytes, least.operations) == (moved, computed)


def test_half_precision_moves_half_the_bytes_of_the_maps():
    given, rois = arguments("roi_align"), BOXES.nbytes
    workload = Workload(operator="roi_align", inputs=lambda g: {})
    wide = work(workload, given)
    narrow = work(workload, given | {"features": given["features"].half()})
    assert narrow.bytes - rois == (wide.bytes - rois) / 2
    assert narrow.operations == wide.operations


def test_levels_are_counted_on_their_own_maps():
    maps = [torch.zeros(2, CHANNELS, HEIGHT, WIDTH), torch.zeros(2, CHANNELS, 6, 9)]
    levels = torch.tensor([0, 1, 1, 0, 0, 1])
    given = {
        "features": maps,
        "rois": BOXES,
        "levels": levels,
        "output_size": 3,
        "spatial_scales": [0.25, 0.125],
        "aligned": False,
    }
    pixels = taps = 0
    for level, (scale, features) in enumerate(zip([0.25, 0.125], maps, strict=True)):
        height, width = features.shape[2:]
        here = [[float(v) for v in row] for row in BOXES[levels == level]]
        sizes = {"bins": 3, "scale": scale, "half": 0.0, "height": height, "width": width}
        one, two = counted([(int(i), align(*box, **sizes)) for i, *box in here])
        pixels, taps = pixels + one, taps + two
    least = work(Workload(operator="multilevel_roi_align", inputs=lambda g: {}), given)
    values = len(BOXES) * CHANNELS * 9
    assert least.bytes == (pixels * CHANNELS + values) * 4 + BOXES.nbytes
    assert least.operations == taps * CHANNELS * 2


def touched(workload, given):
    """Bytes of the pixels that torchvision's gradient reaches, and of the result."""
    maps = given["features"]
    several = isinstance(maps, list)
    leaves = [torch.ones_like(m[:, :1]).requires_grad_() for m in (maps if several else [maps])]
    of_ones = {**given, "features": leaves if several else leaves[0]}
    out = workload.ours("torchvision")(**of_ones)
    read = sum(int(g.count_nonzero()) for g in torch.autograd.grad(out.sum(), leaves))
    first = maps[0] if several else maps
    return (read + out.numel()) * first.shape[1] * first.itemsize


@pytest.mark.parametrize("shape", ["roi_align/P2", "multilevel_roi_align/masks"])
def test_torchvisions_gradient_reaches_the_pixels_that_are_counted(shape):
    """Another way to the same number, at full size: pixels whose gradient is not 0."""
    workload = MEMBERS[f"{shape}/float32/channels_last/forward"].workload
    given = workload.arguments(Place(), 1)
    assert work(workload, given).bytes == pytest.approx(
        touched(workload, given) + given["rois"].nbytes, rel=1e-3
    )


class Number:
    """A number that counts what is done with it."""

    done = 0

    def __init__(self, value):
        self.value = value

    def _with(self, value):
        Number.done += 1
        return Number(value)

    def __sub__(self, other):
        return self._with(self.value - other.value)

    def __add__(self, other):
        return self._with(self.value + other.value)

    def __mul__(self, other):
        return self._with(self.value * other.value)

    def __truediv__(self, other):
        return self._with(self.value / other.value)

    def __gt__(self, other):
        Number.done += 1
        return self.value > other.value

    def most(self, other):
        return self._with(max(self.value, other.value))

    def least(self, other):
        return self._with(min(self.value, other.value))


def area(box):
    x1, y1, x2, y2 = box
    return (x2 - x1).most(Number(0.0)) * (y2 - y1).most(Number(0.0))


def shared(one, two):
    width = one[2].least(two[2]) - one[0].most(two[0])
    height = one[3].least(two[3]) - one[1].most(two[1])
    return width.most(Number(0.0)) * height.most(Number(0.0))


def numbers(boxes):
    return [[Number(float(v)) for v in box] for box in boxes]


def test_overlaps_are_counted_operation_by_operation():
    a, b = proposals(7)(torch.Generator().manual_seed(1))["boxes"], BOXES[:, 1:]
    Number.done = 0
    first, second = numbers(a), numbers(b)
    areas = [area(box) for box in first], [area(box) for box in second]
    for one, of_one in zip(first, areas[0], strict=True):
        for two, of_two in zip(second, areas[1], strict=True):
            common = shared(one, two)
            union = of_one + of_two - common
            _ = common / union if union > Number(0.0) else Number(0.0)
    pairs = len(a) * len(b)
    skipped = sum(1 for one in a for two in b if not union_of(one, two) > 0)
    least = work(Workload(operator="box_iou", inputs=lambda g: {}), {"a": a, "b": b})
    assert least.operations == Number.done + skipped
    assert least.bytes == (len(a) + len(b)) * 16 + pairs * 4


def union_of(one, two):
    return float((one[2:] - one[:2]).prod() + (two[2:] - two[:2]).prod())


@pytest.mark.parametrize("labels", [0, 3])
def test_suppression_is_counted_pair_by_pair(labels):
    given = proposals(200, labels)(torch.Generator().manual_seed(2))
    label = given.get("labels", torch.zeros(200, dtype=torch.long)).tolist()
    order = given["scores"].argsort(descending=True).tolist()
    boxes, kept, pairs = given["boxes"].double().tolist(), [], 0
    for i in order:
        rivals = [j for j in kept if label[j] == label[i]]
        dropped = any(overlap(boxes[i], boxes[j]) > 0.7 for j in rivals)
        pairs += 1 if dropped else len(rivals)
        kept += [] if dropped else [i]
    operator = "batched_nms" if labels else "nms"
    least = work(Workload(operator=operator, inputs=lambda g: {}), given)
    sort = round(200 * math.log2(200))
    assert least.operations == pairs * PAIR + 200 * AREA + sort
    assert least.bytes == 200 * (16 + 4 + (8 if labels else 0)) + 8 * len(kept)
    assert 10 < len(kept) < 190


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


@pytest.mark.parametrize("method", ["grown", "exact"])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_pasted_pixels_are_counted_one_by_one(method, threshold):
    m, size = 4, (20, 30)
    boxes = torch.tensor(
        [[2.3, 3.1, 11.9, 14.2], [-5.0, 6.0, 8.5, 40.0], [25.2, 1.7, 50.0, 2.1], [40, 40, 50, 50.0]]
    )

    def pixels(start, end, length):
        if method == "exact":
            places = [(i + 0.5 - start) / (end - start) * m - 0.5 for i in range(length)]
            return sum(-1 < place < m for place in places)
        half, middle = (end - start) / 2 * (m + 2) / m, (start + end) / 2
        first, last = math.trunc(middle - half), math.trunc(middle + half)
        return sum(first <= i <= max(last, first) for i in range(length))

    written = widened = 0
    for x1, y1, x2, y2 in boxes.double().tolist():
        across, down = pixels(x1, x2, size[1]), pixels(y1, y2, size[0])
        written, widened = written + across * down, widened + across * m
    given = {"masks": torch.ones(4, m, m), "boxes": boxes, "size": size}
    least = work(
        Workload(operator="paste_masks", inputs=lambda g: {}),
        given | {"method": method, "threshold": threshold},
    )
    each = 4 if threshold is None else 1
    assert least.bytes == written * each + 4 * m * m * 4 + boxes.nbytes
    assert least.operations == widened * 3 + written * (3 if threshold is None else 4)
    assert 0 < written < 4 * size[0] * size[1] / 2


@pytest.mark.parametrize("aligned", [True, False])
def test_mask_targets_are_counted_pixel_by_pixel(aligned):
    index, boxes = torch.tensor([0, 1, 1, 0]), BOXES[:4, 1:]
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    given = {"masks": masks, "index": index, "boxes": boxes, "size": 5, "aligned": aligned}
    options = {"bins": 5, "scale": 1.0, "ratio": 0, "half": 0.5 * aligned}
    rows = zip(index.tolist(), boxes.double().tolist(), strict=True)
    pixels, taps = counted([(i, align(*box, **options)) for i, box in rows])
    workload = Workload(operator="crop_masks", inputs=lambda g: {})
    hard, soft = work(workload, given), work(workload, given | {"threshold": None})
    assert hard.bytes == soft.bytes == pixels + 4 * 25 * 4 + boxes.nbytes + index.nbytes
    assert soft.operations == 2 * taps
    assert hard.operations == 2 * taps + 4 * 25


def test_every_member_of_the_family_is_counted():
    """By operator and direction, on few RoIs; what takes longest is the making of inputs."""
    seen = {(m.workload.operator, m.direction): m for m in MEMBERS.values()}
    assert len({operator for operator, _ in seen}) == 10
    for (operator, direction), member in seen.items():
        given = member.workload.arguments(Place(), 1, few=True)
        least = work(member.workload, given)
        assert min(least.bytes, least.operations) > 0, operator
        if direction == "with_backward":
            alone = work(replace(member.workload, backward=False), given)
            assert least.bytes > alone.bytes
            assert least.operations > alone.operations
