"""What alseg had written before its modules moved is read and gone on with: no name is lost.

The files were made by `before_the_move/make.py`. No number that a fit gives is compared, so it does
not matter which processor made them. Where arguments of the estimator become fields of others,
`make.estimator` and `argument` follow; the files, and what is asked of them, stay.
"""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from before_the_move import make

from alseg import (
    ActiveLearner,
    Consistency,
    JointCAMSegmenter,
    PseudoLabelAugmenter,
    compare_strategies,
)
from alseg.cli import main
from alseg.files import nested_names
from alseg.query import Regions

MADE = Path(make.__file__).parent
N = 10  # images of all but the comparison

# They may have been made by another version on another machine, and say so.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A copy of all files, as the working folder."""
    shutil.copytree(MADE, tmp_path / "made", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.chdir(tmp_path / "made")
    return tmp_path / "made"


def argument(model, name):
    """A flat argument of before, as the model of today has it."""
    (found,) = nested_names({name: "as text"})
    value = model.get_params()[found]
    if name == "consistency":  # it was a dict of what differs from the defaults
        default = Consistency().get_params()
        return {key: item for key, item in value.get_params().items() if item != default[key]}
    return value


def assert_predicts(model, images):
    n, h, w, _ = images.shape
    assert model.predict(images).shape == (n,)
    proba = model.predict_mask_proba(images)
    assert proba.shape == (n, 2, h, w) and np.isfinite(proba).all()
    assert model.predict_masks(images).shape == (n, h, w)
    assert np.isfinite(model.predict_proba(images)).all()


def as_json(value):
    """A parameter as JSON has it; a class by its name."""
    return value.__name__ if isinstance(value, type) else json.loads(json.dumps(value))


def test_a_saved_segmenter(made):
    images, labels, masks = make.shapes(N)
    with pytest.warns(UserWarning, match="validation"):
        model = JointCAMSegmenter.load(made / "segmenter", device="cpu")
    expected = json.loads((made / "segmenter.json").read_text())
    found = {name: as_json(argument(model, name)) for name in expected}
    assert found == expected
    assert_predicts(model, images)
    model.set_params(validation=make.validation_set())
    model.partial_fit(images, labels, masks=masks)
    assert_predicts(model, images)
    model.set_params(validation=None).save(made / "again")
    assert_predicts(JointCAMSegmenter.load(made / "again", device="cpu"), images)


def test_a_saved_segmenter_is_started_from(made):
    images, labels, masks = make.shapes(N)
    model = make.estimator(start_from=made / "segmenter", random_state=0)
    assert_predicts(model.fit(images, labels, masks=masks), images)


def test_a_saved_ensemble(made):
    from alseg.learner import DeepEnsemble

    images, _, _ = make.shapes(N)
    ensemble = DeepEnsemble.load(made / "ensemble", device="cpu")
    assert len(ensemble.estimators_) == 2
    assert all(isinstance(member, JointCAMSegmenter) for member in ensemble.estimators_)
    assert_predicts(ensemble, images)


def test_a_saved_learner(made):
    images, labels, masks = make.shapes(N)
    part = make.validation_set()
    load = functools.partial(JointCAMSegmenter.load, validation=part, device="cpu")
    learner = ActiveLearner.load(made / "learner", estimator=load)
    assert learner.estimator.validation is part
    assert isinstance(learner.augmenter, PseudoLabelAugmenter)
    assert (learner.augmenter.refit, learner.augmenter.weight) == ("continue", 0.5)
    assert learner.augmenter.sure == (0.2, 0.8)
    assert learner.query_strategy.__name__ == "class_balanced(entropy_score)"
    assert learner.annotated_ids.tolist() == [0, 1, 2, 3]
    asked, _ = learner.query(n_instances=2)
    assert len(set(asked)) == 2 and set(asked) <= set(range(4, N))
    assert sorted(labels[asked]) == ["round", "square"]
    learner.annotate(asked, masks[asked])
    assert_predicts(learner.estimator, images)
    learner.save(made / "learner")
    again = ActiveLearner.load(made / "learner", estimator=load)
    assert set(again.annotated_ids) == {0, 1, 2, 3, *asked}


def test_a_saved_learner_that_was_not_fitted(made):
    images, _, masks = make.shapes(N)
    learner = ActiveLearner.load(made / "learner_not_fitted")
    for name, value in (
        ("encoder", "tiny"),
        ("image_size", (32, 32)),
        ("max_epochs", 1),
        ("jitter", 0.1),
        ("criterion__dice_scale", 0.5),
    ):
        assert argument(learner.estimator, name) == value
    asked, _ = learner.query(n_instances=2)
    assert isinstance(asked, Regions) and len(asked) == 2
    answers = [asked.restrict(i, masks[i]) for i in asked.sample_ids]
    learner.annotate(asked, answers)
    assert_predicts(learner.estimator, images)


def records(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes().splitlines()
        for p in sorted(folder.rglob("records.jsonl"))
    }


def test_a_comparison_goes_on(made):
    before = records(made / "comparison")
    assert len(before["rows/bald/1/records.jsonl"]) == 2
    assert len(before["rows/pseudo/0/records.jsonl"]) == 2
    assert "rows/pseudo/1/records.jsonl" not in before
    result = compare_strategies(**make.comparison_arguments(), out=made / "comparison")
    assert result.is_complete
    assert all(len(chain) == 3 for chain in result.chains.values()) and len(result.chains) == 6
    after = records(made / "comparison")
    for name, lines in before.items():  # what was done is not done again
        assert after[name][: len(lines)] == lines
        assert len(after[name]) == (3 if name.startswith("rows/") else 1)


def test_a_run_goes_on(made):
    before = (made / "run" / "records.jsonl").read_bytes().splitlines()
    assert len(before) == 2
    assert not main(["run", "--data", "slides", "--out", "run", *make.RUN])
    after = (made / "run" / "records.jsonl").read_bytes().splitlines()
    assert len(after) == 3 and after[:2] == before


def test_a_state_folder_goes_on(made, capsys):
    state = json.loads((made / "state" / "state.json").read_text())
    answered = set(state["masks"])
    assert len(answered) == 4
    shutil.move(made / "slides" / "masks", made / "drawn")
    assert not main(["query", "--data", "slides", "--out", "state", "-n", "2", "--seconds", "0"])
    state = json.loads((made / "state" / "state.json").read_text())
    asked = state["rounds"][-1]["ids"]
    assert state["rounds"][-1]["round"] == 2 and len(asked) == 2 and not answered & set(asked)
    for path in list((made / "drawn").iterdir()):
        if path.stem not in asked:
            path.unlink()
    assert not main(["add", "state", "drawn"])
    assert set(json.loads((made / "state" / "state.json").read_text())["masks"]) > answered
    assert not main(["predict", "state", "slides/images", "--out", "predicted"])
    assert len(list((made / "predicted").rglob("*.png"))) == N
    capsys.readouterr()
