"""The robot that annotates in the real page: what its pointer draws is what is kept."""

import numpy as np
import pytest
from webdriver import MISSING_PROGRAMS

from alseg.labels import MISSING
from alseg.oracles import Stroke, paint
from benchmarks import annotator
from benchmarks.core.page_robot import straightened


def test_a_path_without_its_straight_steps_covers_the_same(rng):
    for _ in range(50):
        steps = np.repeat(rng.integers(-1, 2, (6, 2)), rng.integers(1, 4, 6), axis=0)
        points = np.cumsum(steps, axis=0) + 15.5
        thin = straightened(points)
        assert len(thin) <= len(points)
        masks = [paint(np.zeros((40, 40)), Stroke(path, 5, 1)) for path in (points, thin)]
        np.testing.assert_array_equal(*masks)


def test_the_table_says_what_the_page_gained():
    point = {"marks": 8, "strokes": 80, "expert_seconds": 600, "wall_seconds": 60, "dice": 71.0}
    record = {"data": "glas", "way": "strokes", "training": True, "n_images": 67, "page": [point]}
    record["library"] = [{"marks": 8, "strokes": 81, "expert_seconds": 660, "dice": 70.5}]
    line = "| glas | strokes | yes | 67 | 8 | 80 | 10.0 | 71.0 | 81 | 11.0 | 70.5 | +0.5 |"
    assert line in annotator.table([record])


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING_PROGRAMS), reason=f"not installed: {MISSING_PROGRAMS}")
@pytest.mark.parametrize("way", annotator.WAYS)
def test_what_the_robot_draws_in_the_page_is_kept(way, tmp_path):
    pool, _ = annotator.parts_of("made", 5, 1)
    root = tmp_path / "slides"
    annotator.write_folder(root, pool)
    rows, copies, errors, training = annotator.annotate(way, pool, tmp_path / "state", root, 3, 2)
    assert training and errors == [] and list(copies) == [2, 3]
    assert len({row["image"] for row in rows}) == 3
    assert [(row["lost"], row["differs"]) for row in rows] == [(0, 0)] * 3
    expert = annotator.expert(way, list(pool.masks), 0)
    for n, copy in copies.items():
        masks = annotator.marks_in(copy, root, pool)
        assert sum(mask is not None for mask in masks) == n
        for row in rows[:n]:
            empty = np.zeros(pool.masks[0].shape, int)
            drawing, _ = annotator.said(way, expert, row["image"], empty)
            if not row["proposed"] and way != "points":
                np.testing.assert_array_equal(masks[row["image"]], drawing.mask)
            if row["answer"] == "marks":
                said = masks[row["image"]] != MISSING
                np.testing.assert_array_equal(
                    masks[row["image"]][said], pool.masks[row["image"]][said]
                )
