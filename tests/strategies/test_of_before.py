"""Strategies of files that were written when six of them had arguments of parts of images."""

import functools
import json
import shutil

import numpy as np
import pytest

from alseg import ActiveLearner, JointCAMSegmenter
from alseg.comparison.plan import _check_same, _described_strategy
from alseg.files import RecordsError
from alseg.strategies import (
    bald_score,
    by_region,
    class_balanced,
    current_description,
    current_strategy,
    entropy_sampling,
    entropy_score,
    mixture,
    random_sampling,
    subsample,
)
from alseg.testing import ToySegmenter, toy_images

# Of before, and what asks the same now.
SAME = {
    "patches": (
        {"name": "entropy_sampling", "unit": "patch", "size": 16},
        by_region(entropy_score, "patch", size=16),
    ),
    "random pixels": (
        {"name": "random_sampling", "unit": "pixel", "per_image": 2},
        by_region(None, "pixel", per_image=2),
    ),
    "options of the score": (
        {"name": "bald_sampling", "n_draws": 3, "unit": "superpixel"},
        by_region(functools.partial(bald_score, n_draws=3), "superpixel"),
    ),
    "images": ({"name": "entropy_sampling", "unit": "image", "size": 8}, entropy_sampling),
    "images balanced": (
        {"name": "class_balanced(entropy_score)", "score": {"name": "entropy_score"}},
        class_balanced(entropy_score),
    ),
    "inside another": (
        {
            "name": "subsample(entropy_sampling)",
            "strategy": {"name": "entropy_sampling", "unit": "patch"},
            "size": 5,
        },
        subsample(by_region(entropy_score, "patch"), 5),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_a_plan_of_before_is_that_of_now(name):
    before, now = SAME[name]
    told = json.loads(json.dumps(_described_strategy(now)))
    assert current_description(before) == told
    _check_same({"strategy": current_description(before)}, {"strategy": told}, "here")


def test_another_strategy_of_before_is_refused_by_name():
    there = {"strategy": current_description({"name": "entropy_sampling", "unit": "pixel"})}
    here = {"strategy": _described_strategy(by_region(entropy_score, "patch"))}
    with pytest.raises(RecordsError, match=r"by_region\(entropy_score, pixel\)' there, "):
        _check_same(there, here, "here")


def test_a_strategy_of_before_asks_the_same():
    strategy = current_strategy(functools.partial(entropy_sampling, unit="pixel", aggregate="max"))
    assert strategy.__name__ == "by_region(entropy_score, pixel)"
    asked = strategy(ToySegmenter(), toy_images(5), 6, random_state=0)
    expected = by_region(entropy_score, "pixel")(ToySegmenter(), toy_images(5), 6, random_state=0)
    assert asked == expected  # the aggregate is of images
    whole = current_strategy(functools.partial(random_sampling, unit="image", size=8))
    picked = whole(None, toy_images(5), 3, random_state=0)
    np.testing.assert_array_equal(picked, random_sampling(None, toy_images(5), 3, random_state=0))
    for strategy in (entropy_sampling, class_balanced(entropy_score), mixture([entropy_sampling])):
        assert getattr(current_strategy(strategy), "__name__", 0) == strategy.__name__


def test_a_learner_saved_before_asks_for_parts(tmp_path):
    learner = ActiveLearner(
        JointCAMSegmenter(encoder="tiny"),
        by_region(entropy_score, "pixel", per_image=2),
        images=toy_images(4),
        labels=list("abab"),
        random_state=0,
    )
    learner.save(tmp_path / "now")
    shutil.copytree(tmp_path / "now", tmp_path / "before")
    path = tmp_path / "before" / "learner.json"
    state = json.loads(path.read_text())
    state["query_strategy"]["described"] = {
        "name": "alseg.strategies:entropy_sampling",
        "keywords": {"unit": {"value": "pixel"}, "per_image": {"value": 2}},
    }
    path.write_text(json.dumps(state))
    found = [ActiveLearner.load(tmp_path / name).query_strategy for name in ("now", "before")]
    assert found[0].keywords == found[1].keywords and found[0].func is found[1].func
    assert found[0].__name__ == found[1].__name__
