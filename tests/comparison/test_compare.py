"""Comparisons: what is run, that it can be killed, and that nothing but the seed decides it."""

import ctypes
import dataclasses
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from small import SMALL, compared, data, estimator, numbers

import alseg.comparison.plan
from alseg import PseudoLabelAugmenter
from alseg.comparison.estimate import steps_of_fit, steps_of_job
from alseg.comparison.jobs import Row, slug
from alseg.comparison.plan import Plan
from alseg.comparison.result import Comparison, read_comparison
from alseg.datasets import make_glands
from alseg.experiment.machine import release_memory
from alseg.experiment.protocol import Protocol
from alseg.experiment.records import comparable, same
from alseg.files import RecordsError
from alseg.learner.ensemble import DeepEnsemble
from alseg.segmenter import JointCAMSegmenter, ValidationSet
from alseg.strategies import (
    bald_sampling,
    by_region,
    class_balanced,
    core_set_sampling,
    entropy_sampling,
    random_sampling,
)

# -- what is run --


def test_rows_of_a_seed_share_round_0(whole):
    for seed in whole.seeds:
        first = [comparable(whole.chains[name, seed][0]) for name in whole.names]
        for record in first:
            del record["strategy"], record["config"]
        assert first[0] == first[1]
    assert (
        numbers(whole)[0]["random", 0][0]["metrics"]
        != (numbers(whole)[0]["random", 1][0]["metrics"])
    )


def test_every_row_asks_for_its_own_and_as_many(whole):
    for (_, _), chain in whole.chains.items():
        assert [r["n_masks"] for r in chain] == [2, 4, 6]
        ids = [i for r in chain for i in r["sample_ids"]]
        assert len(set(ids)) == 6
    labels = np.asarray(data()[0].labels)
    for chain in whole.chains.values():
        for record in chain:  # class-balanced
            assert len(set(labels[record["sample_ids"]])) == 2


def test_records_hold_what_any_table_needs(whole):
    record = whole.chains["entropy", 1][-1]
    assert record["cost"]["images"] == 6 and record["cost"]["pixels"] == 6 * 32 * 32
    assert record["cost"]["clicks"] >= 6
    assert set(record["agreement"]) >= {"dice", "kappa"}
    assert {"fit", "query"} <= set(record["seconds"]) & set(record["memory_mib"])
    assert {"mask_calibration_error", "label_calibration_error"} <= set(record["metrics"])
    assert len(record["metrics"]["dice_per_image"]) == 6
    assert record["environment"]["torch_threads"] == 1
    assert record["config"]["data"]["n_train"] == 14


def test_a_chain_is_the_plain_experiment(whole, tmp_path):
    from alseg.comparison.jobs import n_threads
    from alseg.experiment.rounds import run

    train, test = data()
    with n_threads(1):
        plain = run(
            estimator(),
            train,
            test,
            class_balanced(entropy_sampling),
            rounds=2,
            n_instances=2,
            initial=2,
            seed=1,
            out=tmp_path,
        )
    chain = whole.chains["entropy", 1]
    assert [r["sample_ids"] for r in plain] == [r["sample_ids"] for r in chain]
    assert [r["metrics"] for r in plain] == [r["metrics"] for r in chain]


def test_controls_and_references_are_rows(tmp_path):
    protocol = Protocol(initial=2, n_instances=1, rounds=1)
    result = compared(tmp_path, {"random": random_sampling}, protocol, seeds=[3])
    assert result.names == ["random", "random, not balanced", "CAM-guided random"]
    assert result.family == []
    found = result.references()
    assert set(found) == {"full supervision", "weak labels only", "all-ones"}
    truth = [m == 1 for m in data()[1].masks]
    ones = np.mean([2 * m.sum() / (m.size + m.sum()) for m in truth])
    assert found["all-ones"] == pytest.approx([ones])
    full = result._references["full supervision"][0]
    assert (
        full["n_masks"] == 14
        and full["gradient_steps"] == (result.chains["random", 3][-1]["gradient_steps"])
    )
    assert "class_accuracy" not in result._references["all-ones"][0]["metrics"]


def test_without_a_random_strategy_the_control_is_the_fair_one():
    protocol = Protocol(initial=2, n_instances=1, rounds=1)
    plan = Plan(estimator(), {"entropy": entropy_sampling}, data(), protocol)
    assert plan.names == ["entropy", "random, not balanced", "random", "CAM-guided random"]
    strategies = {job.name: job.row.strategy for job in plan.jobs if job.kind == "chain"}
    balanced = np.asarray(data()[0].labels)[
        strategies["random"](None, list(range(14)), 4, random_state=0, y_pool=data()[0].labels)
    ]
    assert (balanced == balanced[0]).sum() == 2
    assert strategies["random, not balanced"] is random_sampling


def test_a_given_strategy_is_not_run_again_as_a_control():
    names = Plan(
        estimator(),
        {"mine": random_sampling},
        data(),
        Protocol(initial=2, n_instances=1, rounds=1, control="mine", class_balanced=False),
    ).names
    assert names == ["mine", "class-balanced random", "CAM-guided random"]


def test_steps_are_the_same_for_all_rows_and_rounds(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=2, controls=(), references=("full supervision",), n_steps=3
    )
    result = compared(tmp_path, protocol=protocol, seeds=[0])
    assert {r["gradient_steps"] for r in result.records} == {3}


def test_epochs_grow_with_the_masks(tmp_path):
    protocol = Protocol(initial=2, n_instances=4, rounds=2, controls=(), references=(), epochs=2)
    model = estimator(batch_size=4)
    result = compared(tmp_path, protocol=protocol, seeds=[0], estimator=model)
    steps = [r["gradient_steps"] for r in result.chains["entropy", 0]]
    assert steps == [2 * 1, 2 * 2, 2 * 3]  # of 2, 6 and 10 masks


def test_rows_with_an_augmenter_have_a_start_of_their_own(tmp_path):
    rows = {
        "random": random_sampling,
        "pseudo": Row(random_sampling, PseudoLabelAugmenter("all", weight=0.5)),
    }
    protocol = Protocol(initial=2, n_instances=2, rounds=1, controls=(), references=())
    result = compared(tmp_path, rows, protocol, seeds=[0])
    steps = {name: result.chains[name, 0][0]["gradient_steps"] for name in rows}
    assert steps["pseudo"] == 2 * steps["random"]
    first = [result.chains[name, 0][0] for name in rows]
    assert first[0]["sample_ids"] == first[1]["sample_ids"]
    assert first[0]["metrics"] != first[1]["metrics"]


def test_parts_of_images_are_rows_like_others(tmp_path):
    rows = {"random": random_sampling, "patches": by_region(unit="patch", size=8)}
    protocol = Protocol(initial=2, n_instances=3, rounds=1, controls=(), references=())
    result = compared(tmp_path, rows, protocol, seeds=[0])
    first, second = result.chains["patches", 0]
    assert second["cost"]["pixels"] - first["cost"]["pixels"] == 3 * 64
    x, y = result.curves(x="pixels")["patches"]
    assert x.tolist() == [[first["cost"]["pixels"], second["cost"]["pixels"]]]
    assert np.isfinite(result.areas()["patches"]).all()


def test_a_budget_ends_a_row(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=5, controls=(), references=(), budget=4, cost="images"
    )
    result = compared(tmp_path, protocol=protocol, seeds=[0])
    for chain in result.chains.values():
        assert [r["n_masks"] for r in chain] == [2, 4]
        assert "budget of 4 images is spent" in chain[-1]["stopped"]
    again = compared(tmp_path, protocol=protocol, seeds=[0])
    assert numbers(again) == numbers(result)


def test_agreement_ends_a_row_and_its_curve_goes_on(tmp_path):
    def only(name):
        return {name: random_sampling, "other": by_region(unit="patch", size=8)}

    protocol = Protocol(
        initial=2, n_instances=1, rounds=5, controls=(), references=(), stop_agreement=0.0
    )
    result = compared(tmp_path, only("random"), protocol, seeds=[0])
    chain = result.chains["random", 0]
    assert len(chain) == 4 and "agree" in chain[-1]["stopped"]  # three agreements after round 0
    x, y = result.curves()["random"]
    assert y.shape[1] == 4 and np.isfinite(y).all()


@pytest.mark.slow
def test_warm_start_continues_and_is_killed_in_the_same_way(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=2, controls=(), references=(), warm_start=True
    )
    result = compared(tmp_path / "a", protocol=protocol, seeds=[0])
    chain = tmp_path / "b" / "rows" / "entropy" / "0" / "records.jsonl"
    shorter = Protocol.from_dict({**protocol.to_dict(), "rounds": 1})
    compared(tmp_path / "b", protocol=shorter, seeds=[0])
    config = json.loads((tmp_path / "b" / "comparison.json").read_text())
    config["protocol"]["rounds"] = 2
    (tmp_path / "b" / "comparison.json").write_text(json.dumps(config))
    assert len(chain.read_text().splitlines()) == 2
    assert numbers(compared(tmp_path / "b", protocol=protocol, seeds=[0])) == numbers(result)
    cold = Protocol.from_dict({**protocol.to_dict(), "warm_start": False})
    cold = compared(tmp_path / "c", {"random": random_sampling}, cold, [0])
    assert cold.chains["random", 0][-1]["metrics"] != result.chains["random", 0][-1]["metrics"]


def test_folds_follow_the_seeds(tmp_path):
    glands = make_glands(20, image_size=(32, 32), random_state=0)
    protocol = Protocol(
        initial=2, n_instances=2, rounds=0, n_folds=4, controls=(), references=("all-ones",)
    )
    result = compared(tmp_path, {"random": random_sampling}, protocol, data=glands)
    tests = [result.chains["random", seed][0]["config"]["data"]["test"] for seed in range(2)]
    assert tests[0] != tests[1]
    assert len(result.references()["all-ones"]) == 2


def test_torn_groups_are_refused_or_told(tmp_path):
    train, test = data(6, 2)
    train = dataclasses.replace(train, groups=np.arange(6) % 3)
    test = dataclasses.replace(test, groups=np.array([0, 7]))
    protocol = Protocol(initial=2, rounds=0, controls=(), references=())
    rows = {"random": random_sampling}
    with pytest.raises(ValueError, match="no group .* got 1 of 4 in both .'0'"):
        compared(tmp_path, rows, protocol, [0], data=(train, test))
    parts = [
        dataclasses.replace(part, published_part=name)
        for part, name in ((train, "train"), (test, "test"))
    ]
    plan = Plan(estimator(), rows, parts, protocol)
    told = "1 of 4 groups (patients) stand in train and test, as published"
    assert told in plan.describe()
    result = compared(tmp_path, rows, protocol, [0], data=parts)
    assert result.chains["random", 0][0]["torn_groups"]["published"] is True
    assert told in result.to_html(tmp_path / "report.html").read_text(encoding="utf-8")


def test_models_without_a_class_head_are_compared_by_their_masks(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=1, controls=(), references=("full supervision",)
    )
    model = estimator(network__pooling=None)
    result = compared(tmp_path, protocol=protocol, seeds=[0], estimator=model)
    record = result.chains["entropy", 0][-1]
    assert "class_accuracy" not in record["metrics"] and 0 <= record["metrics"]["dice"] <= 1
    assert "mask_calibration_error" in record["metrics"]
    assert "predicted_label" not in record["asked"][0]


class MasksAndLabels(torch.nn.Module):
    """A whole network with a class head, and no class maps."""

    def __init__(self, n_classes):
        super().__init__()
        self.maps, self.drop = torch.nn.Conv2d(3, 2, 3, padding=1), torch.nn.Dropout(0.2)
        self.head = torch.nn.Linear(3, n_classes)

    def forward(self, x):
        return {"masks": self.drop(self.maps(x)), "class_logits": self.head(x.mean((2, 3)))}


def test_whole_networks_are_compared_and_rows_by_class_maps_refused_first(tmp_path):
    model = JointCAMSegmenter(network=MasksAndLabels, max_epochs=1, device="cpu")
    rows = {"random": random_sampling, "bald": bald_sampling}
    options = {"initial": 2, "n_instances": 2, "rounds": 1}
    for refused, rule in (
        (
            {"references": ("weak labels only",), "controls": ()},
            "'weak labels only' for a model wi",
        ),
        ({"references": (), "controls": ("CAM-guided random",)}, "'CAM-guided random' for a model"),
    ):
        with pytest.raises(ValueError, match=f"without {rule}.* no class maps"):
            compared(tmp_path / "x", rows, Protocol(**options, **refused), [0], estimator=model)
    protocol = Protocol(**options, controls=(), references=("full supervision",), warm_start=True)
    result = compared(tmp_path / "y", rows, protocol, [0], estimator=model)
    metrics = result.chains["bald", 0][-1]["metrics"]
    assert {"dice", "class_accuracy"} <= set(metrics)


def test_warm_rounds_count_their_own_steps(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=2, controls=(), references=(), warm_start=True, n_steps=2
    )
    result = compared(tmp_path, {"random": random_sampling}, protocol, seeds=[0])
    assert [r["gradient_steps"] for r in result.chains["random", 0]] == [2, 2, 2]


def three_classes():
    import dataclasses

    train, test = data()
    found = []
    for part in (train, test):
        masks = [np.where(np.arange(32) < 16, m, 2 * m) for m in part.masks]
        found.append(dataclasses.replace(part, masks=masks, instances=None))
    return found


def test_all_ones_of_three_pixel_classes(tmp_path):
    protocol = Protocol(initial=2, n_instances=1, rounds=0, controls=(), references=("all-ones",))
    model, parts = estimator(n_mask_classes=3), three_classes()
    result = compared(
        tmp_path, {"random": random_sampling}, protocol, [0], estimator=model, data=parts
    )
    metrics = result._references["all-ones"][0]["metrics"]
    truth = parts[1].masks
    first = [2 * (m == 1).sum() / (m.size + (m == 1).sum()) for m in truth]
    ones = np.mean([dice / (1 + (m == 2).any()) for dice, m in zip(first, truth, strict=True)])
    assert metrics["dice"] == pytest.approx(ones)
    assert all("class_accuracy" not in one for one in metrics["by_label"].values())


def test_full_supervision_takes_the_passes_of_the_protocol(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=0, controls=(), references=("full supervision",), epochs=2
    )
    model = estimator(batch_size=4, steps_per_epoch=7)
    result = compared(tmp_path, {"random": random_sampling}, protocol, [0], estimator=model)
    assert result._references["full supervision"][0]["gradient_steps"] == 2 * 4  # of 14 masks


class Last:
    """A strategy that is an object, and cannot be a key of a dict."""

    __hash__ = None

    def __call__(self, learner, X_pool, n_instances=1, *, masks_pool):
        assert len(masks_pool) == len(X_pool) and all(mask is None for mask in masks_pool)
        return np.arange(len(X_pool))[-n_instances:]


@pytest.mark.parametrize("balanced", [True, False])
def test_a_strategy_may_be_an_object_and_ask_for_masks(tmp_path, balanced):
    protocol = Protocol(
        initial=2,
        n_instances=2,
        rounds=1,
        controls=(),
        references=(),
        control="last",
        class_balanced=balanced,
    )
    result = compared(tmp_path, {"last": Last()}, protocol, seeds=[0])
    assert result.chains["last", 0][1]["n_masks"] == 4
    described = result.config["rows"]["last"]["strategy"]
    assert (described["score"] if balanced else described)["name"] == "Last"


# -- nothing but the seed decides --


@pytest.mark.slow
def test_more_seeds_add_to_what_is_there(one_seed, whole):
    chain = one_seed / "rows" / "entropy" / "0" / "records.jsonl"
    before = chain.read_bytes()
    result = compared(one_seed, seeds=[1])
    assert result.seeds == [0, 1] and chain.read_bytes() == before
    assert numbers(result) == numbers(whole)


def test_the_order_of_rows_does_not_matter(tmp_path):
    rows = {"random": random_sampling, "own": Row(random_sampling, None, estimator(lr=0.01))}
    protocol = Protocol(initial=2, n_instances=2, rounds=1, controls=(), references=())
    before = compared(tmp_path, rows, protocol, seeds=[0])
    shutil.rmtree(tmp_path / "rows")
    after = compared(tmp_path, dict(reversed(rows.items())), protocol, seeds=[0])
    assert numbers(after) == numbers(before)


def test_a_start_of_another_model_is_refused(one_seed):
    shutil.rmtree(one_seed / "rows")
    path = one_seed / "starts" / "shared" / "0" / "records.jsonl"
    path.write_text(path.read_text().replace('"max_epochs": 1', '"max_epochs": 2'))
    with pytest.raises(RecordsError, match="records.jsonl, line 1: not as it was written"):
        compared(one_seed, seeds=[0])
    path.with_name("records.jsonl.sha256").unlink()  # as of an earlier version
    with pytest.raises(RecordsError, match="round 0 of another run"):
        compared(one_seed, seeds=[0])


def test_more_seeds_of_folds_are_more_of_the_same(tmp_path):
    glands = make_glands(12, image_size=(32, 32), random_state=0)
    protocol = Protocol(initial=2, rounds=0, n_folds=2, controls=(), references=("all-ones",))
    rows = {"random": random_sampling}
    compared(tmp_path, rows, protocol, [0], data=glands)
    assert compared(tmp_path, rows, protocol, (s for s in [1]), data=glands).seeds == [0, 1]


# -- folders --


def test_another_comparison_in_the_folder_is_refused(one_seed):
    before = {p: p.read_bytes() for p in one_seed.rglob("*") if p.is_file()}
    with pytest.raises(RecordsError, match="another comparison .*rounds: 2 there, 3 now"):
        compared(one_seed, seeds=[0], protocol=Protocol(**{**SMALL.to_dict(), "rounds": 3}))
    with pytest.raises(RecordsError, match="another comparison .*core-set"):
        compared(one_seed, {"random": random_sampling, "core-set": core_set_sampling}, seeds=[0])
    with pytest.raises(RecordsError, match="another comparison .*max_epochs"):
        compared(one_seed, seeds=[0], estimator=estimator().set_params(max_epochs=2))
    with pytest.raises(RecordsError, match="another comparison .*train"):
        compared(one_seed, seeds=[0], data=data(13))
    assert {p: p.read_bytes() for p in one_seed.rglob("*") if p.is_file()} == before


def test_another_validation_set_is_another_comparison(tmp_path):
    def plan(first):
        part = data()[1].take(range(first, first + 2))
        chosen = ValidationSet(part.images, part.labels, part.masks)
        return Plan(estimator(validation=chosen), {"random": random_sampling}, data(), SMALL)

    path = tmp_path / "comparison.json"
    with alseg.comparison.plan._Folder(tmp_path, plan(0), "Python"):
        pass
    with pytest.raises(RecordsError, match="another comparison .validation: .*sha256"):
        alseg.comparison.plan._Folder(tmp_path, plan(1), "Python").__enter__()
    there = json.loads(path.read_text())
    for row in there["rows"].values():  # as it was told before there was a digest
        row["estimator"]["validation"] = row["estimator"]["validation"]["class"]
    path.write_text(json.dumps(there))
    with alseg.comparison.plan._Folder(tmp_path, plan(1), "Python"):
        pass
    row = json.loads(path.read_text())["rows"]["random"]
    assert row == plan(1).config["rows"]["random"]
    file = {"file": "w.pt", "sha256": "93"}  # a file instead of none is another comparison
    assert not any(same(there, file) for there in (None, "imagenet"))


def test_the_folder_of_a_plain_run_is_refused(tmp_path):
    (tmp_path / "records.jsonl").write_text("{}\n")
    with pytest.raises(RecordsError, match="something else"):
        compared(tmp_path)


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="out must be a folder that can be written to"):
        compared(tmp_path / "file")


def test_reading_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no comparison at"):
        read_comparison(tmp_path)


def test_a_corrupt_description(tmp_path):
    (tmp_path / "comparison.json").write_text('{"protocol": ')
    with pytest.raises(RecordsError, match="not JSON"):
        compared(tmp_path)


# -- bad arguments --


@pytest.mark.parametrize(
    "options, error, said",
    [
        ({"strategies": {"a": 3}}, TypeError, r"strategies\['a'\] must be callable"),
        ({"strategies": [random_sampling]}, TypeError, "strategies must be a dict"),
        ({"strategies": {1: random_sampling}}, TypeError, "named by strings"),
        ({"strategies": {"a": random_sampling}}, ValueError, "control must be one of"),
        ({"seeds": []}, ValueError, "seeds must be different integers"),
        ({"seeds": [1, 1]}, ValueError, "seeds must be different integers"),
        ({"seeds": [-1]}, ValueError, "seeds must be"),
        ({"seeds": 3}, TypeError, "seeds must be a sequence of integers, got 3"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be"),
        ({"data": ([1], [2])}, TypeError, "data must be Parts"),
        (
            {"protocol": Protocol(initial=2, rounds=1, metric="dic")},
            ValueError,
            "Did you mean 'dice'",
        ),
        (
            {"protocol": Protocol(initial=2, rounds=1, metric="dice_per_image")},
            ValueError,
            "metric must be one of",
        ),
        (
            {
                "protocol": Protocol(initial=2, rounds=2, window=(2, 4)),
                "strategies": {"parts": by_region(unit="patch", size=8)},
            },
            ValueError,
            "window must be None",
        ),
        ({"protocol": {"rounds": 3}}, TypeError, "protocol must be a Protocol"),
        (
            {"protocol": Protocol(initial=4, n_instances=4, rounds=3, controls=())},
            ValueError,
            "at most 14, the training images with a mask, got 16",
        ),
        (
            {"protocol": Protocol(family=("entropi",), rounds=1, controls=())},
            ValueError,
            "Did you mean 'entropy'",
        ),
        ({"estimator": estimator(network__pooling="avg")}, ValueError, "pooling must be"),
        (
            {"protocol": Protocol(initial=2, rounds=2, controls=(), window=(2, 8))},
            ValueError,
            r"window must be within \[2, 6\]",
        ),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        compared(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"n_mask_classes": 3}, {"network__pooling": None}])
def test_a_row_that_cannot_end_is_refused_at_once(tmp_path, options):
    sizes = {"initial": 2, "n_instances": 1, "rounds": 1}
    parts = three_classes() if "n_mask_classes" in options else data()

    def check(**changed):
        rows, protocol = {"random": random_sampling}, Protocol(**sizes, **changed)
        Plan(estimator(**options), rows, parts, protocol).check()

    with pytest.raises(ValueError, match="references must be without 'weak labels only' .*Leave"):
        check()
    others = ("full supervision", "all-ones")
    if "network__pooling" in options:
        with pytest.raises(ValueError, match="controls must be without 'CAM-guided random' .*Leav"):
            check(references=others)
        check(references=others, controls=("random",))
    else:
        check(references=others)
    Plan(estimator(), {"random": random_sampling}, data(), Protocol(**sizes)).check()


def test_a_bad_mask_is_named_before_anything_is_trained(tmp_path):
    train, test = data()
    masks = list(train.masks)
    masks[3] = masks[3][:16]
    import dataclasses

    with pytest.raises(ValueError, match="3"):
        compared(tmp_path / "out", data=(dataclasses.replace(train, masks=masks), test))
    assert not (tmp_path / "out").exists()


# -- what the records say --


def test_curves_and_areas(whole):
    x, y = whole.curves()["entropy"]
    assert x.tolist() == [[2, 4, 6], [2, 4, 6]] and y.shape == (2, 3)
    trapezoid = (y[:, 0] / 2 + y[:, 1] + y[:, 2] / 2) / 2
    np.testing.assert_allclose(whole.areas()["entropy"], trapezoid)
    np.testing.assert_allclose(whole.areas(window=(4, 6))["entropy"], y[:, 1:].mean(1))
    assert whole.curves(x="round")["random"][0][0].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="Did you mean 'masks'"):
        whole.curves(x="mask")
    with pytest.raises(ValueError, match="metric must be one of .*mean_iou"):
        whole.curves("iou_mean")


def test_a_verdict_in_words(whole):
    said = str(whole.verdict())
    assert "entropy" in said and "seeds" in said


def test_a_row_that_has_not_begun_has_no_verdict(one_seed):
    shutil.rmtree(one_seed / "rows" / "entropy")
    result = read_comparison(one_seed)
    assert result.verdict()["entropy"].n == 0 and not result.is_complete


def test_intervals_over_patients_and_seeds(whole):
    found = whole.patient_intervals()["entropy"]
    means = [
        np.mean([np.mean(r["metrics"]["dice_per_image"]) for r in whole.chains[name, seed]])
        for name in ("entropy", "random")
        for seed in whole.seeds
    ]
    assert found.mean == pytest.approx(np.mean(means[:2]) - np.mean(means[2:]))
    assert found.low <= found.mean <= found.high


def test_intervals_pair_the_seeds_that_both_have(whole, tmp_path):
    chains = {k: v for k, v in whole.chains.items() if k != ("entropy", 0)}
    chains["random", 1] = chains["random", 1][:2]
    options = (whole.protocol, whole.names, whole.family, whole.seeds, whole.config)
    assert Comparison(chains, {}, *options).patient_intervals() == {}
    chains["random", 1][-1] = {**chains["random", 1][-1], "stopped": "it agrees"}
    found = Comparison(chains, {}, *options).patient_intervals()["entropy"]
    means = {
        name: [np.mean(r["metrics"]["dice_per_image"]) for r in chains[name, 1]]
        for name in ("entropy", "random")
    }
    stopped = [*means["random"], means["random"][-1]]
    assert found.mean == pytest.approx(np.mean(means["entropy"]) - np.mean(stopped))


def test_a_curve_that_stopped_goes_on_through_the_window(tmp_path):
    protocol = Protocol(
        initial=2, n_instances=2, rounds=3, controls=(), references=(), budget=4, window=(2, 8)
    )
    result = compared(tmp_path, {"random": random_sampling}, protocol, seeds=[0])
    a, b = result.curves()["random"][1][0]
    assert result.areas()["random"] == pytest.approx([(2 * (a + b) / 2 + 4 * b) / 6])


def test_a_forecast_of_each_row(whole):
    found = whole.forecast(4)
    assert set(found) == {"random", "entropy"}
    for one in found.values():
        assert 0 <= one.low <= one.mean <= one.high <= 1
    with pytest.raises(ValueError, match="more must be"):
        whole.forecast(0)


def test_an_incomplete_comparison_is_read(whole, one_seed):
    config = json.loads((one_seed / "comparison.json").read_text())
    config["seeds"] = [0, 7]
    (one_seed / "comparison.json").write_text(json.dumps(config))
    result = read_comparison(one_seed)
    assert not result.is_complete and whole.is_complete
    assert np.isnan(result.curves()["entropy"][1][1]).all()
    assert np.isnan(result.areas()["entropy"][1])


def test_a_protocol_of_iterators_keeps_them_and_names_stand_once():
    protocol = Protocol(references=(n for n in ["all-ones"]), controls=np.array(["random"]))
    assert protocol.references == ("all-ones",) and protocol.controls == ("random",)
    sizes = Protocol(rounds=np.int64(3), window=np.array([2, 6]), alpha=np.float64(0.1))
    assert Protocol.from_dict(json.loads(json.dumps(sizes.to_dict()))) == sizes
    for name in ("references", "family"):
        with pytest.raises(ValueError, match=f"{name} must be different names"):
            Protocol(**{name: ["all-ones", "all-ones"]})
    with pytest.raises(TypeError, match=r"window\[0\] must be a number"):
        Protocol(window=("a", "b"))


def test_a_plan_counts_jobs_as_joblib_does(monkeypatch):
    plan = Plan(estimator(), {"random": random_sampling}, data(), SMALL, range(9))
    cost = {"seconds": 80.0, "seconds_per_fit": 1.0, "seconds_per_evaluation": 1.0, "mib": 1.0}
    cost |= {"n_steps": (1, 3), "unknown": None}
    monkeypatch.setattr(plan, "estimate", lambda: cost)
    monkeypatch.setattr("joblib.effective_n_jobs", lambda n: {-1: 8}[n])
    assert "about 10 s with 8 at once" in plan.describe(-1)
    assert "fits        27 of 1 to 3 steps" in plan.describe(-1)


@pytest.mark.slow
def test_counted_steps_are_those_that_are_taken(tmp_path):
    rows = {
        "random": random_sampling,
        "pseudo": Row(random_sampling, PseudoLabelAugmenter("all", weight=0.5)),
        "published": Row(random_sampling, PseudoLabelAugmenter("all", refit="published")),
        "continued": Row(random_sampling, PseudoLabelAugmenter("all", refit="continue")),
        "once": Row(random_sampling, PseudoLabelAugmenter("all", refit="once")),
    }
    protocol = Protocol(
        initial=2,
        n_instances=4,
        rounds=1,
        controls=(),
        epochs=2,
        references=("full supervision", "weak labels only"),
    )
    model = estimator(
        batch_size=4, schedule__phases="two-phase", schedule__class_phase={"max_epochs": 3}
    )
    result = compared(tmp_path, rows, protocol, seeds=[0], estimator=model)
    plan = Plan(model, rows, data(), protocol)
    taken = {
        ("start", "shared"): result.chains["random", 0][0],
        **{("chain", name): result.chains[name, 0][1] for name in rows},
        **{("start", f"own-{name}"): result.chains[name, 0][0] for name in list(rows)[1:]},
        **{("reference", name): found[0] for name, found in result._references.items()},
    }
    assert len(plan.jobs) == len(taken)
    for job in plan.jobs:
        steps = steps_of_job(job, protocol, 14)
        record = taken[job.kind, job.name]
        assert sum(steps) == record["gradient_steps"], (job.kind, job.name)
        assert len(steps) == job.n_fits
    # 2 masks are a step an epoch, 6 are two; three epochs on classes, two on masks.
    assert taken["chain", "random"]["gradient_steps"] == 2 * (3 + 2)
    assert taken["chain", "pseudo"]["gradient_steps"] == 2 * 2 * (3 + 2)
    # A fit that goes on has its classifier; one from scratch trains it again.
    assert taken["chain", "continued"]["gradient_steps"] == 2 * (3 + 2) + 2 * 2
    cost = plan.estimate()
    assert cost["n_steps"] == (2, 20) and cost["unknown"] is None
    assert np.isfinite(cost["seconds"]) and cost["seconds"] > 0


def test_some_rows_may_run_before_the_others(tmp_path):
    rows = {
        "random": random_sampling,
        "entropy": entropy_sampling,
        "pseudo": Row(random_sampling, PseudoLabelAugmenter("all")),
    }
    plan = Plan(estimator(), rows, data(), dataclasses.replace(SMALL, rounds=1), [0])
    result = plan.compare(tmp_path, verbose=0, only=["entropy"])
    assert list(result.chains) == [("entropy", 0)]
    assert sorted(p.name for p in (tmp_path / "starts").iterdir()) == ["shared"]
    assert result.names == list(rows)  # the others are still to come
    began = (tmp_path / "rows/entropy/0/records.jsonl").read_bytes()
    result = plan.compare(tmp_path, verbose=0)
    assert sorted(result.chains) == [("entropy", 0), ("pseudo", 0), ("random", 0)]
    assert (tmp_path / "rows/entropy/0/records.jsonl").read_bytes() == began
    for only, error, said in (
        (["entropi"], ValueError, "only must be one of .*Did you mean 'entropy'"),
        ("random", TypeError, r"only must be a collection of names.*Write only=\['random'\]"),
        (3, TypeError, "only must be a collection of names of rows, got 3"),
    ):
        with pytest.raises(error, match=said):
            plan.compare(tmp_path / "new", verbose=0, only=only)
    assert not (tmp_path / "new").exists()
    names = [(job.kind, job.name) for job in plan.jobs_of(name for name in ["entropy"])]
    assert sorted(names) == [("chain", "entropy"), ("reference", "all-ones"), ("start", "shared")]


def test_steps_of_passes_and_of_warm_fits():
    passes = estimator(batch_size=4, schedule__sampling="passes", network__pooling=None)
    assert [steps_of_fit(passes, n, 14) for n in (2, 6, 14)] == [1, 2, 4]
    assert (
        steps_of_fit(passes.set_params(network__pooling="average"), 2, 14) == 4
    )  # classes of all images
    warm = estimator(batch_size=4, schedule__refit_epochs=3).set_params(max_epochs=5)
    assert (steps_of_fit(warm, 2, 14), steps_of_fit(warm, 2, 14, again=True)) == (20, 12)


def test_what_an_estimator_without_steps_takes_is_not_known():
    rows = {
        "random": random_sampling,
        "five": Row(random_sampling, None, DeepEnsemble(estimator())),
    }
    plan = Plan(estimator(), rows, data(), SMALL)
    plan.check()
    said = plan.describe()
    assert "time        not known: DeepEnsemble has no max_epochs, steps_per_epoch and" in said
    assert "an unknown number of steps" in said and "nan" not in said
    assert np.isnan(plan.estimate()["seconds"])


def test_a_balanced_strategy_is_not_balanced_twice():
    mine = class_balanced(entropy_sampling)
    rows = {"random": random_sampling, "mine": mine, "bound": partial(mine, allow_short=True)}
    jobs = Plan(estimator(), rows, data(), SMALL).jobs
    asked = {job.name: job.row.strategy for job in jobs if job.kind == "chain"}
    assert asked["mine"] is mine and asked["bound"] is rows["bound"]
    assert asked["random"].keywords["score"] is random_sampling


def test_masks_are_checked_by_the_classes_of_each_row(tmp_path):
    own = Row(random_sampling, None, estimator(n_mask_classes=3))
    protocol = Protocol(**{**SMALL.to_dict(), "references": ()})
    Plan(estimator(), {"random": own}, three_classes(), protocol).check()
    rows = {"random": own, "other": entropy_sampling}  # of the comparison's estimator, with 2
    with pytest.raises(ValueError, match="value 2, which is no class: with n_mask_classes=2"):
        Plan(estimator(), rows, three_classes(), protocol).check()


# -- what ran it --


def test_what_ran_it_is_kept(one_seed, no_figures):
    there = json.loads((one_seed / "comparison.json").read_text())
    (ran,) = there["ran"]
    assert ran["command"] == "Python" and {"alseg", "python", "torch"} <= set(ran["versions"])
    compared(one_seed, seeds=[0])  # nothing is left to do
    assert json.loads((one_seed / "comparison.json").read_text()) == there
    there["ran"][0]["versions"]["torch"] = "1.0"
    (one_seed / "comparison.json").write_text(json.dumps(there))
    found = compared(one_seed, seeds=[1]).config["ran"]
    assert [one["versions"]["torch"] == "1.0" for one in found] == [True, False]
    page = read_comparison(one_seed).to_html(one_seed / "page.html").read_text("utf-8")
    assert page.count("<dt>run by</dt>") == 2 and "torch 1.0" in page


def test_weights_are_known_by_their_content(tmp_path, no_figures):
    from safetensors.torch import save_file

    from alseg.network.encoder import build_encoder

    home, out = tmp_path / "home" / "me", tmp_path / "out"
    for name in ("weights.safetensors", "other.safetensors"):
        (home / "b").mkdir(parents=True, exist_ok=True)
        save_file(build_encoder("tiny", None).state_dict(), home / name)
    shutil.copy(home / "weights.safetensors", home / "b" / "renamed.safetensors")
    once = partial(compared, out, protocol=dataclasses.replace(SMALL, rounds=1))
    first = once(seeds=[0], estimator=estimator(encoder_weights=home / "weights.safetensors"))
    text = (out / "comparison.json").read_text() + first.to_html(out / "a.html").read_text("utf-8")
    for path in out.rglob("*.jsonl"):
        text += path.read_text()
    assert str(tmp_path) not in text and '"file": "weights.safetensors"' in text
    moved = estimator(encoder_weights=str(home / "b" / "renamed.safetensors"))
    shutil.rmtree(out / "rows" / "entropy")  # goes on from the start that is there
    again = once(seeds=[0, 1], estimator=moved)
    assert again.is_complete and again.seeds == [0, 1]
    assert [r["metrics"] for r in again.chains["entropy", 0]] == [
        r["metrics"] for r in first.chains["entropy", 0]
    ]
    with pytest.raises(RecordsError, match="another comparison .*encoder_weights"):
        once(seeds=[0], estimator=estimator(encoder_weights=home / "other.safetensors"))


# -- the data of a report --


def test_data_of_another_comparison_are_refused(whole, one_seed):
    train, test = data()
    result = read_comparison(one_seed, (train, test))
    assert result.test is test and len(result.train.labels) == 14
    with pytest.raises(ValueError, match=r"14 images to train on and 6 to .* got \(13, 6\)"):
        read_comparison(one_seed, data(13))
    with pytest.raises(ValueError, match="data must be those of the comparison, where training"):
        read_comparison(one_seed, (train.take(range(13, -1, -1)), test))


def test_pictures_are_those_of_images_with_a_mask(tmp_path):
    import dataclasses

    train, test = data()
    masks = [None if i == 0 else mask for i, mask in enumerate(train.masks)]
    parts = dataclasses.replace(train, masks=masks), test
    result = compared(
        tmp_path, seeds=[0], data=parts, protocol=dataclasses.replace(SMALL, rounds=1)
    )
    assert len(result.train.labels) == 13  # as the ids of the records count them
    for record in result.chains["entropy", 0]:
        for item in record["asked"]:
            assert result.train.ids[item["sample_id"]] == item["id"] != train.ids[0]


def test_folders_of_names():
    names = ["a b", "a-b", "a/b", "../a", "", "é", "random", "x" * 90, "x" * 91]
    found = [slug(name) for name in names]
    assert len(set(found)) == len(names)
    assert all("/" not in s and ".." not in s and s for s in found)


def test_a_strategy_with_bound_arguments_is_described(tmp_path):
    rows = {"random": random_sampling, "mine": partial(entropy_sampling, aggregate="max")}
    plan = Plan(estimator(), rows, data(), SMALL)
    assert plan.config["rows"]["mine"]["strategy"]["score"]["aggregate"] == "max"


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="a C library that gives memory back by itself, or not at all",
)
def test_memory_that_is_free_goes_back_to_the_system():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pieces = [np.ones(6000) for _ in range(2000)]  # 96 MB, each too small for a mapping of its own
    last = np.ones(6000)  # lies above them, so that the heap cannot shrink by itself
    del pieces
    before = resident()
    release_memory()
    assert last.sum() == 6000 and before - resident() > 60e6


def test_memory_is_left_as_it_is_with_another_c_library(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    release_memory()
