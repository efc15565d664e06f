"""The experiment: what a record holds, and that a killed run ends as if it had not been killed."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from waiting import HANG

from alseg.datasets import Dataset, make_glands
from alseg.experiment.evaluation import evaluate
from alseg.experiment.records import comparable, read_records
from alseg.experiment.rounds import run
from alseg.files import RecordsError
from alseg.learner.loop import ActiveLearner
from alseg.metrics.overlap import mean_dice, mean_iou
from alseg.oracles import MaskOracle
from alseg.pseudo.augmenter import PseudoLabelAugmenter
from alseg.query.costs import annotation_cost
from alseg.query.regions import Regions
from alseg.report.panels import save_panels
from alseg.report.run_page import write_report
from alseg.segmenter import with_fields
from alseg.segmenter.estimator import JointCAMSegmenter
from alseg.strategies import by_region, entropy_sampling, entropy_score, random_sampling

OPTIONS = {"rounds": 2, "n_instances": 2, "initial": 4, "seed": 3}


def parts():
    glands = make_glands(18, image_size=(24, 32), random_state=0)
    return glands.take(np.arange(12)), glands.take(np.arange(12, 18))


def estimator(**options):
    return JointCAMSegmenter(
        encoder="tiny",
        **with_fields({"max_epochs": 1, "batch_size": 4, "device": "cpu", **options}),
    )


def small_run(out, strategy=entropy_sampling, model=None, **options):
    train, test = parts()
    model = estimator() if model is None else model
    options = {**OPTIONS, "panels": save_panels, **options}
    return run(model, train, test, strategy, out=out, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, small_run(out)


def same(records, others):
    return [comparable(r) for r in records] == [comparable(r) for r in others]


def test_what_a_record_holds(finished):
    out, records = finished
    assert records == read_records(out) and len(records) == 3
    asked = [i for record in records for i in record["sample_ids"]]
    assert len(set(asked)) == len(asked) == 8
    train, test = parts()
    for round_, record in enumerate(records):
        assert record["round"] == round_ and record["strategy"] == "entropy_sampling"
        assert record["n_masks"] == 4 + 2 * round_ and record["n_masks_validation"] == 0
        so_far = [i for r in records[: round_ + 1] for i in r["sample_ids"]]
        assert record["foreground_pixels"] == (np.asarray(train.masks)[so_far] > 0).sum()
        assert "validation_score" not in record  # none chose the weights
        assert record["gradient_steps"] == 3  # one epoch of ceil(12 / 4) steps
        assert {"ask", "query"} & set(record["seconds"]) and record["memory_mib"]["peak"] > 50
        assert record["environment"]["torch_threads"] == 1
        assert len(record["metrics"]["dice_per_image"]) == 6
        assert record["metrics"]["dice"] == pytest.approx(
            np.mean(record["metrics"]["dice_per_image"])
        )
        for item in record["asked"]:
            assert item["id"] == train.ids[item["sample_id"]]
            assert item["label"] == train.labels[item["sample_id"]]
            assert ("dice" in item) == (round_ > 0)
    # The seed set is balanced, and timings stand under their own names alone.
    seed_labels = train.labels[records[0]["sample_ids"]]
    assert np.unique(seed_labels, return_counts=True)[1].tolist() == [2, 2]
    assert not any("sec" in key or "time" in key for key in comparable(records[0]))
    assert "NaN" not in (out / "records.jsonl").read_text()


@pytest.mark.parametrize("what", ["records.jsonl", "out"])
def test_a_run_whose_records_are_removed_does_not_end_as_if_all_were_well(tmp_path, what):
    out = tmp_path / "out"

    def progress(round_, step, record=None):
        if round_ == 1 and step != "done":
            if what == "out":
                shutil.rmtree(out, ignore_errors=True)
            else:
                (out / what).unlink(missing_ok=True)

    with pytest.raises(OSError, match="records.jsonl was removed while it was being written"):
        small_run(out, rounds=1, progress=progress)


def test_panels_are_pictures(finished):
    from PIL import Image

    out, records = finished
    for record in records:
        for i in record["sample_ids"]:
            files = sorted((out / "panels" / f"round_{record['round']:03d}").glob(f"{i:06d}_*"))
            kinds = [file.stem.partition("_")[2] for file in files]
            every = ["cam", "image", "mask", "prediction", "uncertainty"]
            assert kinds == (every if record["round"] else ["image", "mask"])
            for file in files:
                with Image.open(file) as picture:
                    assert picture.size == (288, 216)


def test_metrics_are_those_of_the_model():
    train, test = parts()
    model = estimator(max_epochs=4, random_state=0)
    model.fit(train.images, train.labels, masks=train.masks)
    found = evaluate(model, test)
    masks = model.predict_masks(test.images)
    assert found["dice"] == pytest.approx(model.score_masks(test.images, test.masks))
    assert found["dice_background"] == pytest.approx(mean_dice(masks, test.masks, label=0))
    assert found["mean_iou"] == pytest.approx(mean_iou(masks, test.masks))
    assert found["class_accuracy"] == model.score(test.images, test.labels)
    assert {"object_dice", "object_f1", "pooled_mean_iou", "dice_worst_tenth"} <= set(found)
    ours = [found["by_label"][str(label)] for label in np.unique(test.labels)]
    assert sum(part["n_images"] for part in ours) == 6
    assert np.mean([part["dice"] for part in ours]) == pytest.approx(found["dice"])


def test_subsets_are_measured_each_by_itself():
    train, test = parts()
    test = dataclasses.replace(test, subsets=["A", "B", "A", "A", "B", "A"])
    model = estimator(max_epochs=4, random_state=0)
    model.fit(train.images, train.labels, masks=train.masks)
    found = evaluate(model, test)["by_subset"]
    assert {name: part["n_images"] for name, part in found.items()} == {"A": 4, "B": 2}
    alone = evaluate(model, test.take([1, 4]))
    for key in ("dice", "object_dice", "object_f1"):
        assert found["B"][key] == pytest.approx(alone[key])
    assert "by_subset" not in evaluate(model, parts()[1])


def test_pseudo_labels_are_measured_against_the_hidden_masks(tmp_path, finished):
    train, _ = parts()
    ids = finished[1][0]["sample_ids"]  # of the same seed
    # By hand: the model of the first fit, on the images that it was not given masks of.
    learner = ActiveLearner(
        estimator(), images=train.images, labels=train.labels, random_state=OPTIONS["seed"]
    )
    learner.annotate(ids, [train.masks[i] for i in ids])
    rest = np.setdiff1d(np.arange(12), ids)
    proba = learner.estimator.predict_mask_proba(train.images[rest])[:, 1]
    low, high = np.quantile(proba, [0.3, 0.6]).tolist()
    kept = (proba < low) | (proba > high)
    right = (proba > high) == train.masks[rest]
    augmenter = PseudoLabelAugmenter("all", sure=(low, high))
    record = small_run(tmp_path, augmenter=augmenter, rounds=0)[0]
    assert record["pseudo"]["n_candidates"] == 8
    assert record["pseudo"]["coverage"] == pytest.approx(kept.mean())
    each = [r[k].mean() for r, k in zip(right, kept) if k.any()]
    assert record["pseudo"]["accuracy"] == pytest.approx(np.mean(each))
    assert "pseudo" not in finished[1][0]


def test_the_same_call_does_nothing_more_and_more_rounds_go_on(finished, tmp_path):
    out, records = finished
    before = (out / "records.jsonl").read_bytes()
    assert small_run(out) == records
    assert (out / "records.jsonl").read_bytes() == before
    small_run(tmp_path, rounds=0)
    assert same(small_run(tmp_path), records)


def test_strategies_start_from_the_same_images(finished, tmp_path):
    _, records = finished
    other = small_run(tmp_path, random_sampling, rounds=0)
    assert other[0]["sample_ids"] == records[0]["sample_ids"]
    assert other[0]["metrics"] == records[0]["metrics"]


@pytest.mark.parametrize("unit", ["image", "patch"])
def test_costs_are_those_of_all_answers_so_far(tmp_path, unit):
    train, _ = parts()
    strategy = by_region(entropy_score, unit, size=8)
    options = {"strategy": strategy, "name": "asked", "cost_rates": (5.0, 2.0), "panels": None}
    small_run(tmp_path, rounds=1, **options)
    images = pixels = clicks = 0
    for record in small_run(tmp_path, **options):  # the last round is continued from the others
        regions = Regions.from_dict(record["regions"]) if "regions" in record else None
        assert (regions is None) == (unit == "image" or record["round"] == 0)
        ids = record["sample_ids"]
        images += len(ids)
        pixels += 24 * 32 * len(ids) if regions is None else 64 * len(regions)
        answers = MaskOracle(train.masks)(ids, regions=regions)
        instances = [train.instances[i] for i in ids]
        clicks += annotation_cost(answers, regions, instances=instances).clicks
        seconds = 5 * images + 2 * clicks
        expected = {"images": images, "pixels": pixels, "clicks": clicks, "seconds": seconds}
        assert record["cost"] == expected
    assert clicks > images


@pytest.mark.parametrize("cut", ["line", "half a line", "last round"])
def test_cut_records_are_completed(finished, tmp_path, cut):
    out, records = finished
    lines = (out / "records.jsonl").read_bytes().splitlines(keepends=True)
    kept = {
        "line": b"".join(lines[:1]),
        "half a line": lines[0] + lines[1][:200],
        "last round": b"".join(lines)[:-1],
    }[cut]
    (tmp_path / "records.jsonl").write_bytes(kept)
    assert same(small_run(tmp_path), records)
    assert same(read_records(tmp_path), records)
    assert (tmp_path / "records.jsonl.cut").exists() == (cut == "half a line")


KILLED = """
import os, random, signal, sys, time
import torch, torch._dynamo  # the latter with the first fit, else: in each fork anew
torch.set_num_threads(1)
sys.path[:0] = sys.argv[1].split(os.pathsep)
import test_run
from alseg.pseudo.augmenter import PseudoLabelAugmenter

out, seconds = sys.argv[2], float(sys.argv[3])
kills = [("evaluate", 1), None]
n_killed = 0
while True:
    kill = kills.pop(0) if kills else "never"
    child = os.fork()  # from a process that has imported everything and computed nothing
    if child == 0:
        def progress(round_, stage, record):
            if (stage, round_) == kill:
                os.kill(os.getpid(), signal.SIGKILL)
        test_run.small_run(out, augmenter=PseudoLabelAugmenter(k=2), progress=progress)
        os._exit(0)
    if kill is None:
        time.sleep(random.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        n_killed += 1
    if kill == "never":
        sys.exit(os.waitstatus_to_exitcode(status) or n_killed)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_the_same(tmp_path):
    reference = small_run(tmp_path / "whole", augmenter=PseudoLabelAugmenter(k=2))
    assert reference[0]["gradient_steps"] == 6  # an augmenter makes a round two fits
    seconds = sum(sum(record["seconds"].values()) for record in reference)
    folders = os.pathsep.join(
        map(str, Path(__file__).parents[:2])
    )  # this file, and what it imports
    arguments = [folders, str(tmp_path / "killed"), str(seconds)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, timeout=HANG
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (1, 2), done.stderr  # killed once for sure, once at a random moment
    assert same(read_records(tmp_path / "killed"), reference)
    panels = [
        sorted(p.relative_to(out) for p in out.rglob("*.jpg"))
        for out in (tmp_path / "whole", tmp_path / "killed")
    ]
    assert panels[0] == panels[1]


def test_a_round_that_needs_the_model_before_goes_on_from_its_file(tmp_path, monkeypatch):
    options = {
        "model": estimator(
            validation=0.25, threshold="validation", schedule__keep_epoch="validation"
        ),
        "strategy": random_sampling,
        "augmenter": PseudoLabelAugmenter("all", weight=0.5, refit="published"),
    }
    whole = small_run(tmp_path / "whole", **options)
    assert all(0 <= record["validation_score"] <= 1 for record in whole)
    # Both of its fits learn from pseudo-masks from the second round on.
    fits = []
    fit = JointCAMSegmenter.fit

    def watched(self, X, y, masks=None, mask_weight=None):
        fits.append(None if mask_weight is None else int((np.asarray(mask_weight) < 1).sum()))
        return fit(self, X, y, masks, mask_weight)

    monkeypatch.setattr(JointCAMSegmenter, "fit", watched)
    small_run(tmp_path / "parts", **options, rounds=0)
    assert fits == [None, 8]
    assert [p.name for p in tmp_path.joinpath("parts").glob("model-*")] == ["model-0"]
    parts = small_run(tmp_path / "parts", **options)
    assert fits == [None, 8, 6, 6, 4, 4]  # none again for what was done before
    assert same(parts, whole)
    assert [p.name for p in tmp_path.joinpath("parts").glob("model-*")] == ["model-2"]


def test_validation_masks_are_counted(tmp_path):
    model = estimator(validation=0.5, threshold="validation")
    record = small_run(tmp_path, model=model, rounds=0)[0]
    assert record["n_masks"] == 4 and record["n_masks_validation"] == 2


def test_another_machine_is_said(finished, tmp_path):
    out, records = finished
    first = json.loads((out / "records.jsonl").read_text().splitlines()[0])
    first["environment"]["torch_threads"] = 7
    (tmp_path / "records.jsonl").write_text(json.dumps(first) + "\n")
    with pytest.warns(UserWarning, match="torch_threads: 7 then, 1 now"):
        small_run(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small_run(out)


def test_training_images_without_a_mask_are_left_out(tmp_path):
    train, test = parts()
    masks = np.full(12, None, dtype=object)
    masks[:] = list(train.masks)
    masks[[0, 5]] = None
    train = Dataset(train.images, train.labels, masks, ids=train.ids)
    records = run(
        estimator(), train, test, random_sampling, out=tmp_path, rounds=1, n_instances=6, initial=4
    )
    names = {item["id"] for record in records for item in record["asked"]}
    assert names == set(train.ids) - set(train.ids[[0, 5]])
    assert records[0]["config"]["data"]["n_train"] == 10


class Untouched(JointCAMSegmenter):
    def fit(self, X, y, masks=None, mask_weight=None):
        raise AssertionError("training started")


def test_bad_input_before_any_training(finished, tmp_path):
    out, _ = finished
    model = Untouched(encoder="tiny")
    train, test = parts()

    def attempt(train=train, test=test, out=tmp_path / "o", **options):
        run(model, train, test, entropy_sampling, out=out, **{**OPTIONS, **options})

    with pytest.raises(ValueError, match="at most 12.*got 14. With these sizes, ask for at most 4"):
        attempt(rounds=5)
    with pytest.raises(ValueError, match="n_instances must be >= 1, got 0"):
        attempt(n_instances=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="out must be a folder that can be written to"):
        attempt(out=tmp_path / "file" / "out")
    before = (out / "records.jsonl").read_bytes()
    with pytest.raises(RecordsError, match="another run"):
        attempt(out=out, seed=4)
    with pytest.raises(RecordsError, match="another run"):
        attempt(out=out, train=Dataset(train.images // 2, train.labels, train.masks, ids=train.ids))
    assert (out / "records.jsonl").read_bytes() == before
    with pytest.raises(ValueError, match="masks of some images.*use `alseg query`"):
        attempt(train=Dataset(train.images, train.labels))
    bad = train.masks.copy()
    bad[3, 0, 0] = 7
    with pytest.raises(ValueError, match="value 7"):
        attempt(train=Dataset(train.images, train.labels, bad))


def test_rounds_out_of_order(finished, tmp_path):
    out, _ = finished
    lines = (out / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(lines[0] + lines[2])
    with pytest.raises(RecordsError, match=r"rounds 0, 1, 2, ... in order, got \[0, 2\]"):
        small_run(tmp_path)


def test_steps_of_both_fits_are_counted_where_they_differ(tmp_path):
    records = small_run(
        tmp_path,
        model=estimator(
            schedule__sampling="passes", network__pooling=None, criterion__class_scale=0.0
        ),
        augmenter=PseudoLabelAugmenter("all", weight=0.5),
        rounds=1,
        panels=None,
    )
    # In batches of 4, the first fit sees 4 and then 6 masks, the second all 12 images.
    assert [record["gradient_steps"] for record in records] == [1 + 3, 2 + 3]


def test_records_say_which_groups_were_torn(tmp_path):
    train, test = parts()
    train = dataclasses.replace(train, groups=np.arange(12) % 4)
    test = dataclasses.replace(test, groups=np.arange(6) % 3)
    options = {**OPTIONS, "rounds": 0}
    with pytest.raises(ValueError, match="no group .* got 3 of 4 in both"):
        run(estimator(), train, test, random_sampling, out=tmp_path / "a", **options)
    assert not (tmp_path / "a").exists()
    records = run(
        estimator(),
        train,
        test,
        random_sampling,
        out=tmp_path / "a",
        allow_torn_groups=True,
        **options,
    )
    assert records[0]["torn_groups"] == {"n_torn": 3, "n_groups": 4, "published": False}
    text = write_report(tmp_path / "a").read_text(encoding="utf-8")
    assert "3 of 4 groups (patients) stand in train and test, as was asked for" in text
    train = dataclasses.replace(train, published_part="train")
    test = dataclasses.replace(test, published_part="test")
    # the same records go on, whoever said it
    again = run(estimator(), train, test, random_sampling, out=tmp_path / "a", **options)
    assert again == records
