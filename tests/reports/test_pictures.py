"""The strip shows the images that differ most, and where each variant reads, if they differ."""

import io
import json

import pytest
from PIL import Image

from reports import pictures
from tests.reports import made


def galleries(*starts):
    """Two variants whose grids begin at these places."""
    found = {"good": made.pictures(0), "bad": made.pictures(8)}
    for gallery, start in zip(found.values(), starts, strict=True):
        for image in gallery["images"]:
            image["roi_grid"] = made.grid(start)
    return found


def size(content):
    return Image.open(io.BytesIO(content)).size


def test_pictures_show_the_images_that_differ_most():
    galleries = {"good": made.pictures(0), "bad": made.pictures(8)}
    assert [pictures.quality(i) for i in galleries["good"]["images"]] == [1.0, 1.0]
    assert pictures.quality(galleries["bad"]["images"][1]) == pytest.approx(1 / 3, abs=0.01)
    one = Image.open(io.BytesIO(pictures.strip(galleries, images=1)))
    two = Image.open(io.BytesIO(pictures.strip(galleries, images=2)))
    assert two.height > 1.5 * one.height
    assert pictures.strip({}) is None


def test_a_detection_of_another_class_is_no_success():
    image = made.pictures(0)["images"][0]
    image["detections"][0]["label"] = 2
    assert pictures.quality(image) == 0


def test_one_object_is_enlarged_where_the_variants_read_differently():
    alike, apart = galleries(8, 8), galleries(8, 0)
    assert pictures.enlarged(alike) is None
    assert pictures.enlarged(apart) == 0
    assert size(pictures.strip(apart))[1] > size(pictures.strip(alike))[1] * 1.3
    assert pictures.strip(apart) != pictures.strip(galleries(8, 4))


def test_records_without_grids_have_a_strip_without_them():
    old = json.loads(json.dumps(galleries(8, 0)))
    del old["bad"]["images"][0]["roi_grid"], old["bad"]["images"][1]["roi_grid"]
    assert pictures.enlarged(old) is None
    assert pictures.strip(old)
