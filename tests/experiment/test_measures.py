"""Scores that a protocol names: what they are given, what is refused, and what files say."""

import dataclasses
import functools

import numpy as np
import pytest
from sklearn.utils import Bunch

from alseg.datasets import make_glands
from alseg.experiment.evaluation import evaluate
from alseg.experiment.measures import (
    NAMED,
    Measure,
    as_measures,
    average,
    hausdorff,
    hd95,
    measure_image,
    of_objects,
)
from alseg.experiment.protocol import Protocol
from alseg.labels import MISSING


def size(truth, prediction):
    return abs(int((truth > 0).sum()) - int((prediction > 0).sum()))


def brier(truth, prediction, proba):
    assert proba.shape == (2, *truth.shape)
    return ((proba[1] - (truth > 0)) ** 2).mean()


class Scaled:
    def __init__(self, by):
        self.by = by

    def __call__(self, truth, prediction, by=None):
        return size(truth, prediction) * (by or self.by)


# -- by name --


def squares():
    truth, prediction = np.zeros((2, 30, 40), dtype=np.int16)
    truth[5:15, 5:15] = 1
    prediction[5:15, 5:18] = 1
    return truth, prediction


def test_distances_by_hand():
    truth, prediction = squares()
    assert hausdorff(truth, prediction) == 3 == hausdorff(prediction, truth)
    prediction[5:15, 15:18] = 0
    prediction[10, 35] = 1  # a stray pixel, 21 columns away
    assert hausdorff(truth, prediction) == 21
    assert hd95(truth, prediction) == 0
    nothing = np.zeros_like(truth)
    assert hd95(nothing, nothing) == 0
    assert hd95(truth, nothing) == hd95(nothing, truth) == 50  # the diagonal of 30 x 40
    truth[0, 0] = MISSING
    assert np.isnan(hd95(truth, prediction)) and np.isnan(hd95(np.minimum(truth, 0), nothing))


def test_classes_are_averaged():
    truth, prediction = squares()
    assert hausdorff(truth * 2, prediction * 2) == 3
    truth[20:25, 20:25] = prediction[20:25, 20:25] = 2  # a second class without an error
    assert hausdorff(truth, prediction) == 1.5


def test_distance_of_objects():
    truth, prediction = squares()
    assert of_objects(truth, prediction, instances=truth) == 3
    assert of_objects(truth, 0 * prediction, instances=truth) == 50
    assert np.isnan(of_objects(truth, prediction, instances=None))


def test_they_are_selected_by_name():
    assert Protocol(metric="hd95").metrics == {"hd95": NAMED["hd95"]}
    assert list(Protocol(metrics=["hausdorff"], metric="hd95").metrics) == ["hausdorff", "hd95"]
    protocol = Protocol(metrics={"far": "hausdorff"})
    assert protocol.better("far") == "lower" and protocol.scale("far") == 1
    assert (protocol.better(), protocol.scale()) == ("higher", 100)
    assert protocol.better("mask_calibration_error") == "lower"


# -- of one's own --


def test_a_function_gets_what_it_names():
    truth, prediction = squares()
    proba = np.stack([prediction == 0, prediction == 1]).astype(float)
    measures = as_measures({"size": size, "brier": (brier, "lower"), "by": Scaled(2)})
    found = measure_image(measures, truth, prediction, proba=proba, instances=None)
    assert found == {"size": 30, "brier": 30 / 1200, "by": 60}
    assert [one.better for one in measures.values()] == ["higher", "lower", "higher"]
    assert all(np.isnan(v) for v in measure_image(measures, None, prediction).values())


def test_masks_cannot_be_written_to():
    def careless(truth, prediction):
        truth[:] = 0

    with pytest.raises(ValueError, match="read-only"):
        measure_image(as_measures({"careless": careless}), *squares())


@pytest.mark.parametrize(
    "value, error, said",
    [
        ("three", TypeError, r"metrics\['f'\] must be a function that gives a number .* 'three'"),
        (None, TypeError, "a function that gives a number"),
        ([1, 2], TypeError, "a function that gives a number"),
        (np.inf, ValueError, "finite, or NaN .* got inf. Give the worst value"),
    ],
)
def test_what_is_no_number_is_named(value, error, said):
    measures = as_measures({"f": lambda truth, prediction: value})
    with pytest.raises(error, match=said):
        measure_image(measures, *squares())


def test_images_without_a_value_are_left_out():
    assert average([1.0, np.nan, 3.0]) == 2.0
    assert average([np.nan]) is None and average([]) is None


@pytest.mark.parametrize(
    "metrics, error, said",
    [
        ("hd95", TypeError, "metrics must be a dict of names and functions, or a sequence"),
        (3, TypeError, "metrics must be a dict"),
        (["hd59"], ValueError, r"metrics\['hd59'\] must be one of .* Did you mean 'hd95'"),
        ({"dice": size}, ValueError, "named unlike what every record has, got 'dice'"),
        ({"size_per_image": size}, ValueError, "named unlike"),
        ({"by_label": size}, ValueError, "named unlike"),
        ({"": size}, ValueError, "named by strings without a slash"),
        ({"a/b": size}, ValueError, "without a slash"),
        ({"f": 3}, TypeError, r"metrics\['f'\] must be a function, got 3"),
        ({"f": (size, "least")}, ValueError, r"metrics\['f'\] must be one of"),
        ({"f": (size,)}, ValueError, r"must be \(function, 'higher' or 'lower'\)"),
        ({"f": ("hd95", "higher")}, ValueError, "'lower' for 'hd95', a distance, got 'higher'"),
    ],
)
def test_bad_metrics_are_refused_with_the_protocol(metrics, error, said):
    with pytest.raises(error, match=said):
        Protocol(metrics=metrics)


# -- in files --


def test_a_protocol_with_metrics_is_kept_as_json(tmp_path):
    metrics = {"size": (size, "lower"), "b": functools.partial(Scaled(1), by=3), "hd95": "hd95"}
    protocol = Protocol(metrics=metrics, metric="size")
    told = protocol.to_dict()["metrics"]
    assert told["size"] == ["test_measures:size", "lower"]
    assert told["b"] == ["test_measures:Scaled(by=3)", "higher"]
    read = Protocol.load(protocol.save(tmp_path / "protocol.json"))
    assert read == protocol and read.metrics["size"].function is None  # nothing was imported
    assert hash(read) == hash(protocol)
    assert read.metrics["size"].resolved().function is size
    assert "metrics" not in Protocol().to_dict()  # as in files of before
    assert dataclasses.replace(protocol, rounds=3).metrics["size"].function is size


def test_what_cannot_be_imported_is_said_when_it_is_needed():
    measure = as_measures({"f": "nowhere.at.all:f"})["f"]
    with pytest.raises(ValueError, match="metric must be package.module:name .* ModuleNotFound"):
        measure.resolved()
    with pytest.raises(ValueError, match="metric must be a name in test_measures"):
        Measure("test_measures:sise").resolved()


# -- in an evaluation --


class Model:
    """Predicts the truth moved by a column."""

    n_mask_classes, has_class_head, threshold_ = 2, False, 0.5

    def __init__(self, masks):
        self.masks, self.place = masks, 0

    def predict_mask_proba(self, images):
        some = self.masks[self.place : self.place + len(images)]
        self.place += len(images)
        moved = [np.roll(mask, 1, axis=1) for mask in some]
        return [np.stack([mask == 0, mask == 1]).astype(float) for mask in moved]


def test_an_evaluation_averages_images_over_its_chunks():
    glands = make_glands(20, image_size=(32, 40), random_state=0)  # more than one chunk
    measures = as_measures({"size": size, "brier": brier, "object_hausdorff": "object_hausdorff"})
    found = evaluate(Model(list(glands.masks)), glands, measures)
    by_hand = [size(mask, np.roll(mask, 1, axis=1)) for mask in glands.masks]
    assert found["size_per_image"].tolist() == by_hand
    assert found["size"] == np.mean(by_hand)
    differing = [(mask != np.roll(mask, 1, axis=1)).mean() for mask in glands.masks]
    assert found["brier"] == pytest.approx(np.mean(differing))
    assert 0 < found["object_hausdorff"] < 40
    plain = evaluate(Model(list(glands.masks)), glands)
    assert {k: v for k, v in found.items() if k in plain and k != "dice_per_image"} == {
        k: v for k, v in plain.items() if k != "dice_per_image"
    }


def test_of_masks_alone_there_are_probabilities_of_0_and_1():
    class Ones:
        n_mask_classes = 2

        def predict_joint(self, images):
            masks = [np.ones(image.shape[:2], np.int16) for image in images]
            return Bunch(labels=np.full(len(masks), None), masks=masks)

        predict = predict_proba = None

    glands = make_glands(3, image_size=(32, 40), random_state=0)
    found = evaluate(Ones(), glands, as_measures({"brier": brier}))
    assert found["brier"] == pytest.approx(np.mean([(mask == 0).mean() for mask in glands.masks]))
