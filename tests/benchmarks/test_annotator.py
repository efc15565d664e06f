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


class LatePage:
    """Of the robot, what draws: a proposal comes while the first stroke is drawn."""

    def __init__(self, late):
        self.shown, self.late = None, late

    def proposal(self, image):
        return self.shown

    def draw(self, image, strokes):
        self.shown = self.late
        mask = np.full(self.late.shape, MISSING, np.int16)
        for stroke in strokes:
            paint(mask, stroke)
        return mask


def test_who_corrects_looks_at_a_proposal_that_came_late():
    truth, late = np.zeros((2, 40, 40), np.int16)
    truth[10:30, 10:20] = late[5:15, 25:39] = 1
    image = {"name": "images/0/0000.png", "height": 40, "width": 40}
    oracle = annotator.expert("corrections", [truth], 0)
    shown, drawing, kind, mask = annotator.drawn(LatePage(late), "corrections", oracle, image)
    assert shown is late and kind == "all"
    kept = np.where(mask == MISSING, late, mask)
    np.testing.assert_array_equal(drawing.mask, kept)
    assert np.count_nonzero(kept != truth) < 40  # of 340; corners are within the tolerance
    blank = oracle.correct(0, np.zeros_like(truth))
    again = oracle.correct(0, np.where(blank.corrected, blank.mask, late))
    assert len(drawing.strokes) == len(blank.strokes) + len(again.strokes)
    assert drawing.cost.clicks == len(drawing.strokes) + 1
    assert drawing.cost.seconds == pytest.approx(blank.cost.seconds + again.cost.seconds)


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
