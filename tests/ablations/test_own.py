"""One's own question in a file: ten lines are enough, and a mistake is one line."""

import pytest

from ablations.grid import cells, named
from mrcnn.roi_ops import RoIAlign, RoIPool

GOOD = """
title = "Layers"
baseline = "r50_c4"
field = "model.roi_op"
[values]
pool = "RoIPool()"
align = "RoIAlign()"
max = 'RoIAlign(reduce="max")'
"""


def of(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return named(str(file))


def test_eight_lines_are_an_ablation(tmp_path):
    found = of(tmp_path, GOOD)
    assert found.values == {"pool": RoIPool(), "align": RoIAlign(), "max": RoIAlign(reduce="max")}
    assert found.baseline_row == "align"
    assert found.contrasts == (("pool", "align"), ("max", "align"))
    assert [c.state() for c in cells(found, "smoke", 1, tmp_path)] == ["to do"] * 3


def test_the_example_is_one():
    assert len(named("ablations/examples/sample_points.toml").values) == 3


@pytest.mark.parametrize(
    ("field", "row", "base", "found"),
    [
        ("model.class_agnostic_masks", "true", "false", True),
        ("model.rois_per_image", "128", "64", 128),
        ("model.mask_targets.threshold", "0.25", "0.5", 0.25),
        ("model.box_convention", '"inclusive"', '"continuous"', "inclusive"),
        ("train.schedule.milestones", "[0.5, 0.9]", "[0.75]", (0.5, 0.9)),
        ("train.clip", "3", '"None"', 3.0),
    ],
)
def test_values_may_be_of_tomls_own_types(tmp_path, field, row, base, found):
    text = f'title = "t"\nbaseline = "r50_c4"\nfield = "{field}"\n[values]\na = {row}\nb = {base}\n'
    assert of(tmp_path, text).values["a"] == found


def test_everything_else_can_be_said(tmp_path):
    more = """
question = "Which?"
source = "nobody"
table = "Table 9"
metrics = ["mask AP", "box AP"]
contrasts = [["max", "pool"]]
published_on = "elsewhere"
"""
    found = of(tmp_path, more + GOOD + "\n[published]\npool = [26.9]\nmax = [30, 31.5]\n")
    assert found.question == "Which?"
    assert found.metrics == ("mask AP", "box AP")
    assert found.contrasts == (("max", "pool"),)
    assert found.published == {"pool": (26.9,), "max": (30.0, 31.5)}


MISTAKES = {
    "field": (GOOD.replace("roi_op", "roi_opp"), "did you mean 'roi_op'"),
    "preset": (GOOD.replace("r50_c4", "r50_c44"), "baseline: .*did you mean 'r50_c4'"),
    "key": (GOOD.replace("title", "tittle"), "did you mean 'title'"),
    "missing": (GOOD.replace('field = "model.roi_op"\n', ""), "field missing: needs title"),
    "component": (GOOD.replace("RoIPool()", "RoIPol()"), "values, 'pool': .*mean 'RoIPool'"),
    "field of a value": (GOOD.replace("reduce=", "reduced="), "did you mean 'reduce'"),
    "type": (GOOD.replace('"RoIPool()"', "3"), "values, 'pool' must be .*RoIPool.*, got 3"),
    "choice": (GOOD.replace('"max"', '"min"'), "must be 'mean' or 'max', got 'min'"),
    "no baseline": (GOOD.replace('"RoIAlign()"', '"RoIWarp()"'), "the baseline's, RoIAlign"),
    "twice": (GOOD.replace('"RoIPool()"', '"RoIAlign()"'), "'pool' and 'align' have the same"),
    "metric": ('metrics = ["masks AP"]' + GOOD, "metrics: .*did you mean 'mask AP'"),
    "contrast": ('contrasts = [["pol", "max"]]' + GOOD, "did you mean 'pool'"),
    "contrast of three": ('contrasts = [["pool", "max", "align"]]' + GOOD, "contrasts must be"),
    "published": (GOOD + "[published]\npools = [3.0]", "did you mean 'pool'"),
    "published text": (GOOD + '[published]\npool = ["3"]', "published 'pool' must be"),
    "one row": (GOOD.split("align =")[0], "two rows or more"),
    "not a table": (GOOD.split("[values]")[0] + "values = 3", "values must be"),
    "not TOML": ("title = \n", "not readable as TOML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(mistake, tmp_path):
    text, said = MISTAKES[mistake]
    with pytest.raises(ValueError, match=said) as caught:
        of(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "defines no ABLATION"),
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
        ("x = (", "SyntaxError: "),
    ],
)
def test_a_python_file_without_an_ablation_is_named(text, said, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"mine.py: {said}"):
        named(str(file))


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"nowhere\.toml: no such file"):
        named("nowhere.toml")
