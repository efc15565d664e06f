"""The benchmark of class activation maps: its pieces by hand, and runs on synthetic glands."""

import importlib.util

import numpy as np
import pytest
import torch

from alseg.datasets import Dataset, make_glands
from alseg.experiment.records import comparable, read_records
from alseg.images import as_images
from alseg.segmenter.inference import pool_batches
from benchmarks.studies import cams

OPTIONS = {"encoder": "tiny", "encoder_weights": None, "image_size": (40, 72), "steps": 6}
OPTIONS |= {"device": "cpu", "seeds": [0, 1]}

with_torchcam = pytest.mark.skipif(
    importlib.util.find_spec("torchcam") is None,
    reason="no torchcam: pip install -r benchmarks/requirements-peers.txt",
)


@pytest.fixture(scope="module")
def parts():
    sizes = {"train": 12, "valid": 3, "test": 4}
    return {
        name: make_glands(n, image_size=(48, 80), random_state=seed)
        for seed, (name, n) in enumerate(sizes.items())
    }


@pytest.fixture(scope="module")
def model(parts):
    return cams.fit(parts["train"], OPTIONS, "average", 0)[0]


# -- explained maps ---------------------------------------------------------------------------


def head_input(model, images):
    """What the class head sees (n, d, h, w), and its weights (K, d)."""
    network = model.module_.eval()
    ((_, x),) = batches(model, images)
    with torch.no_grad():
        features = network.embed(network.encode(x))
    return features, network.class_head.maps.weight[:, :, 0, 0].detach()


def batches(model, images):
    return pool_batches(as_images(images), model.canvas_, 16, "cpu", torch.contiguous_format)


@with_torchcam
def test_grad_cam_of_average_pooling_is_the_cam_without_bias_and_negative_values(parts, model):
    test = parts["test"]
    classes = cams.true_class(model, test)
    maps = cams.explained(model, "GradCAM", test.images, classes)
    own = model.predict_cams(test.images)
    bias = model.module_.class_head.maps.bias.detach().numpy()
    features, _ = head_input(model, test.images)
    n_positions = features[0, 0].numel()
    for one, cam, k in zip(maps, own, classes, strict=True):
        expected = np.maximum(cam[k] - bias[k], 0) / n_positions
        assert one.shape == cam[k].shape
        np.testing.assert_allclose(one.numpy(), expected, atol=1e-6)


@with_torchcam
def test_layer_cam_keeps_the_features_that_speak_for_the_class(parts, model):
    test = parts["test"]
    classes = cams.true_class(model, test)
    features, weight = head_input(model, test.images)
    n_positions = features[0, 0].numel()
    expected = torch.einsum("nd,ndhw->nhw", weight[classes].clamp(min=0) / n_positions, features)
    maps = cams.explained(model, "LayerCAM", test.images, classes)
    for one, other in zip(maps, expected.clamp(min=0), strict=True):
        height, width = one.shape
        np.testing.assert_allclose(one.numpy(), other[:height, :width].numpy(), atol=1e-6)


@with_torchcam
@pytest.mark.parametrize("explainer", ["GradCAMpp", "ScoreCAM"])
def test_other_explainers_depend_on_the_class_and_give_the_network_back(parts, model, explainer):
    test = parts["test"]
    network = model.module_.train()
    before = model.predict_cams(test.images)
    maps = [
        torch.stack(cams.explained(model, explainer, test.images, np.full(4, k))) for k in (0, 1)
    ]
    assert maps[0].shape == (4, 3, 5) and (maps[0] >= 0).all()
    assert not torch.allclose(maps[0], maps[1])
    assert network.training and not network.class_head.dropout._forward_hooks
    np.testing.assert_array_equal(model.predict_cams(test.images), before)


def test_classifier_gives_the_logits_of_the_network(parts, model):
    network = model.module_.eval()
    ((_, x),) = batches(model, parts["test"].images)
    with torch.no_grad():
        logits = cams.Classifier(network)(cams.normalised(network, x))
        expected = network(x, n_decode=0)["logits"]
    torch.testing.assert_close(logits, expected)


# -- masks and scores -------------------------------------------------------------------------


def part_of(mask, labels=("a",)):
    masks = np.array([mask], np.int16)
    return Dataset(np.zeros((1, *masks.shape[1:], 3), np.uint8), np.array(labels), masks)


def test_largest_is_where_the_map_of_the_class_wins():
    part = part_of([[0, 1], [1, 0]])
    cam = np.array([[[1.0, 5.0], [2.0, 0.0]], [[3.0, 4.0], [1.0, 0.5]]])
    (mask,) = cams.largest([cam], [0], part)
    assert mask.tolist() == [[0, 1], [1, 0]]
    (mask,) = cams.largest([cam], [1], part)
    assert mask.tolist() == [[1, 0], [0, 1]]


def test_scores_of_a_map_by_hand():
    part = part_of([[0, 0, 1, 1]])
    one = np.array([[0.0, 0.45, 0.3, 1.0]], np.float32)
    found = cams.scores({"valid": [one], "test": [one]}, {"valid": part, "test": part})
    # Above 0.45 alone the last pixel: IoU (1 + 1) / (2 + 1) and (2 + 1) / (3 + 1), smoothed; from
    # 0.05 to 0.3 three pixels: (2 + 1) / (3 + 1) and (1 + 1) / (2 + 1). Equal: nearest to 0.5.
    assert found["threshold"] == 0.5
    assert found["dice"]["validation"] == found["dice"]["half"]
    assert found["dice"]["half"] == pytest.approx({"foreground": 2 / 3, "background": 0.8})
    assert found["pixel_ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["n_constant"] == 0


def test_threshold_comes_from_validation_and_not_from_test():
    parts = {"valid": part_of([[0, 1]]), "test": part_of([[0, 1]])}
    low, high = np.array([[0.1, 0.2]], np.float32), np.array([[0.8, 0.9]], np.float32)
    found = cams.scores({"valid": [low], "test": [high]}, parts)
    assert found["threshold"] == 0.2  # best for the test map: 0.9
    assert found["dice"]["validation"] == pytest.approx({"foreground": 2 / 3, "background": 0})
    assert cams.scores({"valid": [low], "test": [low]}, parts)["dice"]["validation"] == {
        "foreground": 1,
        "background": 1,
    }


def test_all_ones_has_the_prevalence_as_precision_and_no_background(parts):
    held = {key: parts[key] for key in ("valid", "test")}
    found = cams.scores(cams.unlearned("all-ones", held, OPTIONS, 0), held)
    share = np.mean(parts["test"].masks == 1, axis=(1, 2))
    assert found["pixel_ap"] == pytest.approx(share.mean())
    assert found["dice"]["half"]["background"] == 0
    assert found["dice"]["half"]["foreground"] == pytest.approx(np.mean(2 * share / (1 + share)))
    assert found["n_constant"] == 4


@pytest.mark.parametrize("name", ["random-pixels", "random-map", "stain"])
def test_maps_without_a_network_are_in_range_and_repeat(parts, name):
    held = {key: parts[key] for key in ("valid", "test")}
    maps = cams.unlearned(name, held, OPTIONS, 3)
    again = cams.unlearned(name, held, OPTIONS, 3)
    for key in held:
        assert [one.shape for one in maps[key]] == [mask.shape for mask in held[key].masks]
        for one, other in zip(maps[key], again[key], strict=True):
            assert one.min() >= 0 and one.max() <= 1 and np.ptp(one) > 0
            np.testing.assert_array_equal(one, other)


# -- the plan, a run, the table ---------------------------------------------------------------


def test_plan_has_a_fit_for_each_pooling_and_seed(capsys):
    assert cams.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    # 13 rows, of which all-ones and the stain have one seed; five poolings.
    assert "35 records, 15 fits" in said and "Score-CAM" in said
    assert cams.chosen_rows(["lse"]) == ["all-ones", "random-map", "lse"]
    assert {row.pooling for row in cams.ROWS.values()} == {
        None,
        "average",
        "max",
        "lse",
        "wildcat",
        "attention",
    }


def test_a_stopped_run_goes_on_and_gives_the_same_records(parts, tmp_path, monkeypatch):
    rows = cams.chosen_rows(["random-map", "average", "max"])
    cams.run_all(OPTIONS, rows, parts, tmp_path / "whole")
    whole = read_records(tmp_path / "whole")
    assert [(r["seed"], r["row"]) for r in whole] == cams.tasks(OPTIONS, rows)
    cams.run_all(OPTIONS, rows[:2], parts, tmp_path / "piece")
    cams.run_all(OPTIONS, rows, parts, tmp_path / "piece")
    fits = []
    monkeypatch.setattr(cams, "fit", lambda *a: fits.append(a))
    cams.run_all(OPTIONS, rows, parts, tmp_path / "piece")
    assert fits == []

    def known(records):
        records = sorted(records, key=lambda r: (r["seed"], r["row"]))
        return [comparable(record) for record in records]

    assert known(read_records(tmp_path / "piece")) == known(whole)
    trained = [r for r in whole if r["row"] in ("average", "max")]
    assert all({"validation", "half", "argmax"} == set(r["dice"]) for r in trained)
    lines = cams.table(whole).splitlines()
    assert len(lines) == 2 + len(rows) and lines[0].startswith("| map | seeds | class error |")
    assert all(line.count("|") == len(cams.HEAD) + 1 for line in lines)
    assert "| 66.01 | 0.00 |" in lines[2] and "| 66.90 | 17.88 |" in "".join(lines)


def test_gain_above_a_control_is_paired_by_seed():
    def record(seed, *values):
        groups = ["p", "p", "q", "q"]
        return {"seed": seed, "pixel_ap_per_image": list(values), "groups": groups}

    own = [record(0, 0.6, 0.7, 0.8, 0.9), record(1, 0.2, 0.3, 0.4, 0.5)]
    same = [record(1, 0.1, 0.2, 0.3, 0.4), record(0, 0.5, 0.6, 0.7, 0.8)]
    assert cams.above(own, same) == "+10.0 [+10.0, +10.0]"  # not paired, it would be wide
    one = [record(0, 0.1, 0.1, 0.1, 0.1)]
    assert cams.above(own, one).startswith("+45.0 [")  # one for all seeds
    assert cams.above(one, own).startswith("-45.0 [")  # and the mean of several for one
    assert cams.above([record(0, 0.2, 0.2, 0.2, 0.2)], one) == "+10.0 [+10.0, +10.0]"


def test_without_torchcam_its_rows_are_left_out(parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cams.importlib.util, "find_spec", lambda name: None)
    rows = cams.chosen_rows(["grad-cam", "score-cam"])
    cams.run_all(OPTIONS, rows, parts, tmp_path)
    assert "skipped grad-cam, score-cam: no torchcam; pip install -r" in capsys.readouterr().out
    assert {r["row"] for r in read_records(tmp_path)} == {"all-ones", "random-map"}
    cams.run_all(OPTIONS, cams.chosen_rows(["stain"]), parts, tmp_path)
    assert "skipped" not in capsys.readouterr().out


@with_torchcam
def test_explained_rows_share_the_network_of_average_pooling(parts, tmp_path, monkeypatch):
    fits, fit = [], cams.fit
    monkeypatch.setattr(cams, "fit", lambda *a: fits.append(a[2:]) or fit(*a))
    options = OPTIONS | {"seeds": [0]}
    rows = cams.chosen_rows(["average", "grad-cam", "grad-cam++", "layer-cam", "score-cam"])
    cams.run_all(options, rows, parts, tmp_path)
    records = read_records(tmp_path)
    assert fits == [("average", 0)] and [r["row"] for r in records] == rows
    assert len({r["class_error"] for r in records[2:]}) == 1
    assert all("argmax" not in r["dice"] for r in records[3:])
    assert records[0]["environment"]["torchcam"]
