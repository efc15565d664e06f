"""Oracles that say what a person would: right, repeatable, at a cost counted by hand."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from waiting import HANG

import alseg
from alseg.datasets import make_glands
from alseg.labels import MISSING
from alseg.oracles import (
    CorrectionOracle,
    PatchOracle,
    PointOracle,
    Stroke,
    StrokeOracle,
    paint,
)
from alseg.query import AnnotationCost
from alseg.testing import check_oracle

PAGE = Path(alseg.__file__).parent / "annotate" / "page"


def halves(height=40, width=60):
    """Background left, class 1 right."""
    truth = np.zeros((height, width), int)
    truth[:, width // 2 :] = 1
    return truth


def blobs(seed, shape=(16, 21), n_classes=3):
    """A map of classes in lumps of all sizes, some of it unknown."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((n_classes, *shape)), (0, 2, 2))
    truth = smooth.argmax(axis=0)
    truth[rng.random(shape) < 0.02] = MISSING
    return truth


def oracles(masks, seed=0):
    proposals = [np.roll(mask, 3, axis=1) for mask in masks]
    return [
        PointOracle(masks, 5, random_state=seed),
        PatchOracle(masks, random_state=seed),
        StrokeOracle(masks, 2, 2, length=20, random_state=seed),
        CorrectionOracle(masks, proposals, tolerance=0, min_area=1),
        CorrectionOracle(masks, proposals, tolerance=0, min_area=1, max_strokes=2),
    ]


@pytest.mark.parametrize("number", range(5))
def test_they_keep_the_contract(number):
    glands = make_glands(4, image_size=(32, 32), random_state=0)
    oracle = oracles(glands.masks)[number]
    check_oracle(oracle, glands.images, n_mask_classes=2)
    assert oracle.log[0] == [0, 1] and oracle.cost.images == sum(map(len, oracle.log))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=10)
def test_what_is_said_is_true_and_made_of_the_strokes(seed):
    truth = blobs(seed)
    for oracle in oracles([truth], seed):
        drawing = oracle.draw(0)
        said = drawing.mask != MISSING
        assert said.any()
        np.testing.assert_array_equal(drawing.mask[said], truth[said])
        if drawing.strokes and not getattr(drawing, "confirmed", False):
            again = np.full(truth.shape, MISSING)
            for stroke in drawing.strokes:
                paint(again, stroke)
            np.testing.assert_array_equal(again, drawing.mask)
        assert drawing.cost.pixels == said.sum()
        twice = oracle.draw(0)
        np.testing.assert_array_equal(twice.mask, drawing.mask)
        assert len(twice.strokes) == len(drawing.strokes)


def test_another_seed_says_something_else():
    masks = [blobs(0)]
    for kind in (PointOracle, PatchOracle, StrokeOracle):
        one, other, same = (kind(masks, random_state=seed)([0]) for seed in (0, 1, 0))
        assert (one != other).any() and (one == same).all()


# -- strokes --


@given(
    st.lists(st.tuples(st.floats(-9, 30), st.floats(-9, 40)), min_size=1, max_size=5),
    st.integers(1, 9),
)
@settings(deadline=None, max_examples=60)
def test_a_stroke_covers_what_is_near_its_way(points, width):
    points = np.array(points)
    mask = paint(np.zeros((20, 30), int), Stroke(points, width, 1))
    middles = np.floor(points) + 0.5 if width % 2 else np.floor(points + 0.5)
    centres = np.stack(np.mgrid[:20, :30], axis=-1) + 0.5
    expected = np.zeros((20, 30), bool)
    for a, b in zip(middles, middles[1:] if len(middles) > 1 else middles, strict=False):
        along = (centres - a) @ (b - a) / max((b - a) @ (b - a), 1e-12)
        foot = a + np.clip(along, 0, 1)[..., None] * (b - a)
        expected |= np.hypot(*np.moveaxis(centres - foot, -1, 0)) <= width / 2 + 1e-9
    np.testing.assert_array_equal(mask == 1, expected)


@pytest.mark.skipif(not shutil.which("node"), reason="not installed: node")
def test_a_stroke_covers_what_the_page_would_paint():
    rng = np.random.default_rng(0)
    strokes = [
        Stroke(rng.uniform(-5, 45, (rng.integers(1, 6), 2)), int(rng.integers(1, 20)), k)
        for k in range(1, 40)
    ]
    script = f"""
        import {{ Editor }} from {json.dumps((PAGE / "editor.js").as_uri())};
        const editor = new Editor(40, 30);
        for (const [points, brush, value] of JSON.parse(process.argv[1])) {{
            editor.stroke(points.map(([y, x]) => ({{ x, y }})), brush, value);
        }}
        console.log(JSON.stringify([...editor.marks]));
    """
    given = json.dumps([[stroke.points.tolist(), *stroke[1:]] for stroke in strokes])
    command = ["node", "--input-type=module", "-e", script, given]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG)
    mask = np.full((30, 40), 255)
    for stroke in strokes:
        paint(mask, stroke)
    np.testing.assert_array_equal(np.reshape(json.loads(ran.stdout), (30, 40)), mask)


def test_what_is_no_stroke_is_refused():
    with pytest.raises(ValueError, match="stroke.points must be rows and columns of one point"):
        paint(np.zeros((2, 2), int), Stroke(np.zeros((0, 2)), 1, 1))
    with pytest.raises(ValueError, match="stroke.width must be"):
        paint(np.zeros((2, 2), int), Stroke(np.zeros((1, 2)), 0, 1))


# -- each of them --


def test_points_are_single_pixels_at_their_price():
    oracle = PointOracle([halves(), np.array([[0, MISSING, 1]])], n_points=4, random_state=0)
    mask = oracle([0])[0]
    assert (mask != MISSING).sum() == 4
    assert oracle.cost == AnnotationCost(1, 4, 4, pytest.approx(2.4 + 3 * 0.9))
    assert oracle([1]).tolist() == [[[0, MISSING, 1]]]  # all that is known
    assert oracle.n_strokes == 6


def test_points_are_a_fair_sample():
    truth = np.zeros((1, 30, 40), int)
    truth[0, :, :10] = 1
    shares = [(PointOracle(truth, 40, random_state=s)([0]) == 1).sum() / 40 for s in range(200)]
    error = np.sqrt(0.25 * 0.75 / 40 / 200)  # without replacement it is a little less
    assert abs(np.mean(shares) - 0.25) < 4 * error


def test_a_patch_is_a_window_at_the_price_of_its_outlines():
    truth = np.zeros((1, 30, 30), int)
    truth[0, :, 10:20] = 1
    drawing = PatchOracle(truth, share=0.25, random_state=0).draw(0)
    rows, columns = np.nonzero(drawing.mask != MISSING)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (15, 15) == (len(set(rows)),) * 2
    everything = PatchOracle(truth, share=1).draw(0)
    np.testing.assert_array_equal(everything.mask, truth[0])
    assert everything.cost == AnnotationCost(1, 900, 4, pytest.approx(1 + 4 * 0.9))


def test_strokes_go_along_both_sides_of_a_border():
    truth = halves()
    oracle = StrokeOracle([truth], 0, 1, width=5, clearance=2, jitter=0, length=20, random_state=3)
    drawing = oracle.draw(0)
    assert sorted(stroke.value for stroke in drawing.strokes) == [0, 1]
    assert all(stroke.width == 5 for stroke in drawing.strokes)
    rows, left = np.nonzero(drawing.mask == 0)
    assert 28 - 2 <= left.max() <= 28  # two pixels are clear of the border between 29 and 30
    assert np.ptp(rows) > 15
    right = np.nonzero(drawing.mask == 1)[1]
    assert 31 <= right.min() <= 33
    assert drawing.cost.seconds == pytest.approx(1 + 2 * 10.9)


def test_strokes_go_along_the_middle():
    truth = np.zeros((30, 90), int)
    truth[10:20, 5:85] = 1
    oracle = StrokeOracle([truth], 1, 0, width=3, jitter=0, length=40, random_state=0)
    [stroke] = [stroke for stroke in oracle.draw(0).strokes if stroke.value == 1]
    rows = stroke.points[:, 0]
    assert (np.abs(rows[len(rows) // 4 : -len(rows) // 4] - 15) <= 1).all()


def test_a_shaking_hand_stays_inside():
    truth = halves()
    calm, shaking = (
        StrokeOracle([truth], 1, 1, jitter=jitter, random_state=0).draw(0) for jitter in (0, 2.0)
    )
    assert (calm.mask != shaking.mask).any()
    said = shaking.mask != MISSING
    np.testing.assert_array_equal(shaking.mask[said], truth[said])


def test_an_image_of_one_class_has_no_border_and_still_an_answer():
    drawing = StrokeOracle([np.ones((20, 20), int)], 0, 2, random_state=0).draw(0)
    assert (drawing.mask == 1).any() and len(drawing.strokes) == 1


def test_the_largest_error_is_corrected_first_and_all_of_it_in_the_end():
    truth = np.zeros((60, 90), int)
    truth[5:15, 5:15] = truth[25:55, 40:80] = 1
    empty = np.zeros_like(truth)
    oracle = CorrectionOracle([truth], max_strokes=1)
    first = oracle.draw(0)
    assert not first.confirmed and (first.mask[25:55, 40:80] == 1).any()
    assert not (first.mask[5:15, 5:15] == 1).any()
    np.testing.assert_array_equal(first.corrected, first.mask != MISSING)
    careful = CorrectionOracle([truth], tolerance=0, min_area=1).correct(0, empty)
    assert careful.confirmed
    np.testing.assert_array_equal(careful.mask, truth)
    quick = CorrectionOracle([truth]).correct(0, empty)
    assert quick.confirmed and len(quick.strokes) < len(careful.strokes)
    deep = ndimage.distance_transform_edt(np.where(truth, truth, 0)) > 2
    pieces, n = ndimage.label((quick.mask != truth) & deep, np.ones((3, 3)))
    assert (np.bincount(pieces.ravel())[1:] < 16).all()
    n = len(quick.strokes)
    dots = sum(len(stroke.points) == 1 for stroke in quick.strokes)
    assert quick.cost == AnnotationCost(
        1, truth.size, n + 1, pytest.approx(1 + 10.9 * (n - dots) + 0.9 * dots)
    )


def test_what_is_right_is_confirmed_without_a_stroke():
    truth = halves()
    found = CorrectionOracle([truth]).correct(0, truth)
    assert found.confirmed and found.strokes == [] and not found.corrected.any()
    assert found.cost == AnnotationCost(1, truth.size, 1, 1.0)


def test_proposals_of_a_model_are_asked_for_once():
    truth, asked = np.stack([halves(), halves()[:, ::-1]]), []

    def propose(sample_ids):
        asked.append(sample_ids.tolist())
        return truth[sample_ids]

    oracle = CorrectionOracle(truth, propose)
    np.testing.assert_array_equal(oracle([1, 0]), truth[::-1])
    assert asked == [[1, 0]] and oracle.n_strokes == 0 and oracle.cost.clicks == 2


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda m: PointOracle(m, 0), ValueError, "n_points must be"),
        (lambda m: PatchOracle(m, 0), ValueError, "share must be"),
        (lambda m: StrokeOracle(m, width=4), ValueError, "width must be odd, got 4. Take 5"),
        (lambda m: StrokeOracle(m, 0, 0), ValueError, r"n_strokes \+ n_borders must be"),
        (lambda m: CorrectionOracle(m, widths=(2,)), ValueError, "widths must be odd"),
        (lambda m: CorrectionOracle(m, max_strokes=0), ValueError, "max_strokes must be"),
        (lambda m: CorrectionOracle(m).correct(0, np.zeros((1, 1))), ValueError, "proposal must"),
        (lambda m: StrokeOracle(m, seconds_per_stroke=-1), ValueError, "seconds_per_stroke must"),
        (lambda m: PointOracle([None])([0]), ValueError, "ids of images with ground truth"),
        (lambda m: PointOracle(None), TypeError, "masks must be a sequence of masks"),
    ],
)
def test_what_cannot_be_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make([halves()])


def test_a_refused_call_costs_nothing():
    oracle = PointOracle([halves(), None], random_state=0)
    with pytest.raises(ValueError, match=r"ids of images with ground truth, got \[1\]"):
        oracle([0, 1])
    assert oracle.log == [] and oracle.cost == AnnotationCost(0, 0, 0, 0.0)
