"""Where variants read, by hand."""

import pytest
from matplotlib.figure import Figure

from reports import grids
from tests.reports.made import grid

BOX = (8.0, 8.0, 24.0, 24.0)


def galleries(*per_image):
    """Image by image, the grids of two variants."""
    return {
        name: {"images": [{"roi_grid": one[k]} for one in per_image]}
        for k, name in enumerate(("a", "b"))
    }


def test_what_is_read_and_how_far_off_it_is():
    assert grids.box_read(grid(4, 26)) == (4, 4, 26, 26)
    assert grids.off_by(grid(8), BOX) == 0
    assert grids.off_by(grid(4, 26), BOX) == 4
    assert grids.places(grid(8)) == [(12, 12), (12, 20), (20, 12), (20, 20)]


def test_bins_that_overlap_read_a_point_once():
    shared = grid(8) | {"x": [[9, 10], [10, 11]], "y": [[9]]}
    assert grids.places(shared) == [(9, 9), (10, 9), (11, 9)]
    assert grids.places({"points": [[3, 4], [1, 2], [3, 4]]}) == [(1, 2), (3, 4)]


def test_the_object_that_is_read_most_differently_is_told():
    alike, near, far = (grid(8), grid(8)), (grid(8), grid(6)), (grid(8), grid(0))
    assert grids.telling(galleries(alike, near, far), [0, 1, 2]) == 2
    assert grids.telling(galleries(alike, near, far), [0, 1]) == 1
    assert grids.telling(galleries(alike), [0]) is None


def test_points_alone_make_a_difference():
    """One and four points a bin: the same bins, the same middle."""
    more = grid(8) | {"x": [[10, 14], [18, 22]], "y": [[10, 14], [18, 22]]}
    assert grids.telling(galleries((grid(8), more)), [0]) == 0


def test_grids_of_different_objects_are_not_laid_side_by_side():
    assert grids.of_image(galleries((grid(8), grid(8) | {"object": 1})), 0) is None
    assert grids.of_image(galleries((grid(8), None)), 0) is None


def test_the_window_holds_all_that_is_read():
    x1, y1, x2, y2 = grids.window([grid(0), grid(8, 30)], BOX)
    assert x1 < 0
    assert x2 > 30
    assert x2 - x1 == pytest.approx(y2 - y1)


def test_cells_are_drawn_where_the_map_has_its_borders():
    axes = Figure().add_subplot()
    grids.draw_cells(axes, grid(8) | {"origin": [-3, 0]}, (0, 0, 20, 20))
    across = sorted({x for line in axes.lines for x in line.get_xdata()} - {0, 1})
    assert across == [5, 13]
