"""How a picture of Shapes is drawn: outlines, textures, occlusion. NumPy alone.

An outline is a function of local coordinates u, v in [-1, 1] that says what is inside. A point of
the image is brought there by the object's place, size, angle and aspect.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Inside = Callable[[Array, Array, float], NDArray[np.bool_]]

KEYPOINTS = {"centre": (0.0, 0.0), "tip": (0.85, 0.0), "tail": (-0.85, 0.0)}
"""Named points of every shape, in local coordinates."""
SUPERSAMPLES = 3
LEAST_VISIBLE = 0.4
MOST_OBJECTS = 6


def _ellipse(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    return u**2 + (v / (0.55 + 0.25 * detail)) ** 2 <= 1


def _ring(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    radius = u**2 + v**2
    return (radius <= 1) & (radius >= (0.45 + 0.2 * detail) ** 2)


def _rectangle(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    return (abs(u) <= 0.9) & (abs(v) <= 0.4 + 0.4 * detail)


def _triangle(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    slope = (0.95 - u) * math.tan(math.radians(27 + 6 * detail))
    return (u >= -0.6) & (abs(v) <= slope)


def _star(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    inner, half = 0.38 + 0.1 * detail, math.pi / 5
    angle = abs((np.arctan2(v, u) + half) % (2 * half) - half)  # from the nearest tip
    x, y = np.hypot(u, v) * np.cos(angle), np.hypot(u, v) * np.sin(angle)
    corner_x, corner_y = inner * math.cos(half), inner * math.sin(half)
    return (x - 1) * corner_y - y * (corner_x - 1) <= 0


def _cross(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    arm = 0.22 + 0.14 * detail
    return ((abs(u) <= arm) & (abs(v) <= 0.95)) | ((abs(v) <= arm) & (abs(u) <= 0.95))


def _crescent(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    bite = 0.45 + 0.2 * detail
    return (u**2 + v**2 <= 1) & ((u - bite) ** 2 + v**2 >= 0.75**2)


def _gear(u: Array, v: Array, detail: float) -> NDArray[np.bool_]:
    teeth = 7 + int(4 * detail)
    rim = np.where(np.cos(teeth * np.arctan2(v, u)) > 0, 1.0, 0.74)
    radius = np.hypot(u, v)
    return (radius <= rim) & (radius >= 0.3)


OUTLINES: Mapping[str, Inside] = {
    "ellipse": _ellipse,
    "ring": _ring,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "crescent": _crescent,
    "gear": _gear,
}


@dataclass(frozen=True)
class Shape:
    """One object to draw. Place and radius in pixels, angle in radians."""

    label: int
    x: float
    y: float
    radius: float
    angle: float
    aspect: float
    detail: float

    def local(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Image coordinates to u, v."""
        dx, dy = (x - self.x) / self.radius, (y - self.y) / self.radius
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return cos * dx + sin * dy, (cos * dy - sin * dx) / self.aspect

    def place(self, u: float, v: float) -> tuple[float, float]:
        """u, v to image coordinates: the inverse of `local`."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        v = v * self.aspect
        return self.x + self.radius * (cos * u - sin * v), self.y + self.radius * (
            sin * u + cos * v
        )


@dataclass(frozen=True)
class Picture:
    """image (h, w, 3) uint8; owner (h, w): 0 background, i the i-th object; keypoints (n, p, 3)."""

    image: NDArray[np.uint8]
    owner: NDArray[np.uint8]
    labels: NDArray[np.int64]
    keypoints: NDArray[np.float32]


def draw(size: int, texture: float, random: np.random.Generator) -> Picture:
    """One square picture of 1 to 6 objects, later ones in front; each stays 40 % visible."""
    canvas = _background(size, texture, random)
    owner = np.zeros((size, size), np.uint8)
    wholes: list[float] = []
    shapes: list[Shape] = []
    for _ in range(int(random.integers(1, MOST_OBJECTS + 1))):
        for _ in range(12):
            shape = _random_shape(size, random)
            window, cover, whole = _coverage(shape, size)
            if _all_visible(owner, window, cover, whole, wholes):
                break
        else:
            continue  # no free place: a picture with one object less
        shapes.append(shape)
        wholes.append(whole)
        owner[window][cover >= 0.5] = len(shapes)
        _paint(canvas[window], cover, shape, window, texture, random)
    image = (canvas.clip(0, 1) * 255).round().astype(np.uint8)
    labels = np.array([shape.label for shape in shapes], np.int64)
    return Picture(image, owner, labels, _keypoints(shapes, owner))


def _random_shape(size: int, random: np.random.Generator) -> Shape:
    radius = size * math.exp(random.uniform(math.log(0.15), math.log(0.65))) / 2
    margin = 0.75 * radius
    x, y = random.uniform(margin, size - margin, 2)
    return Shape(
        label=int(random.integers(1, len(OUTLINES) + 1)),
        x=x,
        y=y,
        radius=radius,
        angle=random.uniform(0, 2 * math.pi),
        aspect=random.uniform(0.75, 1.0),
        detail=random.uniform(),
    )


def _coverage(shape: Shape, size: int) -> tuple[tuple[slice, slice], Array, float]:
    """The window the shape lies in, the share of each of its pixels covered, its whole area."""
    low = [math.floor(centre - shape.radius) for centre in (shape.y, shape.x)]
    high = [math.ceil(centre + shape.radius) for centre in (shape.y, shape.x)]
    offsets = (np.arange(SUPERSAMPLES) + 0.5) / SUPERSAMPLES
    y, x = ((np.arange(a, b)[:, None] + offsets).ravel() for a, b in zip(low, high, strict=True))
    u, v = shape.local(x[None, :], y[:, None])
    inside = list(OUTLINES.values())[shape.label - 1](u, v, shape.detail)
    blocks = (len(y) // SUPERSAMPLES, SUPERSAMPLES, len(x) // SUPERSAMPLES, SUPERSAMPLES)
    cover = inside.reshape(blocks).mean((1, 3))
    whole = float((cover >= 0.5).sum())
    rows, columns = (slice(max(a, 0), min(b, size)) for a, b in zip(low, high, strict=True))
    cut = cover[rows.start - low[0] : rows.stop - low[0], columns.start - low[1] :]
    return (rows, columns), cut[:, : columns.stop - columns.start], whole


def _all_visible(
    owner: NDArray[np.uint8],
    window: tuple[slice, slice],
    cover: Array,
    whole: float,
    wholes: list[float],
) -> bool:
    """Whether every object, the new one included, would keep its least visible share."""
    new = cover >= 0.5
    if new.sum() < max(LEAST_VISIBLE * whole, 12):
        return False
    hidden = np.bincount(owner[window][new], minlength=len(wholes) + 1)[1:]
    seen = np.bincount(owner.ravel(), minlength=len(wholes) + 1)[1:] - hidden
    return all(s >= LEAST_VISIBLE * w for s, w in zip(seen, wholes, strict=True))


def _background(size: int, texture: float, random: np.random.Generator) -> Array:
    y, x = np.mgrid[0:size, 0:size] / size
    base = random.uniform(0.05, 0.45, 3)
    slope = random.uniform(-0.15, 0.15, (2, 3))
    noise = random.normal(0, 0.1 * texture, (size, size, 1))
    return (base + slope[0] * x[..., None] + slope[1] * y[..., None] + noise).clip(0, 0.6)


def _paint(
    canvas: Array,
    cover: Array,
    shape: Shape,
    window: tuple[slice, slice],
    texture: float,
    random: np.random.Generator,
) -> None:
    """Blend the shape's colour and texture into its window of the canvas, in place."""
    colour = random.uniform(0.1, 1.0, 3)
    colour[random.integers(3)] = random.uniform(0.75, 1.0)
    y, x = np.mgrid[window]
    u, v = shape.local(x + 0.5, y + 0.5)
    kind = random.integers(3)
    if kind == 0:
        pattern = random.normal(0, 0.5, u.shape)
    elif kind == 1:
        pattern = np.sign(np.sin(random.uniform(5, 14) * u + random.uniform(0, 6)))
    else:
        pattern = 1.2 * v
    shade = 1 + 0.5 * texture * pattern
    painted = colour * shade[..., None].clip(0.4, 1.6)
    canvas += cover[..., None] * (painted - canvas)


def _keypoints(shapes: list[Shape], owner: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, p, 3): x, y, and 2 where seen, 1 behind a later object, 0 outside the picture."""
    points = np.zeros((len(shapes), len(KEYPOINTS), 3), np.float32)
    for i, shape in enumerate(shapes):
        for j, local in enumerate(KEYPOINTS.values()):
            x, y = shape.place(*local)
            if 0 <= x < owner.shape[1] and 0 <= y < owner.shape[0]:
                hidden = owner[int(y), int(x)] > i + 1
                points[i, j] = x, y, 1 if hidden else 2
    return points
