"""Small made-up ground truth and detections, in masks that are rectangles, for tests of scores."""

import numpy as np
import torch

from mrcnn.data.annotations import as_ground_truth, encode_mask

SIZE = 48


def truth_of(objects, images=1, classes=3):
    """The ground truth of objects (image, category, box, crowd), in images counted from 1."""
    notes = [
        {
            "image_id": image,
            "category_id": category,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "segmentation": rle(x1, y1, x2, y2),
            "iscrowd": int(crowd),
        }
        for image, category, (x1, y1, x2, y2), crowd in objects
    ]
    names = [f"class {k}" for k in range(1, classes + 1)]
    pictures = [{"id": i, "height": SIZE, "width": SIZE} for i in range(1, images + 1)]
    return as_ground_truth(pictures, notes, names, range(1, classes + 1))


def found(image, category, box, score):
    """A detection as a COCO result, with its box and its mask."""
    x1, y1, x2, y2 = box
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "segmentation": rle(*box),
        "score": score,
    }


def rle(x1, y1, x2, y2):
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[y1:y2, x1:x2] = True
    return encode_mask(mask)


def random_scene(seed, images=6, classes=3, per_image=5):
    """Ground truth with crowds and empty images, and detections of all qualities with equal scores
    among them.
    """
    rng = np.random.default_rng(seed)
    objects = [
        (image, int(rng.integers(1, classes + 1)), a_box(rng), rng.random() < 0.1)
        for image in range(1, images)  # the last has none
        for _ in range(rng.integers(0, per_image))
    ]
    detections = [
        found(*_near(rng, one, classes), score=round(float(rng.random()), 1))
        for one in objects
        for _ in range(rng.integers(0, 4))
    ]
    detections += [
        found(int(rng.integers(1, images + 1)), 1, a_box(rng), score=0.5) for _ in range(5)
    ]
    return truth_of(objects, images, classes), detections


def a_box(rng):
    x1, y1 = rng.integers(0, SIZE - 8, 2)
    return x1, y1, min(SIZE, x1 + rng.integers(4, 40)), min(SIZE, y1 + rng.integers(4, 40))


def _near(rng, one, classes):
    """The image, a class, mostly the right one, and a box near that of an object."""
    image, category, box, _ = one
    x1, y1, x2, y2 = (int(np.clip(v + rng.integers(-3, 4), 0, SIZE)) for v in box)
    if rng.random() < 0.2:
        category = int(rng.integers(1, classes + 1))
    return image, category, (x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))
