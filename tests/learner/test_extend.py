"""Images added to a learner that has asked before."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch.utils.data import TensorDataset

from alseg import ActiveLearner, JointCAMSegmenter, PseudoLabelAugmenter
from alseg.datasets import make_glands
from alseg.images import ImageFiles, LazyImages, as_images, from_sequence, from_torch
from alseg.learner import Committee
from alseg.strategies import entropy_score, spread_over_groups

FIRST = make_glands(6, image_size=(32, 48), random_state=0)
MORE = make_glands(4, image_size=(32, 48), random_state=1)
LARGER = make_glands(2, image_size=(40, 40), random_state=2)


def tiny(**params):
    return JointCAMSegmenter(encoder="tiny", max_epochs=1, random_state=0, **params)


def learner(images=FIRST.images, **options):
    options = {"random_state": 0, **options}
    return ActiveLearner(tiny(), images=images, labels=FIRST.labels, **options)


def same_state(a, b):
    assert len(a.images) == len(b.images)
    assert a.labels.tolist() == b.labels.tolist()
    assert a.annotated_ids.tolist() == b.annotated_ids.tolist()
    faces = as_images(a.images), as_images(b.images)
    for i in range(len(a.images)):
        np.testing.assert_array_equal(faces[0][i], faces[1][i])


def test_it_is_then_as_a_learner_that_had_them_from_the_start(tmp_path):
    one = learner()
    asked, _ = one.query(n_instances=2)
    one.annotate(asked, FIRST.masks[asked])
    known = [None] * 2 + [MORE.masks[2], None]
    ids = one.extend(MORE.images, MORE.labels, known)
    assert ids.tolist() == [6, 7, 8, 9]
    assert one.annotated_ids.tolist() == sorted([*asked.tolist(), 8])
    whole = ActiveLearner(
        tiny(),
        images=np.concatenate([FIRST.images, MORE.images]),
        labels=np.concatenate([FIRST.labels, MORE.labels]),
        random_state=0,
    )
    given = np.concatenate([FIRST.masks[asked], MORE.masks[2:3]])
    whole.annotate([*asked, 8], given)
    same_state(one, whole)
    one.fit()  # of the same state, so of the same seeds: the same model and the same question
    np.testing.assert_array_equal(
        one.predict_mask_proba(MORE.images), whole.predict_mask_proba(MORE.images)
    )
    question = one.query(n_instances=3)[0].tolist()
    assert question == whole.query(n_instances=3)[0].tolist()
    one.save(tmp_path / "l")
    again = ActiveLearner.load(tmp_path / "l")
    same_state(again, one)
    assert again.query(n_instances=3)[0].tolist() == question
    same_state(clone(one), one)
    same_state(pickle.loads(pickle.dumps(one)), one)
    one.annotate(question[:1], [np.concatenate([FIRST.masks, MORE.masks])[question[0]]])


def test_nothing_of_before_changes_and_no_model_is_fitted():
    one = learner()
    asked, _ = one.query(n_instances=2)
    one.annotate(asked, FIRST.masks[asked])
    model, masks = one.estimator, one.masks.copy()
    images = one.images
    before = images.copy()
    one.extend(MORE.images, MORE.labels)
    assert one.estimator is model
    assert all(a is b for a, b in zip(one.masks[:6], masks, strict=True))
    np.testing.assert_array_equal(images, before)
    assert set(one.pool_ids.tolist()) == set(range(10)) - set(asked.tolist())
    assert one.extend(LARGER.images, LARGER.labels, fit=True).tolist() == [10, 11]
    assert one.estimator is not model


def test_a_failed_fit_leaves_the_learner_as_it_was():
    class Failing(JointCAMSegmenter):
        def fit(self, X, y, masks=None, mask_weight=None):
            if len(X) > 6:
                raise KeyboardInterrupt
            return super().fit(X, y, masks, mask_weight)

    one = ActiveLearner(Failing(encoder="tiny"), images=FIRST.images, labels=FIRST.labels)
    with pytest.raises(KeyboardInterrupt):
        one.extend(MORE.images, MORE.labels, fit=True)
    assert len(one.images) == len(one.labels) == len(one.masks) == len(one.pool_ids) == 6


# ---- kinds -------------------------------------------------------------------------------------


def as_paths(folder, images, name):
    paths = []
    for i, image in enumerate(images):
        paths.append(str(folder / f"{name}{i}.png"))
        Image.fromarray(image).save(paths[-1])
    return paths


def objects(images):
    found = np.empty(len(images), dtype=object)
    for i, image in enumerate(images):
        found[i] = image
    return found


def lazily(images):
    return from_sequence(list(images))


def by_torch(images):
    x = torch.from_numpy(images).movedim(-1, 1)
    return from_torch(TensorDataset(x, torch.arange(len(x)))).images


@pytest.mark.parametrize("held", [np.asarray, list, tuple, objects, lazily, by_torch])
@pytest.mark.parametrize("added", [np.asarray, list, objects, lazily, by_torch])
def test_images_in_memory_and_lazy_ones_go_together(held, added, tmp_path):
    first, more = FIRST.images[:, :16, :16], MORE.images[:, :16, :16]
    one = learner(held(first))
    one.extend(added(more), MORE.labels)
    whole = learner(first)
    whole.extend(more, MORE.labels)
    same_state(one, whole)
    ids, instances = one.query(n_instances=2)
    assert len(instances) == 2
    one.save(tmp_path / "l")
    same_state(ActiveLearner.load(tmp_path / "l"), one)


@pytest.mark.parametrize("held", [np.asarray, list, lazily])
def test_other_sizes_are_taken(held):
    one = learner(held(FIRST.images))
    one.extend(held(LARGER.images), LARGER.labels)
    assert as_images(one.images).size(7) == (40, 40)
    assert one.predict_masks(one.images)[7].shape == (40, 40)


@pytest.mark.parametrize("held", [list, ImageFiles, objects, np.array])
@pytest.mark.parametrize("added", [list, ImageFiles, objects])
def test_paths_go_with_paths_and_none_is_opened(held, added, tmp_path):
    one = learner(held(as_paths(tmp_path, FIRST.images, "a")))
    one.extend(added(as_paths(tmp_path, MORE.images, "b")), MORE.labels)
    whole = learner()
    whole.extend(MORE.images, MORE.labels)
    same_state(one, whole)
    one.save(tmp_path / "l")
    same_state(ActiveLearner.load(tmp_path / "l"), one)
    one.extend(added([str(tmp_path / "not there.png")]), MORE.labels[:1])
    assert len(one.images) == 11


def test_views_of_one_source_stay_one_view():
    images = by_torch(np.concatenate([FIRST.images, MORE.images]))
    one = learner(images[:6])
    one.extend(images[6:], MORE.labels)
    assert isinstance(one.images, LazyImages) and one.images.items is images.items
    np.testing.assert_array_equal(np.asarray(one.images)[6:], MORE.images)


def test_paths_and_arrays_are_not_mixed(tmp_path):
    paths = as_paths(tmp_path, MORE.images, "b")
    for held, added in (
        (FIRST.images, paths),
        (as_paths(tmp_path, FIRST.images, "a"), MORE.images),
    ):
        one = learner(held)
        with pytest.raises(TypeError, match="images must be (paths|arrays), as the learner's are"):
            one.extend(added, MORE.labels)
        assert len(one.images) == 6


# ---- what goes with it -------------------------------------------------------------------------


def test_groups_go_on():
    one = learner(groups=list("ppppqq"))
    one.query_strategy = spread_over_groups(entropy_score)
    one.extend(MORE.images, MORE.labels, groups=["longer", "longer", "r", "q"])
    assert one.groups.tolist() == [*"ppppqq", "longer", "longer", "r", "q"]
    ids, _ = one.query(n_instances=4)
    assert sorted(one.groups[ids]) == ["longer", "p", "q", "r"]
    with pytest.raises(ValueError, match="groups must be given where the learner has groups"):
        one.extend(MORE.images, MORE.labels)
    with pytest.raises(ValueError, match="groups must be given where the learner has groups"):
        learner().extend(MORE.images, MORE.labels, groups=list("abcd"))
    with pytest.raises(ValueError, match=r"groups must be of shape \(4,\)"):
        one.extend(MORE.images, MORE.labels, groups=["a"])


def test_an_augmenter_and_a_report_of_its_quality_follow():
    one = learner(masks=[FIRST.masks[0], FIRST.masks[1], *[None] * 4])
    one.augmenter, one.true_masks = PseudoLabelAugmenter(), FIRST.masks
    one.fit()
    one.extend(MORE.images, MORE.labels, fit=True)
    assert len(one.augmenter.transform(one.images)[0]) == 10


def test_a_committee_is_extended_as_a_whole():
    members = [learner(random_state=seed) for seed in (0, 1)]
    committee = Committee(members)
    ids = committee.extend(MORE.images, MORE.labels)
    assert [one.tolist() for one in ids] == [[6, 7, 8, 9]] * 2
    assert [len(one.images) for one in members] == [10, 10]
    members[1].groups = list("ppqqrrsstt")
    with pytest.raises(ValueError, match="groups must be given"):
        committee.extend(MORE.images, MORE.labels)
    assert [len(one.images) for one in members] == [10, 10]


@pytest.mark.parametrize(
    "options, error, rule",
    [
        ({"labels": MORE.labels[:2]}, ValueError, r"labels must be of shape \(4,\)"),
        ({"labels": [0, 1, 0, 1]}, TypeError, "labels must be of the kind of the learner's own"),
        ({"masks": MORE.masks[:1]}, ValueError, r"masks must be of the length of X \(4\)"),
        ({"masks": [np.ones((3, 3), int), *[None] * 3]}, ValueError, "of its image's size"),
        ({"masks": np.full((4, 32, 48), 7)}, ValueError, r"of classes in \[0, 1\]"),
        ({"images": MORE.images[:0]}, ValueError, "at least one image"),
        (
            {"images": np.zeros((4, 32, 48, 5), np.uint8)},
            ValueError,
            "images must be of 3 channels",
        ),
        ({"images": "a.png"}, TypeError, "sequence"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(options, error, rule):
    one = learner()
    with pytest.raises(error, match=rule):
        one.extend(**{"images": MORE.images, "labels": MORE.labels, **options})
    assert len(one.images) == len(one.labels) == len(one.masks) == len(one.pool_ids) == 6


def test_arguments_of_fit_for_each_image_and_other_modes_are_refused():
    one = learner(mask_weight=np.ones(6))
    with pytest.raises(ValueError, match=r"arguments of fit must be .*\['mask_weight'\]"):
        one.extend(MORE.images, MORE.labels)
    with pytest.raises(TypeError, match="extend needs a learner that was given images"):
        ActiveLearner(tiny()).extend(MORE.images, MORE.labels)
