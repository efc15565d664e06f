"""The study of ways of telling glands apart: what each does to two maps, and its table."""

import numpy as np
import pytest
from sklearn.utils import Bunch

from alseg import JointCAMSegmenter, Objects
from alseg.datasets import make_discs
from benchmarks.studies import separation
from benchmarks.studies.separation import BEST, WAYS, Way, absorbed, objects_of


def maps_of(foreground, inside=None, min_size=0):
    foreground = np.asarray(foreground, dtype=float)
    inside = foreground if inside is None else np.asarray(inside, dtype=float)
    return Bunch(
        mask_proba=np.stack([1 - foreground, foreground]), inside=inside, min_size=min_size
    )


def test_they_begin_from_what_the_library_and_its_preset_do():
    preset = JointCAMSegmenter.from_preset("alseg-best").objects
    assert {"least": preset.inside, "seam": preset.seam} == BEST
    assert len(set(WAYS.values())) == len(WAYS) and next(iter(WAYS)) == separation.FIRST
    discs = make_discs(4, (32, 48), n_discs=5, random_state=0)
    objects = Objects("border", mask_kind="instances", border_width=1.0)
    options = {"encoder": "tiny", "max_epochs": 4, "random_state": 0, "device": "cpu"}
    model = JointCAMSegmenter(objects=objects, **options)
    model.fit(discs.images, discs.labels, discs.instances)
    for way in (Way(), Way(**BEST)):
        model.set_params(objects__inside=way.least, objects__seam=way.seam)
        of_library = model.predict_objects(discs.images)
        for maps, expected in zip(model.iter_object_maps(discs.images), of_library, strict=True):
            np.testing.assert_array_equal(objects_of(way, maps, model.threshold_), expected)


ROW = [[0.9, 0.9, 0.7, 0.3, 0.6, 0.6, 0.1, 0.8]]


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        (Way(), [1, 1, 1, 0, 2, 2, 0, 3]),
        (Way(more=0.2), [1, 1, 1, 0, 0, 0, 0, 2]),
        (Way(more=-0.25, seam=0.4), [1, 1, 1, 1, 1, 1, 0, 2]),  # a seam of 0.45 or 0.5
        (Way(sure=0.75), [1, 1, 1, 0, 0, 0, 0, 3]),
        (Way(smallest=2.0), [1, 1, 1, 0, 2, 2, 0, 0]),
        (Way(smallest=3.0), [1, 1, 1, 0, 0, 0, 0, 0]),
        (Way(absorbed=True, smallest=2.0), [1, 1, 1, 0, 2, 2, 0, 0]),
    ],
)
def test_by_hand_in_a_row(way, expected):
    found = objects_of(way, maps_of(ROW, min_size=1), 0.5)
    np.testing.assert_array_equal(found, [expected])


def test_gaps_are_closed_and_bridges_opened():
    gap = np.zeros((9, 21))
    gap[2:7, 2:9] = gap[2:7, 12:19] = 1
    bridge = gap.copy()
    bridge[4, 9:12] = 1
    inside = np.ones_like(gap)
    assert objects_of(Way(), maps_of(gap, inside), 0.5).max() == 2
    closed = objects_of(Way(closed=2), maps_of(gap, inside), 0.5)
    assert closed.max() == 1 and closed[4, 10] and not closed[:, [0, 1, 19, 20]].any()
    assert objects_of(Way(), maps_of(bridge), 0.5).max() == 1
    assert objects_of(Way(closed=-2), maps_of(bridge), 0.5).max() == 2
    cut = np.ones((5, 21))
    cut[:, 10] = 0
    assert objects_of(Way(), maps_of(cut), 0.5).max() == 2
    assert objects_of(Way(blur=2.0), maps_of(cut), 0.5).max() == 1


def test_what_is_too_small_belongs_to_the_neighbour_it_touches_most():
    numbers = np.array(
        [[1, 1, 1, 2, 2, 2], [1, 1, 3, 3, 2, 2], [0, 0, 0, 3, 2, 2], [4, 0, 0, 0, 0, 0]]
    )
    expected = np.array([[1, 1, 1, 2, 2, 2], [1, 1, 2, 2, 2, 2], [0, 0, 0, 2, 2, 2], [0] * 6])
    np.testing.assert_array_equal(absorbed(numbers, 4), expected)
    np.testing.assert_array_equal(absorbed(numbers, 0), numbers)


def record(fold, whole, of_first, of_second):
    scores = {name: {"f1": of_first, "object_dice": 0.5} for name in WAYS}
    scores[list(WAYS)[1]] = {"f1": of_second, "object_dice": 0.5}
    return {"n_masks": 60 + fold if whole else 8, "all": whole, "fold": fold, "scores": scores}


def test_a_pair_is_a_fold():
    records = [record(0, False, 0.5, 0.6), record(1, False, 0.6, 0.72), record(0, True, 0.7, 0.7)]
    assert [separation.key_of(one) for one in records] == [(8, 0), (8, 1), (0, 0)]
    _, _, first, second, *_ = separation.table(records)
    assert first.strip("| ").split(" | ")[:2] == [separation.FIRST, "55.0"]
    cells = second.strip("| ").split(" | ")
    assert cells[1] == "+11.00" and cells[2] == "-1.71 to +23.71"  # 11 -+ 12.706 * 1
    assert cells[3] == "+0.00"
