"""Definitions: one field, all rows distinct, mistakes refused."""

from dataclasses import replace

import pytest

from ablations.grid import cells, named, names
from mrcnn.presets import SCALES
from mrcnn.provenance import trial_id
from mrcnn.roi_ops import RoIPool
from mrcnn.spec import diff


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("scale", SCALES)
def test_rows_differ_from_the_baseline_in_the_field_alone(name, scale):
    ablation = named(name)
    rows = {row: trial for row, _, trial in ablation.trials(scale, 1)}
    base = rows[ablation.baseline_row]
    for row, trial in rows.items():
        paths = [path for path, _, _ in diff(base, trial)]
        assert all(path.startswith(ablation.field) for path in paths), paths
        if name == "implementations" and scale != "coco":
            continue  # counts and polygons are the same for all at a small scale
        assert bool(paths) == (row != ablation.baseline_row)


@pytest.mark.parametrize("name", names())
def test_every_trial_has_an_id_of_its_own(name):
    scale = "coco" if name == "implementations" else "small"  # some of its rows are one when small
    ids = [trial_id(t, "data") for _, _, t in named(name).trials(scale, 3)]
    assert len(set(ids)) == len(ids) == 3 * len(named(name).values)


def test_the_field_is_varied_before_the_scale_is_applied():
    """A head of 1024 becomes one of 256 at the small scale, in every row."""
    rows = {row: t for row, _, t in named("mask_head").trials("small", 1)}
    assert rows["MLP, 3 layers"].model.mask_head.widths == (256, 256, 256)
    assert rows["FCN"].model.mask_head.width == 48


def test_table_2c_is_the_papers():
    published = named("roi_layer").published
    assert published["RoIPool, max"] == (26.9, 48.8, 26.4)
    assert published["RoIAlign, mean"] == (30.3, 51.2, 31.5)


def test_tables_that_make_no_sense_are_refused():
    ablation = named("roi_layer")
    with pytest.raises(ValueError, match="baseline"):
        replace(ablation, values={"RoIPool, max": RoIPool()}, published={}, contrasts=())
    with pytest.raises(ValueError, match="did you mean 'RoIPool, max'"):
        replace(ablation, published={"RoIPol": (1.0,)})
    with pytest.raises(ValueError, match="no field|did you mean"):
        replace(ablation, field="model.roi_opp")


def test_ones_own_ablation_takes_ten_lines(tmp_path):
    file = tmp_path / "samples.py"
    file.write_text(
        """from dataclasses import replace
from ablations.roi_layer import ABLATION as BASE
ABLATION = replace(
    BASE,
    title="Sample points",
    question="How many samples does a bin need?",
    field="model.roi_op.sampling_ratio",
    values={"1": 1, "4": 2, "9": 3},
    published={},
    contrasts=(("4", "1"),),
)
"""
    )
    grid = cells(named(str(file)), "smoke", 1, tmp_path)
    assert [cell.trial.model.roi_op.sampling_ratio for cell in grid] == [1, 2, 3]
    assert [cell.state() for cell in grid] == ["to do"] * 3
