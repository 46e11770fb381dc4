"""The probe's page: numbers by hand, and a broken file named."""

import json

import pytest

from reports.equivariance import FILE, lines, render

FOUND = {
    "layer": {
        "stride": 4,
        "shift": [0, 2, 4],
        "layers": ["b", "a"],
        "error": {"a": [0, 0.5, 0], "b": [0, 0.25, 0]},
    },
    "network": {"stride": 4, "shift": [0, 2, 4], "objects": 3, "mask IoU": [1, 0.5, 0.9]},
    "about": "A network",
    "command": "python -m ablations probe equivariance --out x",
}


def test_means_and_worst_by_hand():
    text = list(lines(FOUND))
    rows = [line for line in text if line.startswith(("| b", "| a", "| mask"))]
    assert rows == [
        "| b | 0.250 | 0.250 | 0.000 |",
        "| a | 0.500 | 0.500 | 0.000 |",
        "| mask IoU | 0.700 | 0.500 |",
    ]


def test_the_page_is_the_same_for_the_same_result(tmp_path):
    (tmp_path / FILE).write_text(json.dumps(FOUND))
    first = [path.read_bytes() for path in render(tmp_path)]
    assert [path.read_bytes() for path in render(tmp_path)] == first


def test_a_broken_result_is_named(tmp_path):
    with pytest.raises(ValueError, match="equivariance.json: not a result"):
        render(tmp_path)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(ValueError, match="equivariance.json: not a result"):
        render(tmp_path)
