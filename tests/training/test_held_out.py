"""What chooses a threshold or an epoch is what an expert drew and no fit has learned from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import make_glands
from alseg.images import as_images, as_masks, fingerprint
from alseg.learner.ensemble import DeepEnsemble
from alseg.segmenter import with_fields
from alseg.training.held_out import hold_out

DATA = make_glands(10, image_size=(32, 48), random_state=0)
SIX = [mask if i < 6 else None for i, mask in enumerate(DATA.masks)]
PRINTS = [fingerprint(image) for image in DATA.images]


def model(**options):
    params = {"encoder": "tiny", "max_epochs": 1, "steps_per_epoch": 2, "validation": 0.34}
    return JointCAMSegmenter(**with_fields({**params, "random_state": 0, **options}))


def learner(augmenter, masks=SIX, **options):
    return ActiveLearner(
        model(**options),
        augmenter=augmenter,
        images=DATA.images,
        labels=DATA.labels,
        masks=masks,
        random_state=0,
    ).fit()


@settings(deadline=None, max_examples=40)
@given(
    labels=st.lists(st.sampled_from("ab"), min_size=10, max_size=10),
    share=st.floats(0.05, 1),
    order=st.permutations(range(10)),
)
def test_what_is_held_out_once_stays_and_what_was_trained_on_never_is(labels, share, order):
    y, rng = np.array(labels), np.random.default_rng(0)
    held = seen = frozenset()
    for n in (4, 7, 10):  # more and more are annotated
        masks = [DATA.masks[i] if i in order[:n] else None for i in range(10)]
        images, masks = as_images(DATA.images), as_masks(masks, 10)
        try:
            train, part, more, seen_now = hold_out(images, y, masks, None, share, rng, held, seen)
        except ValueError:
            assert all(np.sum(y[list(order[:n])] == c) < 2 for c in "ab") or seen
            return
        assert set(train) | set(part) == set(range(10)) and not set(train) & set(part)
        assert set(part) <= set(order[:n]) and held <= more and seen <= seen_now
        assert not more & seen_now
        assert {PRINTS[i] for i in part} == more
        held, seen = more, seen_now


def test_copies_of_an_image_count_once():
    idx = [0, 0, 1, 1, 6, 7]
    fitted = model().fit(DATA.images[idx], np.zeros(6, int), [SIX[i] for i in idx])
    assert fitted.has_masks_ and len(fitted.held_out_) == len(fitted.trained_on_) == 1
    assert len(fitted.validation_.labels) == 2
    idx, y = [0, 0, 6, 7], np.zeros(4, int)
    with pytest.raises(ValueError, match="no image to hold out: .*, copies of one aside"):
        model().fit(DATA.images[idx], y, [SIX[i] for i in idx])


def test_what_was_held_out_before_leaves_one_to_train_on():
    first = model().fit(DATA.images, DATA.labels, SIX)
    idx = [i for i in range(10) if SIX[i] is None or PRINTS[i] in first.held_out_]
    masks = [SIX[i] for i in idx]
    with pytest.raises(ValueError, match="leaves no image to train on"):
        first.partial_fit(DATA.images[idx], DATA.labels[idx], masks=masks)


def test_masks_that_do_not_count_are_told():
    weight = np.where(np.arange(10) == 0, 1, 0.5)
    with pytest.raises(ValueError, match="of the 6 with a mask only the 1 of the largest"):
        model().fit(DATA.images, DATA.labels, SIX, weight)


@pytest.mark.parametrize("options", [{"refit": "continue"}, {"weight": 1}, {"weight": 0.1}])
def test_pseudo_masks_and_what_they_teach_are_never_the_truth(options):
    left = [None if mask is None else np.where(np.arange(48) < 24, mask, -1) for mask in SIX]
    for masks in (SIX, left):
        fitted = learner(PseudoLabelAugmenter("all", **options), masks).estimator
        part = fitted.validation_
        assert {fingerprint(image) for image in part.images} == fitted.held_out_
        assert fitted.held_out_ <= set(PRINTS[:6]) and not fitted.held_out_ & fitted.trained_on_
        for image, mask in zip(part.images, part.masks, strict=True):
            assert np.array_equal(mask, masks[PRINTS.index(fingerprint(image))])


def test_a_second_fit_holds_out_what_the_first_did():
    seen = []

    class Watched(JointCAMSegmenter):
        def fit_loop(self, *args, **kwargs):
            seen.append(self.held_out_)
            return super().fit_loop(*args, **kwargs)

    params = model().get_params(deep=False)
    ActiveLearner(
        Watched(**params),
        augmenter=PseudoLabelAugmenter("all", refit="continue"),
        images=DATA.images,
        labels=DATA.labels,
        masks=SIX,
        random_state=0,
    ).fit()
    assert len(seen) == 2 and seen[0] == seen[1] and len(seen[0]) == 2


def test_a_loaded_learner_finds_its_validation_part_again(tmp_path):
    augmenter = PseudoLabelAugmenter("all", refit="published", threshold="validation")
    here = learner(augmenter)
    here.save(tmp_path)
    there = ActiveLearner.load(tmp_path)
    for one in (here, there):
        one.annotate([7], [DATA.masks[7]])
    assert here.augmenter.threshold_ == there.augmenter.threshold_
    a, b = (one.predict_mask_proba(DATA.images) for one in (here, there))
    assert np.array_equal(a, b)


def test_members_of_an_ensemble_hold_out_all_copies_of_an_image():
    members = DeepEnsemble(model(), n_estimators=2, bootstrap=True, random_state=0)
    members.fit(DATA.images, DATA.labels, masks=DATA.masks)
    for member in members.estimators_:
        assert member.held_out_ and not member.held_out_ & member.trained_on_


def test_pseudo_labels_of_an_ensemble_are_cut_at_its_threshold():
    members = DeepEnsemble(model(threshold="validation"), n_estimators=2, random_state=0)
    members.fit(DATA.images, DATA.labels, masks=SIX)
    augmenter = PseudoLabelAugmenter("all")
    augmenter.fit(DATA.images, DATA.labels, SIX, estimator=members)
    masks, _ = augmenter.transform(DATA.images)
    assert augmenter.threshold_ == members.threshold_
    assert np.array_equal(masks[6:], members.predict_masks(DATA.images[6:]))


def test_weights_of_masks_do_not_go_with_an_augmenter():
    with pytest.raises(ValueError, match="mask_weight must be left out with an augmenter"):
        ActiveLearner(
            model(),
            augmenter=PseudoLabelAugmenter("all"),
            images=DATA.images,
            labels=DATA.labels,
            masks=SIX,
            mask_weight=np.ones(10),
        ).fit()
