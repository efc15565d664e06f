"""The benchmarks of published methods: published constants, data checks, plans, counts."""

import dataclasses
import importlib
import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alseg.experiment import read_records
from alseg.pseudo import most_pseudo_masks
from benchmarks.core import run_study
from benchmarks.core.parts import BadData, Wanted, check_parts, fewer, shrunk
from benchmarks.core.run_study import OutOfTime, main, time_limit
from benchmarks.core.runner import run_missing
from benchmarks.core.study import (
    differences,
    make_parser,
    make_plan,
    name_on_data,
    read_options,
    short_differences,
)
from benchmarks.core.study_results import command_of, write_origin, write_results
from benchmarks.core.study_tables import pairs_table, pseudo_table, share_table, subset_table
from benchmarks.core.work import cost_of_image, fit_size, n_draws_of, work_of


def parts_of(n_train=10, n_valid=4, n_test=4, size=(90, 100), classes=("a", "b")):
    """Parts of black images with a square, a class each in turn."""
    from alseg.datasets import Dataset

    def part(name, n):
        masks = np.zeros((n, *size), np.int16)
        masks[:, 20:60, 30:80] = 1
        images = np.zeros((n, *size, 3), np.uint8)
        labels = np.array(classes)[np.arange(n) % len(classes)]
        return Dataset(images, labels, masks, name=f"toy.{name}")

    sizes = {"train": n_train, "valid": n_valid, "test": n_test}
    return {name: part(name, n) for name, n in sizes.items()}


def paper(name, profile="paper"):
    study = script(name).STUDY
    return {"profile": profile, "rows": None, **study.profiles[profile]}


def write_folder(root, splits, *, masks=True, labels=("a", "b"), size=(90, 100)):
    """A folder with a manifest: an image of each class in each split, and its mask."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = ["image,mask,label,split"]
    for split in splits:
        for label in labels:
            name = f"{split}-{label}.png"
            Image.new("RGB", size[::-1], "grey").save(root / "images" / name)
            mask = ""
            if masks:
                square = Image.new("L", size[::-1])
                square.paste(255, (20, 20, 60, 60))
                square.save(root / "masks" / name)
                mask = f"masks/{name}"
            lines.append(f"images/{name},{mask},{label},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def script(name):
    return importlib.import_module(f"benchmarks.studies.{name}")


# -- the published constants ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, asked, weight, training, classifier",
    [
        (
            "belharbi_glas",
            (8, 2, 24),
            0.1,
            (0.1, 1000, 20, ("step", 100, 0.9)),
            {"lr": 1e-4, "max_epochs": 1000, "lr_schedule": ("step", 100, 0.9)},
        ),
        (
            "belharbi_cub",
            (200, 200, 19),
            0.001,
            (0.1, 30, 8, ("step", 10, 0.95)),
            {"lr": 0.01, "max_epochs": 90, "lr_schedule": ("step", 10, 0.9)},
        ),
    ],
)
def test_paper_profile_of_belharbi_has_the_published_constants(
    name, asked, weight, training, classifier
):
    module, options = script(name), paper(name)
    parts = parts_of(67)
    model, rows, protocol = module.STUDY.build(parts, options)
    assert (protocol.initial, protocol.n_instances, protocol.rounds) == asked
    assert protocol.class_balanced and not protocol.warm_start
    assert options["seeds"] == (0, 1, 2, 3, 4)
    assert (model.lr, model.max_epochs, model.batch_size, model.schedule.lr_schedule) == training
    assert model.crop == {"size": 416, "scale": 0.9, "min_side": 432, "pad": 0.01}
    assert (model.threshold, model.schedule.keep_epoch, model.schedule.phases) == (
        "validation",
        "validation",
        "two-phase",
    )
    assert model.schedule.start_from == "classifier" and not model.execution.amp
    propagation = rows["label propagation"].augmenter
    assert (propagation.k, propagation.weight, propagation.selection) == (40, weight, "neighbours")
    dropout = rows["MC-dropout"]
    assert dropout.estimator.network.dropout == 0.2
    assert inspect.signature(dropout.strategy).parameters["n_draws"].default == 50
    first = module.STUDY.classifier(parts, options)
    assert first.schedule.class_phase == classifier
    assert first.schedule.start_from is None and first.encoder_weights == "imagenet"
    assert differences(module.STUDY, options) == []


def test_controls_take_the_steps_of_label_propagation_or_its_batches():
    options = paper("belharbi_glas")
    module = script("belharbi_glas")
    model, rows, _ = module.STUDY.build(parts_of(67), options)
    # Two passes over 67 images in batches of 20: eight steps an epoch, however few the masks.
    longer = rows[module.LONGER].estimator
    assert fit_size(longer, 8, 67) == (8000, 64000, 1000)
    assert fit_size(model, 8, 67, n_pseudo=59)[0] * 2 == 8000
    assert 0 < rows[module.NO_WEIGHT].augmenter.weight < 1e-6


def test_paper_profile_of_ceal_has_the_published_constants():
    options = paper("ceal_isic")
    model, rows, protocol = script("ceal_isic").STUDY.build(parts_of(), options)
    assert (protocol.initial, protocol.n_instances, protocol.rounds) == (600, 35, 10)
    assert protocol.warm_start and not protocol.class_balanced
    assert (options["limit"], options["test_limit"]) == (1600, 400)
    assert (
        model.image_size,
        model.lr,
        model.max_epochs,
        model.schedule.refit_epochs,
        model.batch_size,
    ) == (
        (192, 240),
        1e-5,
        10,
        2,
        32,
    )
    counts = [most_pseudo_masks(rows["CEAL"].augmenter, 600 + 35 * i, 1600) for i in range(1, 11)]
    assert counts == [0, 0, 0, 0, 20, 40, 60, 80, 100, 120]
    assert n_draws_of(rows["CEAL"].strategy) == 20


def test_paper_profiles_of_the_survey_have_the_published_constants():
    survey = script("survey_folder")
    options = {"profile": "paper", **survey.ACDC["paper"]}
    model, rows, protocol = survey.build_slices(parts_of(), options)
    assert (protocol.initial, protocol.n_instances, protocol.warm_start) == (10, 10, True)
    assert model.max_epochs * model.steps_per_epoch == 4000
    assert (model.lr, model.batch_size, model.schedule.clip_norm) == (1e-3, 32, 10.0)
    assert len(rows) == 7 and options["seeds"] == (1000, 2000, 3000, 4000, 5000)
    low = survey.make_study("nct").profiles["paper"]
    high = {name: survey.make_study(name, "high").profiles["paper"] for name in ("nct", "isic")}
    asked = ("initial", "n_instances", "rounds")
    assert [low[key] for key in asked] == [50, 50, 5]
    assert [high["nct"][key] for key in asked] == [1000, 1000, 20]
    assert [high["isic"][key] for key in asked] == [1000, 1000, 10]
    classifier = survey.make_classifier("nct", parts_of(), low)
    assert (classifier.lr, classifier.batch_size, classifier.max_epochs) == (0.01, 128, 100)
    assert classifier.image_size == (224, 224) and classifier.network.class_dropout == 0.5
    assert classifier.schedule.lr_schedule == "cosine"
    assert classifier.augmentation.flips == "horizontal"
    # The published loss: a smaller one would be a smaller rate under SGD, and more decay.
    assert classifier.criterion__class_scale == 1.0
    assert len(survey.class_rows(low)) == 9


# -- counted work ---------------------------------------------------------------------------------


def test_operations_of_a_convolutional_network_are_those_counted_by_hand():
    from alseg import JointCAMSegmenter

    model = JointCAMSegmenter.from_preset("gorriz2017-ceal", image_size=(16, 32))
    widths, pixels, hand = [1, 32, 64, 128, 256, 512], 16 * 32, 0
    for level, (c_in, c_out) in enumerate(zip(widths, widths[1:])):
        hand += 2 * 9 * (c_in * c_out + c_out * c_out) * pixels / 4**level
    for level, (deep, c_out) in enumerate(zip(widths[:1:-1], widths[-2:0:-1])):
        hand += 2 * 9 * ((deep + c_out) * c_out + c_out * c_out) * pixels / 4 ** (3 - level)
    hand += 2 * 32 * pixels
    forward, training = cost_of_image(model, 2)
    assert forward == pytest.approx(hand)
    # Each has a gradient of its input and of its weights; the images need none.
    assert training == pytest.approx(3 * hand - 2 * 9 * 32 * pixels)


@pytest.mark.slow
def test_published_glas_takes_about_as_many_operations_as_was_estimated():
    options = paper("belharbi_glas")
    study = script("belharbi_glas").STUDY
    parts = parts_of(67, 18, 80, size=(522, 775))
    plan = make_plan(study, parts, options)
    found = work_of(plan, n_validation=18)
    published = study.published(options, (None, None))
    total = sum(w["training"] + w["prediction"] for name, w in found.items() if name in published)
    assert 4e18 < total < 6e18
    assert sum(w["fits"] for name, w in found.items() if name == "label propagation") == 250
    # The first round is one fit of a seed, which rows of the same network share.
    assert (found["random"]["fits"], found["entropy"]["fits"]) == (125, 120)


# -- data that cannot be used ---------------------------------------------------------------------


def test_all_lacks_are_named_at_once():
    parts = parts_of(n_train=1)  # of class a alone
    masks = np.empty(4, dtype=object)
    masks[0] = np.ones((90, 100), np.int16)
    parts["valid"] = dataclasses.replace(parts["valid"], masks=masks)
    wanted = {name: Wanted(4) for name in ("train", "valid", "test", "other")}
    with pytest.raises(BadData) as error:
        check_parts(parts, wanted, "DATA")
    text = str(error.value)
    assert text.startswith("DATA cannot be used:")
    assert "part 'train': must have 4 images, got 1" in text
    assert "part 'valid': must have a mask for each image, got none for 3: 1, 2, 3" in text
    assert "class 'b': must have a training image, got none (2 in 'valid')" in text
    assert "part 'other': must be there, got the parts train, valid, test" in text


@pytest.mark.parametrize(
    "splits, options, said",
    [
        (("train", "test"), {}, "part 'valid': must be there, got the parts train, test"),
        (("train", "val", "test"), {"masks": False}, "must have a mask for each of 2 images"),
    ],
)
def test_a_folder_that_lacks_something_is_refused_before_training(
    tmp_path, capsys, splits, options, said
):
    folder = write_folder(tmp_path / "data", splits, **options)
    out = tmp_path / "out"
    arguments = ["--data", str(folder), "--out", str(out)]
    assert main(script("belharbi_cub").STUDY, arguments) == 1
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_file_and_other_numbers_are_named(tmp_path, capsys):
    study = script("belharbi_cub").STUDY
    folder = write_folder(tmp_path / "data", ("train", "val", "test"))
    assert main(study, ["--profile", "paper", "--data", str(folder), "--dry-run"]) == 1
    assert "part 'train': must have 4794 images, got 2" in capsys.readouterr().err
    (folder / "images" / "train-a.png").unlink()
    assert main(study, ["--data", str(folder), "--dry-run"]) == 1
    assert "train-a.png" in capsys.readouterr().err


def test_no_folder_at_all_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_study, "find_data", lambda name: None)
    assert main(script("belharbi_glas").STUDY, ["--dry-run"]) == 1
    assert "missing: a folder glas/" in capsys.readouterr().err


# -- plan and tables ------------------------------------------------------------------------------


def test_dry_run_prints_plan_fits_and_operations(tmp_path, capsys):
    folder = write_folder(tmp_path / "data", ("train", "val", "test"), size=(180, 200))
    arguments = [
        "--data",
        str(folder),
        "--dry-run",
        "--initial",
        "1",
        "--n-instances",
        "1",
        "--rounds",
        "1",
        "--seeds",
        "0",
        "--rows",
        "entropy",
    ]
    out = tmp_path / "out"
    assert main(script("belharbi_cub").STUDY, [*arguments, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "data        train 2, valid 2, test 2" in text
    # classifier, one start, random, entropy, full supervision
    assert "fits        5" in text
    assert "operations  " in text and "H200" in text
    assert "data data (published cub)" in text and "seeds 0 (published 0, 1, 2, 3, 4)" in text
    assert not out.exists()


def test_published_numbers_stand_beside_ours_over_the_same_masks():
    glas = script("belharbi_glas")
    found = glas.published_rows("GlaS", (8, 12))
    # trapezoid of 67.14, 70.27, 71.59
    assert found["random"]["area"] == f"{((67.14 + 70.27) / 2 + (70.27 + 71.59) / 2) / 2:.1f}"
    assert found["random"]["final"] == "71.6 (12 masks)"
    assert found["random"]["all"] == "78.57 ± 0.93"
    assert found["full supervision"]["final"] == "86.53 ± 0.31"
    assert found["all-ones"]["final"] == "66.02"
    assert "area" not in glas.published_rows("GlaS", (4, 12))["random"]


def test_a_row_says_what_differs():
    study = script("belharbi_glas").STUDY
    text = short_differences(study, paper("belharbi_glas", "cpu"))
    assert text == (
        "images scaled by 0.18 for 1, encoder weights none for imagenet, epochs 16 for 1000, "
        "seeds 3 for 5"
    )


def test_parts_are_cut_alike_by_class_and_shrunk():
    train = parts_of(20)["train"]
    few = fewer(train, 6)
    assert sorted(few.labels.tolist()) == ["a"] * 3 + ["b"] * 3
    np.testing.assert_array_equal(few.ids, fewer(train, 6).ids)
    small = shrunk(few, 0.5)
    assert small.images[0].shape == (45, 50, 3) and small.masks[0].shape == (45, 50)
    np.testing.assert_array_equal(small.masks[0], few.masks[0][1::2, 1::2])


def test_parts_are_shrunk_to_one_size_too():
    small = shrunk(parts_of(4)["train"], (45, 50))
    assert {image.shape for image in small.images} == {(45, 50, 3)}
    np.testing.assert_array_equal(small.masks[0], parts_of(4)["train"].masks[0][1::2, 1::2])


def test_only_tasks_without_a_record_are_run_and_those_of_a_piece_together(tmp_path):
    asked = []

    def run(tasks):
        asked.append(tasks)
        return [{"fold": fold, "row": row} for fold, row in tasks]

    def again(tasks):
        run_missing(
            tmp_path,
            {"steps": 3},
            tasks,
            lambda record: (record["fold"], record["row"]),
            run,
            piece_of=lambda task: task[0],
        )
        return [(r["fold"], r["row"]) for r in read_records(tmp_path)]

    assert again([(0, "a"), (1, "a")]) == [(0, "a"), (1, "a")]
    whole = [(fold, row) for fold in (0, 1, 2) for row in ("a", "b")]
    assert sorted(again(whole)) == whole
    assert asked == [[(0, "a")], [(1, "a")], [(0, "b")], [(1, "b")], [(2, "a"), (2, "b")]]


def test_the_minutes_end_a_run():
    with pytest.raises(OutOfTime), time_limit(0.001):
        while True:
            pass
    with time_limit(None):
        pass


class MadeComparison:
    """Two rows and two seeds, as tables and figures ask for them."""

    names, family, seeds, control = ["mine", "longer"], ["mine"], [0, 1], "longer"
    chains, _references = {("mine", 0): []}, {}

    def __init__(self):
        self.records = [
            {
                "strategy": name,
                "seed": seed,
                "gradient_steps": steps,
                "metrics": {},
                "seconds": {"fit": 1.5 + seed},
            }
            for name, steps in (("mine", 30), ("longer", 50))
            for seed in (0, 1)
            for _ in range(2)
        ]

    def areas(self, metric, window=None):
        return {"mine": np.array([0.72, 0.74]), "longer": np.array([0.71, 0.70])}

    def curves(self, metric):
        masks = np.array([[8.0, 10.0]] * 2)
        return {name: (masks, np.stack([area] * 2, 1)) for name, area in self.areas("").items()}

    def references(self, metric):
        return {}

    def table(self):
        import pandas as pd

        return pd.DataFrame({"row": self.names})

    def verdict(self):
        return "no verdict"

    def plot(self):
        from matplotlib.figure import Figure

        axes = Figure().subplots()
        for x, y in self.curves("dice").values():
            axes.plot(x.mean(0), y.mean(0))
        return axes


def test_a_method_stands_against_its_own_controls_with_the_steps_of_both():
    table = pairs_table(MadeComparison(), (("mine", "longer"), ("mine", "absent")))
    # 1 and 4 points: 2.5, and half an interval of t(1, 0.975) * 3 / 2 points
    half = 12.706204736432095 * 1.5
    assert table.to_dict("records") == [
        {
            "row": "mine",
            "against": "longer",
            "seeds": "2",
            "area": f"+2.5 [{2.5 - half:.1f}, {2.5 + half:.1f}]",
            "p": "0.34",
            "steps": "60 against 100",
        }
    ]
    assert pairs_table(MadeComparison(), ()) is None


def test_a_row_that_has_only_begun_has_no_column_of_its_own(monkeypatch):
    made = MadeComparison()
    begun = np.array([[8.0, np.nan]]), np.array([[0.6, np.nan]])
    whole = made.curves("dice")
    monkeypatch.setattr(made, "curves", lambda metric: {**whole, "begun": begun}, raising=False)
    table = share_table(made, [])
    assert [name for name in table if "masks" in name] == ["Dice, 8 masks", "Dice, 10 masks"]
    assert table.set_index("row").loc["begun"].tolist() == ["0", "60.0", "–"]


def test_a_method_is_set_against_random_masks_of_as_many_steps_in_each_recipe(monkeypatch):
    factorial = script("factorial")
    methods = {
        "class-balanced random": ("random", "random"),
        "mine": ("pseudo-labels", None),
        "asked": ("entropy", "entropy"),
        "absent": (None, "absent"),
    }
    monkeypatch.setattr(factorial, "METHODS", methods)
    made, steps = MadeComparison(), {"random": 30, "pseudo-labels": 99, "entropy": 60}
    renamed = {"mine": "pseudo-labels", "longer": factorial.LONGER_PUBLISHED}
    made.records = [
        {**r, "strategy": name, "gradient_steps": n}
        for r in made.records
        if r["strategy"] == "mine"
        for name, n in {**steps, renamed["longer"]: 100}.items()
    ]
    mine, longer = np.array([0.72, 0.74]), np.array([0.71, 0.70])
    areas = {
        "random": longer - 0.1,
        "pseudo-labels": mine,
        renamed["longer"]: longer,
        "entropy": mine - 0.1,
    }
    monkeypatch.setattr(made, "areas", lambda metric: areas, raising=False)
    dice, work = factorial.tables({"belharbi-glas-cpu": made, "alseg-glas-cpu": made})
    dice, work = (t.set_index("method").to_dict("index") for t in (dice, work))
    assert list(dice) == list(work) == ["class-balanced random", "mine", "asked"]
    # the same 1 and 4 points as above, not those to the row that trains less
    differs = "+2.50 [-16.56, +21.56]"
    assert dice["mine"]["published recipe: at equal steps"] == differs
    assert dice["mine"]["published recipe: Dice"] == "73.0 ± 1.4 (2)"
    assert work["mine"]["published recipe: steps"] == "198"  # of two rounds
    assert dice["mine"]["ours: Dice"] == work["mine"]["ours: steps"] == "–"
    assert dice["mine"]["as published, 1000 epochs"] == "–"
    # a question takes no second fit, so random masks with one are its control; steps are told
    assert dice["asked"]["ours: at equal steps"] == f"{differs}, 200 % of the steps"
    random = dice["class-balanced random"]
    assert random["published recipe: at equal steps"] == "–"
    assert random["as published, 1000 epochs"] != "–"


def test_results_hold_tables_and_no_pictures(tmp_path, monkeypatch, capsys):
    study = script("belharbi_glas").STUDY
    monkeypatch.chdir(tmp_path)
    study = study._replace(pairs=(("mine", "longer"),))
    write_results(study, MadeComparison(), paper("belharbi_glas", "cpu"))
    # The curves are a figure; a page is made from the records when somebody wants it.
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.html"))
    text = (tmp_path / "published.md").read_text("utf-8")
    assert "Against its own controls" in text and "| mine | 2 | 8 to 10 | 60 |" in text
    assert "Not as published:\n\n- images scaled by 0.18 (published 1)" in text


def test_other_data_have_their_own_name_and_rows_of_a_profile_can_be_replaced():
    study = script("belharbi_cub").STUDY
    parser = make_parser(study)
    options = read_options(study, parser.parse_args([]))
    assert "MC-dropout" not in options["rows"] and "entropy" in options["rows"]
    given = read_options(study, parser.parse_args(["--rows", "MC-dropout"]))
    assert given["rows"] == ["MC-dropout"]
    assert read_options(study, parser.parse_args(["--profile", "paper"]))["rows"] is None
    assert name_on_data(study, {"data_name": "leeds_butterfly"}) == "belharbi-leeds_butterfly"
    assert name_on_data(study, {"data_name": "cub"}) == "belharbi-cub"
    nct = script("survey_folder").make_study("nct")
    assert name_on_data(nct, {"data_name": "nct"}) == "survey-nct-low"


def test_controls_of_ceal_take_as_many_steps_with_labels_that_count_nothing():
    from alseg.comparison.estimate import steps_of_job
    from alseg.comparison.plan import Plan

    ceal = script("ceal_isic")
    options = {**paper("ceal_isic", "cpu"), "rows": None}
    parts = parts_of(options["limit"])
    model, rows, protocol = ceal.STUDY.build(parts, options)
    for name in (ceal.LONGER, ceal.NO_WEIGHT):
        assert 0 < rows[name].augmenter.weight < 1e-6
    n_masks = options["initial"] + options["n_instances"]
    assert most_pseudo_masks(rows["CEAL"].augmenter, n_masks, 1000) == 10
    assert rows["CEAL"].strategy is rows[ceal.NO_WEIGHT].strategy
    assert model.criterion__ce_scale == 1.0
    plan = Plan(model, rows, (parts["train"], parts["test"]), protocol, [0])
    steps = {
        job.name: steps_of_job(job, protocol, options["limit"])
        for job in plan.jobs
        if job.kind == "chain"
    }
    # 64 + 10, 80 + 20 and 96 + 30 images in batches of 8, for 2 epochs; one fit a round
    assert steps["CEAL"] == steps[ceal.LONGER] == steps[ceal.NO_WEIGHT] == [20, 26, 32]
    assert steps["random"] == steps[ceal.QUESTIONS] == [16, 20, 24]


def test_ceal_trains_as_many_epochs_as_published():
    """10, and 2 in each of 10 iterations, on pseudo-labels from the fifth on."""
    from alseg.comparison.estimate import fits_of_job
    from alseg.comparison.plan import Plan

    ceal = script("ceal_isic")
    parts = parts_of(1600, size=(8, 8))
    model, rows, protocol = ceal.STUDY.build(parts, paper("ceal_isic"))
    plan = Plan(model, rows, (parts["train"], parts["test"]), protocol, [0])
    (chain,) = [job for job in plan.jobs if (job.kind, job.name) == ("chain", "CEAL")]
    fits = [fit for fits in fits_of_job(chain, protocol, 1600) for fit in fits]
    assert [fit.n_masks for fit in fits] == list(range(635, 951, 35))
    assert [fit.n_pseudo for fit in fits] == [0, 0, 0, 0, 20, 40, 60, 80, 100, 120]
    assert all(fit.again for fit in fits) and model.schedule.refit_epochs == 2
    (start,) = [
        job
        for job in plan.jobs
        if job.kind == "start" and job.row.augmenter is not None and job.row.augmenter.weight == 1
    ]
    assert [tuple(f) for fits in fits_of_job(start, protocol, 1600) for f in fits] == [
        (600, 0, False)
    ]
    assert not model.schedule.drop_tiny_last_batch  # 705 images are 22 batches and one more of 1


@pytest.fixture
def survey(monkeypatch):
    """The script of the survey with a profile that takes seconds."""
    survey = script("survey_folder")
    small = {
        "image_size": (32, 32),
        "epochs": 1,
        "initial": 3,
        "n_instances": 2,
        "rounds": 1,
        "n_draws": 2,
        "seeds": (5, 6),
        "n_jobs": 1,
    }
    monkeypatch.setitem(survey.NCT, "cpu", {**survey.NCT["cpu"], **small})
    return survey


@pytest.mark.slow
def test_the_survey_asks_for_classes_and_goes_on_after_a_stop(survey, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for part, n in (("NCT-CRC-HE-100K", 6), ("CRC-VAL-HE-7K", 3)):
        for k, label in enumerate(("ADI", "LYM")):
            folder = tmp_path / "nct" / part / label
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(100 * k)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    out = tmp_path / "out"
    command = [
        "--layout",
        "nct",
        "--data",
        str(tmp_path / "nct"),
        "--out",
        str(out),
        "--rows",
        "DBAL",
    ]
    assert survey.run(command) == 0
    files = {row: out / row / "5" / "records.jsonl" for row in ("random", "DBAL")}
    first = {row: file.read_text("utf-8").splitlines() for row, file in files.items()}
    assert {len(lines) for lines in first.values()} == {2}
    asked = [json.loads(line)["sample_ids"] for line in first["DBAL"]]
    assert len(set(sum(asked, []))) == 5 and json.loads(first["DBAL"][1])["n_labels"] == 5
    assert asked[0] == json.loads(first["random"][0])["sample_ids"]  # paired
    table = (out / "table.md").read_text("utf-8")
    assert "| DBAL | 2 | 5 |" in table and "accuracy, per cent" in table and "random" in table
    # Stopped before its last round it comes to the same.
    files["DBAL"].write_text(first["DBAL"][0] + "\n", "utf-8")
    assert survey.run(command) == 0
    again = [json.loads(line) for line in files["DBAL"].read_text("utf-8").splitlines()]
    for key in ("sample_ids", "score", "gradient_steps"):
        assert again[1][key] == json.loads(first["DBAL"][1])[key]
    assert files["random"].read_text("utf-8").splitlines() == first["random"]
    capsys.readouterr()
    assert survey.run([*command, "--only-report"]) == 0
    assert table.splitlines()[0] in capsys.readouterr().out


def test_the_survey_looks_for_the_rarest_class(survey, tmp_path, capsys):
    classes = np.array(["a", "b", "c"])
    labels = np.array(["a", "a", "a", "b", "b", "b", "c", "c"])
    proba = np.full((8, 3), 0.1)
    proba[[0, 6, 7], 2] = 0.5, 0.4, 0.9  # of 2 x 6 pairs one is in the wrong order
    assert survey.score(proba, labels, classes, "AUC") == pytest.approx(11 / 12)
    # A manifest with train and val is tested on val.
    data = write_folder(
        tmp_path / "isic", ["train", "val"], masks=False, labels=tuple("abcdefghij")
    )
    parts = survey.load_classes(data, {})
    sizes = {name: len(parts[name]) for name in ("train", "valid", "test")}
    assert sizes == {"train": 9, "valid": 1, "test": 10}
    three = write_folder(tmp_path / "three", ["train", "val", "test"], masks=False)
    parts = survey.load_classes(three, {})
    assert "val-" in parts["valid"].ids[0] and "test-" in parts["test"].ids[0]
    assert survey.run(["--layout", "isic"]) == 1
    assert "missing: name the folder with --data" in capsys.readouterr().err


# -- our recipe beside them -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The rows of alseg_glas.py with a tiny network, on images with a square."""
    import contextlib

    from alseg.comparison.plan import compare_strategies

    module = script("alseg_glas")
    parts = {  # squares that stand out, so that a few steps find something
        name: dataclasses.replace(
            part, images=np.repeat(255 * part.masks[..., None], 3, -1).astype("u1")
        )
        for name, part in parts_of(10, size=(32, 40)).items()
    }
    parts["test"] = dataclasses.replace(
        parts["test"], subsets=["A", "A", "B", "B"], instances=parts["test"].masks
    )
    options = {
        **paper("alseg_glas", "cpu"),
        "encoder": "tiny",
        "encoder_weights": None,
        "image_size": (32, 40),
        "steps": 6,
        "initial": 4,
        "n_instances": 2,
        "rounds": 1,
        "seeds": (0, 1),
    }
    model, rows, protocol = module.STUDY.build(parts, options)
    with contextlib.chdir(tmp_path_factory.mktemp("ours")):
        return compare_strategies(
            model,
            rows,
            data=(parts["train"], parts["test"]),
            protocol=protocol,
            seeds=options["seeds"],
            out=Path(),
            verbose=0,
        )


@pytest.mark.slow
def test_rows_of_our_recipe_are_at_equal_steps_and_controlled(ours):
    module = script("alseg_glas")
    steps = {name: ours.chains[name, 0][-1]["gradient_steps"] for name in ours.names}
    twice = {
        "label propagation",
        "pseudo-labels",
        "entropy + pseudo-labels",
        module.LONGER,
        module.NO_WEIGHT,
        "true masks as pseudo-labels",
    }
    assert steps == {name: 12 if name in twice else 6 for name in ours.names}
    assert {"random", "entropy", "low entropy"} | twice == set(ours.names)


def test_true_masks_take_the_place_of_pseudo_labels():
    parts = parts_of(4, size=(8, 9))["train"]
    known = [parts.masks[0], None, None, None]

    class Empty:
        def predict_mask_proba(self, X):
            return np.stack([np.ones((len(X), 8, 9)), np.zeros((len(X), 8, 9))], 1)

    augmenter = script("alseg_glas").TruePseudoLabels("all", weight=0.5)
    masks, weight = augmenter.fit(
        parts.images, parts.labels, known, estimator=Empty(), true_masks=parts.masks
    ).transform(parts.images)
    assert weight.tolist() == [1.0, 0.5, 0.5, 0.5]
    assert all((masks[i] == parts.masks[i]).all() for i in range(4))


def test_low_entropy_asks_what_the_model_is_surest_of():
    class Learner:
        class estimator:
            @staticmethod
            def predict_uncertainty(X, **options):
                return np.array([0.3, 0.1, 0.2])

    strategy = script("alseg_glas").low_entropy_sampling
    assert strategy(Learner, np.zeros((3, 4, 4, 3)), n_instances=2).tolist() == [1, 2]


@pytest.mark.slow
def test_details_of_a_comparison(ours):
    pseudo = pseudo_table(ours, "GlaS")
    assert set(pseudo["row"]) == {
        "label propagation",
        "pseudo-labels",
        "entropy + pseudo-labels",
        "pseudo-labels, lambda = 0",
        "true masks as pseudo-labels",
    }
    assert pseudo["masks"].tolist() == ["4", "6"] * 5
    assert set(pseudo["Dice, published (all pixels)"]) == {"–"}  # from 8 masks on
    share = share_table(ours, [(4, 6), (4, 60)]).set_index("row")
    areas, full = ours.areas("dice"), ours.references("dice")["full supervision"]
    ratio = 100 * areas["entropy"] / full
    shown = share.loc["entropy", "area 4 to 6, % of full"]
    assert shown == f"{ratio.mean():.1f} ± {ratio.std(ddof=1):.1f}"
    assert not any("4 to 60" in column for column in share.columns)
    subsets = subset_table(ours).set_index("row")
    assert {"A Dice", "B object F1"} <= set(subsets.columns)
    last = [ours.chains["random", seed][-1]["metrics"]["by_subset"]["A"] for seed in (0, 1)]
    assert subsets.loc["random", "A Dice"].startswith(
        f"{50 * (last[0]['dice'] + last[1]['dice']):.1f}"
    )


def test_a_run_in_parts_tells_the_command_of_each(tmp_path, monkeypatch):
    study = script("alseg_glas").STUDY
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/studies/alseg_glas.py"])
    first = ["--profile", "cpu", "--seeds", "0", "1", "--only", "random", "random, twice the steps"]
    for given in (first, [*first, "--n-jobs", "2", "--out", "/somewhere"], ["--lr", "0.5"]):
        arguments = make_parser(study).parse_args(given)
        write_origin(read_options(study, arguments), command_of(arguments))
    told = json.loads((tmp_path / "environment.json").read_text("utf-8"))
    # What changes no number, and where things lie, is not told.
    assert told["commands"] == [
        "python -m benchmarks.studies.alseg_glas --profile cpu --only random "
        "'random, twice the steps' --seeds 0 1",
        "python -m benchmarks.studies.alseg_glas --profile cpu --lr 0.5",
    ]
    assert told["options"]["lr"] == 0.5 and "encoder_weights" not in told["options"]


# -- another domain -------------------------------------------------------------------------------


def test_rows_of_a_source_and_their_table():
    study = script("domain")
    assert study.ROWS["random, no source"][1] is None and "AADA" in study.ROWS
    direction = next(iter(study.DIRECTIONS))
    dice = {
        "random": [[0.5, 0.6, 0.7], [0.5, 0.6, 0.8]],
        "AADA": [[0.5, 0.7, 0.8], [0.5, 0.7, 0.8]],
    }
    dice["random, no source"] = [[None, 0.4, 0.5]]
    records = [
        {"direction": direction, "row": row, "seed": seed, "dice": values}
        for row, seeds in dice.items()
        for seed, values in enumerate(seeds)
    ]
    lines = study.table(records).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["random, no source", "random", "AADA"]
    assert lines[2].split(" | ")[2:] == ["1", "", "40.0", "50.0", "-20.0 |"]
    assert lines[4].split(" | ")[3:] == ["50.0 ± 0.0", "70.0 ± 0.0", "80.0 ± 0.0", "+5.0 ± 7.1 |"]


def test_a_chain_of_a_source_on_made_images(monkeypatch, tmp_path):
    from alseg.datasets import make_glands

    study = script("domain")
    made = {
        name: make_glands(14, image_size=(32, 48), random_state=seed)
        for seed, name in enumerate(("ebhi_seg", "glas"))
    }
    monkeypatch.setattr(study, "SIZE", (32, 48))
    monkeypatch.setattr(study, "STEPS", {"max_epochs": 1, "steps_per_epoch": 1})
    monkeypatch.setattr(study, "N_INSTANCES", 2)
    parts = {
        name: ((data.images[:10], data.masks[:10]), (data.images[10:], data.masks[10:]))
        for name, data in made.items()
    }
    monkeypatch.setattr(study, "parts_of", lambda name, folder: parts[name])
    folders = study.Folders(ebhi_seg="a", glas="b")
    direction = next(iter(study.DIRECTIONS))
    tasks = [(direction, row, 0) for row in ("random, no source", "AADA", "random")]
    records = study.run_chain(tasks, folders, str(tmp_path))
    assert [len(set(record["asked"])) for record in records] == [4, 4, 4]
    assert records[0]["dice"][0] is None and records[1]["dice"][0] == records[2]["dice"][0]
