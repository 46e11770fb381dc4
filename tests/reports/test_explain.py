"""The explain page says what the trace holds, needs nothing else, and is the same twice."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mrcnn.data.transforms import Resize
from mrcnn.model import MaskRCNN
from mrcnn.presets import R50_C4, R50_FPN, R50_FPN_MASK_KEYPOINTS, at_scale
from mrcnn.roi_ops import RoIPool
from mrcnn.spec import vary
from mrcnn.structures import Targets
from mrcnn.trace import trace
from reports import explain_sections, roi_pictures, trace_pictures
from reports.explain import TEMPLATE, page, render_explain
from reports.explain_sections import boxed, overlap, said
from reports.page import filled as in_template
from reports.trace import load_trace

HOSTILE = "<b>photo</b>.png"


def made(folder, base=R50_FPN, targets=False, source=None, **changes):
    trial = at_scale(base, "smoke")
    few = {"model.rpn.post_nms_test": 8, "evaluate.transforms": (Resize(short=(64,), long=128),)}
    for path, value in (few | changes).items():
        trial = vary(trial, path, value)
    image = torch.arange(3 * 40 * 56).reshape(3, 40, 56).remainder(251).to(torch.uint8)
    masks = torch.zeros(1, 40, 56, dtype=torch.bool)
    masks[0, 10:30, 8:40] = True
    known = Targets(torch.tensor([[8.0, 10, 40, 30]]), torch.tensor([3]), masks)
    found = trace(
        MaskRCNN(trial.model),
        trial,
        image,
        known if targets else None,
        classes=tuple("abcdefgh"),
        source=source or {"image": HOSTILE, "network": "preset x", "trained": False},
    )
    found.save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return made(tmp_path_factory.mktemp("explain") / "fpn", targets=True)


@pytest.fixture(scope="module")
def filled(folder):
    return page([load_trace(folder)])


@pytest.fixture(scope="module")
def html(filled):
    return in_template(TEMPLATE, filled).decode()


def test_every_stage_is_on_the_page_with_its_source(html):
    titles = re.findall(r'<h2 id="(\w+)">', html)
    assert titles == [
        *("results", "input", "anchors", "objectness", "proposals", "levels", "layer"),
        *("scores", "refinement", "final", "mask", "choices"),
    ]
    assert set(re.findall(r'href="#(\w+)"', html)) == set(titles)
    assert html.count('class="source"') == len(titles) - 2


def test_the_page_needs_nothing_else_and_trusts_nobody(html):
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "<script" not in html
    assert HOSTILE not in html
    assert "&lt;b&gt;photo&lt;/b&gt;" in html
    pictures = re.findall(r"<img [^>]*>", html)
    assert len(pictures) == 12
    assert all(re.search(r'alt="[^"]{10,}"', one) for one in pictures)


def test_the_same_trace_gives_the_same_bytes(folder, html):
    assert render_explain([folder]).read_text() == html


def test_random_weights_are_said(html):
    assert "The weights are random" in html


def test_the_numbers_are_those_of_the_trace(folder, filled):
    about = json.loads((folder / "trace.json").read_text())
    found = {s.anchor: s for s in filled["sections"]}
    assert found["anchors"].rows[0][3:] == [
        about["anchors"][0][k] for k in ("anchors", "positive", "ignored", "negative", "outside")
    ]
    assert found["final"].rows[-1][-1] == len(about["detections"])
    assert found["final"].rows[0][-1] == about["pairs"]
    assert [row[-1] for row in found["proposals"].rows] == [g["kept"] for g in about["proposals"]]


def test_nothing_found_is_explained(tmp_path):
    trace_ = load_trace(made(tmp_path, **{"model.detection.min_score": 0.9}))
    sections = page([trace_])
    pairs = trace_.about["pairs"]
    wanted = f"Nothing was detected. Of {pairs} pairs of a RoI and a class {pairs} scored at most"
    assert any(line.startswith(wanted) for line in sections["warnings"])
    assert [s.anchor for s in sections["sections"]][-1] == "final"
    assert any("came nearest to being detected" in s.says for s in sections["sections"])


def test_c4_has_one_map_and_keypoints_have_their_maps(tmp_path):
    one_map = explain_sections._levels(load_trace(made(tmp_path / "c4", R50_C4)))
    assert "every RoI is read there" in one_map.says
    posed = load_trace(made(tmp_path / "posed", R50_FPN_MASK_KEYPOINTS))
    assert len(explain_sections._keypoints(posed).rows) == 3
    assert [row[0] for row in explain_sections._layer(posed).rows] == [
        "box branch",
        "mask branch",
        "keypoint branch",
    ]


def test_two_traces_are_put_side_by_side(folder, tmp_path):
    other = made(tmp_path / "pool", targets=True, **{"model.roi_op": RoIPool()})
    (beside,) = explain_sections.compared([load_trace(folder), load_trace(other)])
    assert beside.anchor == "beside"
    assert [row[0] for row in beside.rows] == ["fpn", "pool"]
    assert beside.rows[1][1] == "RoIPool()"
    apart = replace(load_trace(other), about=load_trace(other).about | {})
    apart.about["focus"] = {**apart.focus, "decoded": [0, 0, 1, 1]}
    assert (
        "not the same object"
        in next(iter(explain_sections.compared([load_trace(folder), apart]))).says
    )
    assert not list(explain_sections.compared([load_trace(folder)]))


def test_bins_are_drawn_where_the_trace_has_them(folder):
    """In the coordinates of the image, whose first pixel covers 0 to 1."""
    one = load_trace(folder)
    axes = Figure().add_subplot()
    roi_pictures.on_image(axes, one, "box")
    drawn = axes.collections[-2].get_offsets()
    assert np.allclose(drawn, one.arrays["box_points"])
    assert axes.images[0].get_extent() == [0, 56, 40, 0]
    moved = replace(one, arrays={**one.arrays, "box_points": one.arrays["box_points"] + 1})
    axes = Figure().add_subplot()
    roi_pictures.on_image(axes, moved, "box")
    assert not np.allclose(axes.collections[-2].get_offsets(), one.arrays["box_points"])


def test_only_so_many_boxes_are_drawn_the_best_of_each_level():
    level = np.repeat([0, 1, 2], [500, 3, 100])
    rows = trace_pictures.of_each(level)
    assert np.bincount(level[rows]).tolist() == [40, 3, 40]
    assert rows[:40].tolist() == list(range(40))
    assert len(trace_pictures.of_each(level[:0])) == 0


def test_a_folder_without_a_trace_is_named(tmp_path, folder):
    with pytest.raises(ValueError, match="no trace there"):
        render_explain([tmp_path])
    for name in ("trace.json", "arrays.npz", "image.png"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    load_trace(tmp_path)
    (tmp_path / "arrays.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="not readable as a trace"):
        load_trace(tmp_path)
    (tmp_path / "trace.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="format 'other'"):
        load_trace(tmp_path)
    (tmp_path / "trace.json").write_text("[]")
    with pytest.raises(ValueError, match="not readable as a trace"):
        load_trace(tmp_path)


def test_overlaps():
    assert overlap([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert overlap([0, 0, 2, 2], [2, 2, 3, 3]) == 0


def test_components_are_written_as_in_python():
    value = {"is": "RoIAlign", "sampling_ratio": 2, "reduce": "mean"}
    assert said(value) == "RoIAlign(sampling_ratio=2, reduce='mean')"
    assert said({"is": "A", "b": {"is": "B"}, "trunk": {"is": "T"}}) == "A(b=B())"
    assert boxed([-0.01, 1.25, 2, 3]) == "0.0, 1.2, 2.0, 3.0"
