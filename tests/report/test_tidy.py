"""Scores that leave as numbers: tidy frames and their files hold what the records hold."""

import csv

import numpy as np
import pandas as pd
import pytest
from made_comparison import made_comparison

from alseg.files import NotOurs
from alseg.report.tidy import DTYPES, tidy_frame, write_csv


def nested(frame):
    """The metrics of each row, seed and round again, as the records have them."""
    found = {}
    for line in frame.itertuples(index=False):
        place = found.setdefault((line.row, line.seed, line.round), {})
        *path, last = line.metric.split("/")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = None if np.isnan(line.value) else line.value
    return found


def listed(values):
    """Without the lists of single images, or with them as dicts by position."""
    return {
        k: {str(i): v for i, v in enumerate(value)} if isinstance(value, list) else value
        for k, value in values.items()
    }


def test_a_frame_holds_what_the_records_hold():
    result = made_comparison()
    for record in result.records[:3]:
        record["metrics"] |= {"object_f1": None, "by_label": {"a": {"dice": 0.1 + 0.2, "n": 3}}}
    frame = result.to_frame(per_image=True)
    there = {(r["strategy"], r["seed"], r["round"]): listed(r["metrics"]) for r in result.records}
    assert nested(frame) == there
    assert set(result.to_frame()["metric"]) == {
        "dice", "mean_iou", "object_f1", "by_label/a/dice", "by_label/a/n"
    }  # fmt: skip


def test_columns_and_their_types():
    result = made_comparison()
    frame = result.to_frame()
    assert list(frame) == list(DTYPES)
    for name, kind in DTYPES.items():
        assert frame[name].dtype == pd.Series([], dtype=kind).dtype
    pd.testing.assert_series_equal(frame.dtypes, tidy_frame([]).dtypes)
    first = frame.iloc[0]
    assert first["row"] == "random" and first["masks"] == first["cost"] == 4
    assert frame[frame["row"] == "all-ones"]["cost"].isna().all()
    clicks = result.to_frame(cost="clicks")
    assert clicks["cost"].iloc[0] == result.records[0]["cost"]["clicks"] == 4 * 60
    with pytest.raises(ValueError, match="cost must be one of .* got 'click'"):
        result.to_frame(cost="click")


def test_means_of_a_frame_are_the_curves():
    result = made_comparison()
    frame = result.to_frame().query("metric == 'dice' and row == 'mine'")
    x, y = result.curves()["mine"]
    by_masks = frame.groupby("masks")["value"].mean()
    assert by_masks.index.tolist() == x[0].tolist()
    assert by_masks.to_numpy() == pytest.approx(y.mean(axis=0), rel=1e-14)


def test_a_file_has_every_digit(tmp_path):
    result = made_comparison(names=("random", "=1+1", 'a, "b"'))
    path = result.to_csv(tmp_path / "scores.csv", per_image=True)
    with open(path, newline="", encoding="utf-8") as file:
        read = pd.DataFrame(list(csv.DictReader(file))).replace("", "nan")
    frame = result.to_frame(per_image=True)
    assert set(read["row"]) == set(frame["row"]) - {"=1+1"} | {"'=1+1"}  # no formula
    for name in set(DTYPES) - {"row"}:
        np.testing.assert_array_equal(read[name].astype(DTYPES[name]), frame[name])
    before = path.read_bytes()
    assert result.to_csv(path, per_image=True).read_bytes() == before  # written over its own


def test_a_file_of_somebody_else_stays(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("row,seed\n")
    with pytest.raises(NotOurs):
        write_csv(path, made_comparison().to_frame())
    assert path.read_text() == "row,seed\n"
