"""The study of what fits, views and teachers buy: what is compared with what, and means of fits."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from alseg import JointCAMSegmenter, Objects
from alseg.datasets import make_discs
from benchmarks.studies import ceiling


def record(row, fold, fit, **scores):
    return {
        "row": row,
        "fold": fold,
        "fit": fit,
        "scores": {name.replace("_", " "): value for name, value in scores.items()},
        "seconds": {"fit": 10.0 * (fit + 1)},
    }


def some_records():
    dice = {0: 0.80, 1: 0.84}
    found = []
    for fold, value in dice.items():
        for fit in range(3):
            scores = {"1 x 1": value + 0.01 * fit, "1 x 4": value + 0.02, "1 x 8": value + 0.03}
            if fit:
                scores |= {f"{fit + 1} x {n}": value + 0.03 + 0.01 * fit for n in (4, 8)}
            found.append(record("300", fold, fit, **scores))
        taught = {"1 x 1": value + 0.03, "1 x 8": 0.9, "1 x 4": value + 0.06 + 0.01 * fold}
        found.append(record("taught", fold, 0, **taught))
    return found


def test_a_row_is_compared_with_the_masks_alone_by_folds():
    lines = {(line[0], *line[2:4]): line for line in ceiling.lines_of(some_records())}
    what, steps, fits, views, mean, *against, seconds = lines["masks alone, 300 steps", 1, 1]
    assert (steps, against, seconds) == (300, ["", "", 2], 20.0)
    assert mean == pytest.approx(83)  # of three fits: 81 and 85
    taught = lines[ceiling.ROWS["taught"].what, 1, 1]
    assert taught[4] == pytest.approx(85) and taught[5] == "+2.00" and taught[7] == 2
    three = lines["the first row, mean of fits and views", 3, 8]
    assert three[4] == pytest.approx(87) and three[5] == "+4.00" and three[-1] == 60.0
    # with four views against the first row with four views: 86 and 91, less 82 and 86
    views = lines[ceiling.ROWS["taught"].what + ", four views", 1, 4]
    assert views[4] == pytest.approx(88.5) and views[5] == "+4.50"
    # and against its teacher: 86 and 91, less 85 and 89
    less = lines[ceiling.ROWS["taught"].what + ", less its teacher", 1, 4]
    assert less[5] == "+1.50" and less[-1] is None
    text = ceiling.table(some_records())
    assert text.count("\n") == 2 + len(list(ceiling.lines_of(some_records())))


def test_a_student_of_larger_images_is_compared_with_its_teacher():
    records = [*some_records(), *(record("large", fold, 0, **{"1 x 4": 0.87}) for fold in (0, 1))]
    teachers = [
        {"row": "300", "all": every, "fold": fold, "scores": {"1 x 4": {"dice": dice}}}
        for every, fold, dice in ((False, 0, 0.88), (False, 1, 0.89), (True, 0, 0.99))
    ]
    [*_, less] = ceiling.lines_of(records, teachers)
    assert less[0] == ceiling.ROWS["large"].what + ", less its teacher"
    assert less[4] == pytest.approx(87) and less[5] == "-1.50"  # 87 twice, less 88 and 89


def test_a_student_of_more_steps_is_compared_with_as_many_of_the_masks_alone():
    records = [
        *(record("600", fold, 0, **{"1 x 1": 0.80, "1 x 4": 0.82}) for fold in (0, 1)),
        *(record("300", fold, 0, **{"1 x 1": 0.70, "1 x 4": 0.70}) for fold in (0, 1)),
        record("large-600", 0, 0, **{"1 x 1": 0.81, "1 x 4": 0.85}),
        record("large-600", 1, 0, **{"1 x 1": 0.84, "1 x 4": 0.84}),
    ]
    lines = {(line[0], line[3]): line[5] for line in ceiling.lines_of(records)}
    what = ceiling.ROWS["large-600"].what
    assert lines[what, 1] == "+2.50" and lines[what + ", four views", 4] == "+2.50"
    assert lines["600 steps", 1] == "+10.00"


def test_a_student_of_two_encoders_has_the_score_of_its_teacher():
    records = [
        record("two", fold, 0, **{"1 x 1": 0.8, "1 x 4": 0.84, "its teacher": 0.86 - 0.01 * fold})
        for fold in (0, 1)
    ]
    [*_, less] = ceiling.lines_of(records)
    assert less[0] == ceiling.ROWS["two"].what + ", less its teacher" and less[5] == "-1.50"


def test_second_sets_of_masks_are_of_the_same_folds():
    data = make_discs(20, (32, 32), random_state=0)
    for fold in range(5):
        train, test = ceiling.split(data, fold)
        for one, other in zip((train, test), ceiling.split(data, fold + 5), strict=True):
            np.testing.assert_array_equal(one, other)
        chosen = [ceiling.some_masks(data.labels, train, 4, k) for k in (fold, fold + 5)]
        assert chosen[0] != chosen[1]


def test_one_pair_has_no_interval():
    assert ceiling.compared({0: 1.0}, {0: 0.5, 1: 3.0}) == ("", "", 1)


def test_means_of_kept_fits_are_those_of_their_probabilities(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    labels, masks = np.array(["a", "b"] * 2), [np.eye(32, dtype=int)] * 4
    proba = []
    for fit in range(2):
        model = JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=fit, device="cpu")
        model.fit(images, labels, masks)
        place = ceiling.place_of(tmp_path, "300", 0, fit)
        place.parent.mkdir(exist_ok=True)
        model.save(place)
        proba.append(model.set_params(test_flips="dihedral").predict_mask_proba(images))
    members = ceiling.members_of(tmp_path, "300", 0, 2)
    mean = ceiling.mean_of(members, "dihedral").predict_mask_proba(images)
    np.testing.assert_allclose(mean, np.mean(proba, axis=0), atol=1e-5)
    assert ceiling.members_of(tmp_path, "300", 0, 3) is None
    assert ceiling.mean_of(members[:1], "none") is members[0]


def test_rows_differ_by_what_they_say():
    alone, taught = ceiling.model_of("300", 0, (96, 144)), ceiling.model_of("taught", 0, (96, 144))
    assert alone.weak_batch_size == 0 and alone.consistency is None
    assert alone.steps_per_epoch == taught.steps_per_epoch == 300
    assert taught.consistency.targets == "soft" and taught.consistency.cutmix == 0.5
    assert np.float32(ceiling.BELOW_ONE) < 1


def wide(fold, whole, dice, f1):
    scores = {f"1 x {n}": {"dice": dice + 0.01 * n, "f1": 0, "object_dice": 0} for n in (1, 4, 8)}
    of = {name: {"f1": f1, "object_dice": f1} for name in ceiling.PARTED}
    of["seams"] = {"f1": f1 + 0.02 * (fold + 1), "object_dice": f1}
    record = {"row": "300", "n_masks": 60 + fold if whole else 8, "all": whole, "fold": fold}
    return {**record, "fit": 0, "scores": scores, "separation": of}


def test_folds_at_full_size_compare_views_and_ways_of_telling_apart():
    records = [wide(0, False, 0.8, 0.5), wide(1, False, 0.9, 0.6), wide(0, True, 0.9, 0.7)]
    rows = [line.strip("| ").split(" | ") for line in ceiling.wide_lines(records)][2:]
    of = {tuple(cells[:4]): cells[4:] for cells in rows}
    assert of["8", "300", "1 view", "Dice"] == ["86.0", "", "", "2"]
    assert of["8", "300", "4 views", "Dice"] == ["89.0", "+3.00", "+3.00 to +3.00", "2"]
    seams = of["8", "300", ceiling.PARTED["seams"], "object F1"]
    assert seams[:2] == ["58.0", "+3.00"] and seams[3] == "2"  # 52 and 64, less 50 and 60
    assert of["all", "300", ceiling.PARTED["seams"], "object F1"] == ["72.0", "", "", "1"]
    assert [ceiling.key_of_wide(r) for r in records] == [
        (8, 300, 0, 0),
        (8, 300, 1, 0),
        (0, 300, 0, 0),
    ]
    assert ceiling.table([], (), records).count("\n") == 1 + 2 + len(rows)


def test_another_size_is_compared_with_the_first_on_the_same_folds():
    small = [wide(fold, False, 0.8, 0.5) for fold in (0, 1, 2)]
    large = [{**wide(k, False, 0.82 + 0.02 * k, 0.6), "canvas": [256, 384]} for k in (0, 1)]
    rows = [line.strip("| ").split(" | ") for line in ceiling.wide_lines(small + large)][2:]
    of = {tuple(cells[2:4]): cells[4:] for cells in rows}
    assert of["4 views", "Dice"][3] == "3"  # the first size alone
    larger = ", 256 x 384 less 192 x 288"
    assert of["4 views" + larger, "Dice"][:2] == ["87.0", "+3.00"]  # 86 and 88, less 84 twice
    assert of[ceiling.PARTED["borders"] + larger, "object F1"] == [
        "60.0",
        "+10.00",
        "+10.00 to +10.00",
        "2",
    ]
    assert ("connected parts" + larger, "object F1") not in of


def test_other_sizes_are_for_fits_at_a_size(capsys):
    with pytest.raises(SystemExit):
        ceiling.main(["--canvas", "256", "384"])
    assert "--canvas is for --wide, --test and --apart" in capsys.readouterr().err


def test_ways_of_telling_apart_are_those_of_the_library():
    discs = make_discs(6, (32, 48), n_discs=5, random_state=0)
    objects = Objects("border", mask_kind="instances", border_width=1.0)
    options = {"encoder": "tiny", "max_epochs": 4, "random_state": 0, "device": "cpu"}
    model = JointCAMSegmenter(objects=objects, **options)
    model.fit(discs.images, discs.labels, discs.instances)
    found = ceiling.separation(model, (None, list(discs.images), list(discs.instances)))
    assert set(found) == set(ceiling.PARTED)
    for name, (least, seam) in ceiling.APART.items():
        model.set_params(objects__inside=least, objects__seam=seam)
        assert found[name]["f1"] == model.score_objects(discs.images, discs.instances)


def test_the_curve_is_drawn_of_what_two_folds_have(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **how: drawn.append(figure))
    ceiling.curve([*some_records(), record("600", 0, 0, **{"1 x 1": 0.9})], tmp_path / "c.png")
    [figure] = drawn
    [axes], [legend] = figure.axes, figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    taught = ceiling.ROWS["taught"].what
    assert said == ["a  masks alone, 300 steps (2 folds)", f"d  {taught} (2 folds)"]
    at = [line.get_xydata()[0] for line in axes.lines if line.get_marker() in "os"]
    # Of three fits 81 and 85, with four views 82 and 86; the taught one 83 and 87, then 86 and 91.
    np.testing.assert_allclose(at, [(20, 0), (20, 1), (10, 2), (10, 5.5)])


def test_a_line_of_the_test_images_has_both_parts():
    parts = {"": 0.9, "testA": 0.91, "testB": 0.85}
    found = {k: {"dice": v, "f1": v - 0.1, "object_dice": v - 0.2} for k, v in parts.items()}
    made = {"n_masks": 8, "seed": 2, "fit": 0, "seconds": {"fit": 500}, "scores": {"1 x 4": found}}
    text = list(ceiling.tested_lines([made]))
    assert text[2] == "| 8 | 2 | 1 x 4 | 90.0 | 91.0 | 85.0 | 81.0 | 75.0 | 71.0 | 65.0 | 500 |"
    assert text[0].count("|") == text[2].count("|") and len(text) == 6
    made["separation"] = {
        "borders": {"f1": 0.5, "object_dice": 0.6},
        "parts": {"f1": 0, "object_dice": 0},
    }
    assert list(ceiling.tested_lines([made]))[-2] == "| borders learned | 8 | 2 | 0 | 50.0 | 60.0 |"


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    """Twenty made images in place of GlaS', with a network that is fitted at once."""
    discs = make_discs(20, (32, 48), n_discs=4, random_state=0)
    images, ids = list(discs.images), list(discs.instances)
    true_model = ceiling.model_of

    def model_of(row, seed, canvas, teacher=None):
        model = true_model(row, seed, (32, 48), teacher)
        return model.set_params(encoder="tiny", steps_per_epoch=1)

    out = tmp_path_factory.mktemp("ceiling")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceiling, "read", lambda folder, fold: {"train": (discs, images, ids)})
        patch.setattr(ceiling, "model_of", model_of)
        patch.setattr(ceiling, "WIDE_STEPS", 1)
        patch.setattr(ceiling, "N_SOURCE", 8)
        patch.setattr(ceiling, "find_data", lambda name: "a folder")
        patch.setattr(ceiling, "load_folder", lambda folder: SimpleNamespace(all=discs))
        patch.setattr(
            ceiling,
            "foreground_arrays",
            lambda data, idx, size: (discs.images[idx], discs.masks[idx]),
        )
        for row in (ceiling.CONTROL, ceiling.LITE2):
            for fit in range(ceiling.ROWS[row].fits):
                ceiling.run_folds([(row, 0, fit)], None, out)
        yield out


@pytest.mark.parametrize("row", [row for row in ceiling.ROWS if row != ceiling.TISSUE])
def test_each_row_gives_a_record(row, small_study):
    fit = ceiling.ROWS[row].fits - 1
    [found] = ceiling.run_folds([(row, 0, fit)], None, small_study)
    assert ceiling.key_of(found) == (row, 0, fit)
    wanted = {f"1 x {n}" for n in ceiling.VIEWS.values()}
    wanted |= {f"{fit + 1} x {n}" for n in (4, 8)} if fit else set()
    wanted |= {"its teacher"} if row == ceiling.TWO else set()
    assert found["scores"].keys() == wanted
    assert all(0 <= score <= 1 for score in found["scores"].values())
    assert found["gradient_steps"] == 1 and found["n_masks"] == 8


def test_a_fit_at_a_size_gives_a_record(small_study):
    [found] = ceiling.run_wide([(8, 1, 0, 0)], None, small_study / "wide-64x96", (64, 96))
    assert found["canvas"] == (64, 96) and not found["all"]
    assert ceiling.key_of_wide(found) == (8, 1, 0, 0)
    assert found["separation"].keys() == set(ceiling.PARTED)
