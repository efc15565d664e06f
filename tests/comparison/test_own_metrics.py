"""Scores of one's own in a comparison: measured, kept, and judged in their direction."""

import dataclasses
import pickle
import re

import cloudpickle
import numpy as np
import pytest
from made_comparison import made_comparison
from small import SMALL, compared, data, estimator, numbers

from alseg.comparison.plan import Plan
from alseg.comparison.result import Comparison, read_comparison
from alseg.experiment import Protocol
from alseg.files import RecordsError
from alseg.report import comparison_numbers, comparison_table
from alseg.strategies import random_sampling


def wrong(truth, prediction):
    return float((truth != prediction).mean())


OWN = dataclasses.replace(
    SMALL, rounds=1, metrics={"wrong": (wrong, "lower"), "hd95": "hd95"}, metric="wrong"
)


def with_distances(**options):
    """A comparison whose rows are the nearer the better they are, by "hd95" in pixels."""
    made = made_comparison(**options)
    protocol = dataclasses.replace(made.protocol, metric="hd95")
    for record in made.records:
        record["metrics"]["hd95"] = 40 * (1 - record["metrics"]["dice"])
    return Comparison(
        made.chains, made._references, protocol, made.names, made.family, made.seeds, made.config
    )


def test_measured_kept_and_compared(tmp_path):
    result = compared(tmp_path, protocol=OWN, seeds=[0])
    for record in result.records:
        metrics = record["metrics"]
        assert metrics["wrong"] == pytest.approx(np.mean(metrics["wrong_per_image"]))
        assert len(metrics["hd95_per_image"]) == 6
        told = {"wrong": ["test_own_metrics:wrong", "lower"], "hd95": ["hd95", "lower"]}
        assert record["config"]["metrics"] == told
    assert result.curves()["entropy"][1].tolist() == [
        [r["metrics"]["wrong"] for r in result.chains["entropy", 0]]
    ]
    assert result.references()["all-ones"].shape == (1,)
    again = read_comparison(tmp_path)  # without the function
    assert numbers(again) == numbers(result) and again.metric == "wrong"
    assert again.verdict()["entropy"].n == 1
    assert numbers(compared(tmp_path, protocol=OWN, seeds=[0])) == numbers(result)
    for others in ({"wrong": wrong, "hd95": "hd95"}, ["hd95"]):
        other = dataclasses.replace(OWN, metrics=others, metric="hd95")
        with pytest.raises(RecordsError, match="is of another comparison"):
            compared(tmp_path, protocol=other, seeds=[0])


def test_a_protocol_goes_to_other_processes():
    here = dataclasses.replace(OWN, metrics={"own": lambda truth, prediction: 3.0}, metric="dice")
    there = cloudpickle.loads(cloudpickle.dumps(here))
    assert there == here and there.metrics["own"].function(None, None) == 3.0
    assert pickle.loads(pickle.dumps(OWN)).metrics["wrong"].function is wrong


def test_a_score_that_a_file_names_is_imported_by_the_plan():
    read = Protocol.from_dict(OWN.to_dict())
    assert read.metrics["wrong"].function is None
    plan = Plan(estimator(), {"random": random_sampling}, data(), read)
    assert plan.protocol.metrics["wrong"].function is wrong and plan.protocol == OWN


@pytest.mark.parametrize(
    "options, said",
    [
        ({"metric": "wrnog"}, "metric must be one of .* Did you mean 'wrong'"),
        ({"metrics": {"wrong": "nowhere:f"}}, "metric must be package.module:name"),
    ],
)
def test_refused_before_anything_is_written(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        compared(tmp_path / "out", protocol=dataclasses.replace(OWN, **options))
    assert not (tmp_path / "out").exists()


def test_objects_that_are_not_known_are_refused(tmp_path):
    train, test = data()
    test = dataclasses.replace(test, instances=None)
    protocol = dataclasses.replace(OWN, metrics=["object_hausdorff"], metric="dice")
    with pytest.raises(ValueError, match="object_hausdorff.* test images have no numbers of obj"):
        compared(tmp_path / "out", data=(train, test), protocol=protocol)


def test_less_is_better_in_all_that_is_said():
    result = with_distances(n_seeds=6)
    dice = made_comparison(n_seeds=6)
    row, of_dice = result.verdict()["mine"], dice.verdict()["mine"]
    assert row.decision == of_dice.decision == "better"
    assert row.difference == pytest.approx(-40 * of_dice.difference)
    assert "mine is better than random" in str(result.verdict()).splitlines()[0].replace(
        "are", "is"
    )
    assert "Area under hd95, of which less is better, against random" in str(result.verdict())
    assert {n: r for n, (r, _) in result.ranks().items()} == {
        n: r for n, (r, _) in dice.ranks().items()
    }
    assert result.labels_saved() == result.forecast(4) == result.foreground_efficiency() == {}
    assert result.backtest() is None
    assert result.labels_saved(metric="dice") == dice.labels_saved()


def test_the_table_is_in_pixels(tmp_path):
    result = with_distances()
    table = comparison_numbers(result).set_index("row")
    assert table["final"]["mine"] == pytest.approx(result.curves()["mine"][1][:, -1].mean())
    assert np.isnan(table["masks_90"]["mine"])
    assert table["difference"]["mine"] == pytest.approx(result.verdict()["mine"].difference)
    assert "Hausdorff 95 % (px)" in comparison_table(result)
    of_dice = result.table(metric="dice")
    assert of_dice.equals(made_comparison().table())
    text = result.to_html(tmp_path / "page.html").read_text("utf-8")
    assert "Less is better" in text and "Masks saved" not in text
    assert re.search(r"row on the left is below the one", text)
    assert result.plot().get_ylabel() == "Hausdorff 95 % (px)"
