"""Findings of a study: paired by seed, over images where there are matches, judged as a table."""

import numpy as np
import pytest

from reports import stats
from reports.resample import ap, image_variance
from reports.table import comparison, contrasts, difference
from tests.reports import scored, tables


def test_rows_are_paired_by_seed_number_however_many_they_have():
    a = tables.row("a", [10, 20, "failed", 40, 50])
    b = tables.row("b", [9, None, 30, 38])
    found = difference(a, b, "mask AP")
    assert (found.value, found.count) == (1.5, 2)
    again = difference(b, a, "mask AP")
    assert (again.value, again.p) == (-1.5, found.p)
    assert difference(a, tables.row("c", [None]), "mask AP") is None
    assert difference(a, b, "box AP") is None


@pytest.fixture
def runs(tmp_path):
    """Two rows of three seeds with matches of the same 40 images, and those matches."""
    kept = {"base": [], "better": []}
    for seed in range(3):
        for name, skill in (("base", 0.0), ("better", 0.05 + 0.02 * seed)):
            kept[name].append(scored.drawn(np.random.default_rng(0), 40, skill))
            scored.save(kept[name][-1], tmp_path / f"{name}{seed}")
    ones = np.ones(40)
    values = {name: [ap(m, "mask", ones)[0] for m in ms] for name, ms in kept.items()}
    return kept, tables.study(values, {"base": 20.0, "better": 25.0}, folder=tmp_path)


def test_with_matches_the_noise_of_images_counts_too(runs):
    kept, study = runs
    (found,) = contrasts(study)
    noise = image_variance(kept["better"], kept["base"], "mask AP")
    assert found.ours.images == pytest.approx(2.0227 * noise**0.5, rel=1e-4)  # t(0.975, 39)
    assert found.ours.both == pytest.approx(np.hypot(found.ours.seeds, found.ours.images))
    assert found.ours.over == "seeds and test images"
    assert f" ± {found.ours.both:.1f}" in found.ours.signed()
    assert contrasts(study) == [found]


def test_one_run_without_matches_leaves_seeds_alone(runs, tmp_path):
    _, study = runs
    (tmp_path / "base1" / "matches.npz").unlink()
    (found,) = contrasts(study)
    assert (found.ours.images, found.ours.both) == (None, None)
    assert found.ours.over == "seeds"


def test_a_broken_file_is_named(runs, tmp_path):
    (tmp_path / "base1" / "matches.npz").write_text("nothing")
    with pytest.raises(ValueError, match=r"base1.matches.npz: not a file of matches"):
        contrasts(runs[1])


def test_a_metric_that_matches_do_not_hold_has_seeds_alone(runs, tmp_path):
    rows = [tables.row(n, [30, 31, 33 + i], "mask AR", tmp_path) for i, n in enumerate(runs[0])]
    assert difference(*rows, "mask AR").over == "seeds"


def test_other_metrics_are_findings_too(runs, tmp_path):
    rows = tuple(
        tables.row(n, [30 + 2 * i, 31, 33], "mask AP50", tmp_path) for i, n in enumerate(runs[0])
    )
    published = {"base": (20.0, 40.0), "better": (25.0, 41.5)}
    study = tables.study({"base": [], "better": []}, {}, rows=rows)
    study = type(study)(**{**vars(study), "metrics": ("mask AP", "mask AP50")})
    study = type(study)(**{**vars(study), "published": published})
    (found,) = contrasts(study, "mask AP50")
    assert found.published == 1.5
    assert found.ours.over == "seeds and test images"


def test_the_table_is_judged_as_one(monkeypatch):
    scores = {"base": [30, 31, 32], "a": [34, 35.3, 36], "b": [34, 36, 37], "c": [34, 33, 38]}
    study = tables.study(scores, {"base": 20.0, "a": 25.0, "b": 25.0})
    found = contrasts(study)
    p = [c.ours.p for c in found]
    assert [c.adjusted_p for c in found] == stats.holm(p)
    assert [c.verdict for c in found][::2] == ["reproduced", "nothing published"]
    assert found[0].adjusted_p == pytest.approx(3 * p[0])


def test_a_sweep_that_could_stop_pays_for_its_looks():
    scores = {"base": [30, 31, 32], "a": [34, 35.3, 36]}
    paper = {"base": 20.0, "a": 25.0}
    (fixed,) = contrasts(tables.study(scores, paper))
    (chosen,) = contrasts(tables.study(scores, paper, looks=stats.LOOKS))
    assert chosen.adjusted_p == pytest.approx(fixed.adjusted_p * 0.05 / 0.03)
    assert chosen.ours.seeds > fixed.ours.seeds
    assert chosen.ours.value == fixed.ours.value
    changes = comparison(tables.study(scores, paper, looks=stats.LOOKS))["ours", "change"]
    assert changes["a"] == chosen.ours.signed()
