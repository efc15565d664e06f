"""Mask mode of a learner: images with class labels, whose masks are asked for."""

import time
from pathlib import Path

import numpy as np

from alseg.calling import accepts, accepts_any, call_strategy, check_query_idx, unit_of
from alseg.derived import PAGE
from alseg.images import as_images, as_masks, soft_mask
from alseg.interfaces import (
    GoesOn,
    attribute_of,
    before_and_last,
    is_fitted,
    mask_classes_of,
    meets,
)
from alseg.labels import (
    MISSING,
    as_labels,
    fraction_annotated,
    is_annotated,
    is_soft,
    one_an_image,
)
from alseg.learner.base import Mode
from alseg.learner.extending import extended_images, extended_labels
from alseg.learner.on_disk import write_learner
from alseg.learner.refitting import CAN_GO_ON, FROM_NEW, hard_masks, refitted
from alseg.learner.source_set import SourceSet
from alseg.pseudo import fits_of_round
from alseg.query import Regions
from alseg.rows import retrieve_rows
from alseg.strategies import check_needs
from alseg.validation import EmptyPool, check_n_instances, check_number, message

_NO_CLASSES = (
    "Map 0/255 masks and instance ids to classes; or say that ids are objects (mask_kind="
    '"instances" of Objects, --mask-kind instances of alseg query).'
)
# What is said of the pool to strategies that name it.
POOL_EXTRAS = ("y_pool", "masks_pool", "groups_pool")

# What a seed is for; a new one goes at the end.
PURPOSES = ("fit", "query", "augment", "continue", "carry")


class Annotating(Mode):
    """A learner with images: `query` without a pool, `annotate` the answers."""

    always_seeds = True
    left_out_of_clone = frozenset({"X_training", "y_training"})

    def refuse(self, what):
        """Raise the TypeError that says what a learner with images does not do."""
        raise TypeError(
            f"{what} is not for a learner that was given images: its training data are the "
            "annotated ones. Use annotate(sample_ids, masks)."
        )

    @staticmethod
    def default_strategy():
        """alseg's entropy sampling."""
        from alseg.strategies import entropy_sampling

        return entropy_sampling

    def start(self, X_training, y_training, labels, masks):
        """Take what the learner was constructed with; a model is fitted when it is needed."""
        learner = self.learner
        if X_training is not None or y_training is not None:
            raise TypeError(
                message(
                    "X_training and y_training",
                    "left out with images",
                    (type(X_training).__name__, type(y_training).__name__),
                    "Give what is annotated as masks=.",
                )
            )
        self._check_fits(labels)
        n = len(as_images(learner.images))
        labels = as_labels(labels, n).copy()
        if not one_an_image(labels, n):
            rule = f"of shape ({n},), one an image, or ({n}, K) of several classes"
            raise ValueError(message("labels", rule, labels.shape))
        learner.labels = labels
        learner._n_annotate = 0
        learner.masks = masks

    def _check_fits(self, labels):
        """Whether the estimator has what the fits of a round, and the augmenter, need of it."""
        learner = self.learner
        model, augmenter = learner._estimator, learner.augmenter
        fits = fits_of_round(augmenter, learner.warm_start)
        if any(fit.start != "new" for fit in fits) and not meets(model, GoesOn):
            raise TypeError(message("estimator", CAN_GO_ON, model, FROM_NEW))
        if augmenter is None:
            return
        check_needs(augmenter, model, "augmenter", labels=labels)
        fit = before_and_last(model)[1].fit
        if not (accepts(fit, "mask_weight") or accepts_any(fit)):
            rule = "one whose fit takes mask_weight, which an augmenter gives"
            raise TypeError(message("estimator", rule, model, PAGE))

    # -- what is known --------------------------------------------------------------------------

    @property
    def annotated_ids(self):
        """Ids of the images with at least one annotated pixel, ascending."""
        return np.flatnonzero(self.learner._fractions > 0)

    @property
    def pool_ids(self):
        """Ids of the images not fully annotated, ascending: what `query` asks about."""
        return np.flatnonzero(self.learner._fractions < 1)

    def training(self, name):
        """Of `X_training` or `y_training`, the rows of the annotated images; None without one."""
        ids = self.annotated_ids
        if not len(ids):
            return None
        learner = self.learner
        return retrieve_rows(learner.images, ids) if name == "X_training" else learner.labels[ids]

    def set_masks(self, masks):
        """Replace all that is known of the masks."""
        faces = as_images(self.learner.images)
        n = len(faces)
        nothing, given = np.full(n, None, dtype=object), as_masks(masks, n, soft=True)
        self.know(_merged(nothing, range(n), given, faces, self._n_classes, skip=True))

    def checked_groups(self, groups):
        """Groups as an array, one an image."""
        return _checked_groups(groups, len(self.learner.labels))

    def source_set(self, source):
        """A source as it was given, checked as the learner's own masks are."""

        def check(masks, faces):
            nothing, n = np.full(len(faces), None, dtype=object), len(faces)
            return _merged(nothing, range(n), masks, faces, self._n_classes, skip=True)

        return SourceSet(source, check)

    def know(self, masks, **others):
        """Take masks, and other changes of the learner's state with them."""
        fractions = np.array([fraction_annotated(mask) for mask in masks])
        # One assignment: an interrupt falls before it or after it.
        self.learner.__dict__.update(masks=masks, _fractions=fractions, **others)

    def extended(self, images, labels, masks, groups):
        """What `ActiveLearner.extend` changes, by attribute; the learner stays as it is."""
        learner, n_before = self.learner, len(self.learner.labels)
        faces = as_images(images)
        n = len(faces)
        per_image = [k for k, v in learner.fit_kwargs.items() if _is_per_image(v, n_before)]
        if per_image:
            rule = "without an entry for each image to be extended"
            raise ValueError(message("arguments of fit", rule, per_image))
        if (groups is None) != (learner.groups is None):
            rule = "given where the learner has groups, and only there"
            raise ValueError(message("groups", rule, groups))
        nothing, given = np.full(n, None, dtype=object), as_masks(masks, n, soft=True)
        new = _merged(nothing, range(n), given, faces, self._n_classes, skip=True)
        changes = {
            "images": extended_images(learner.images, images),
            "labels": extended_labels(learner.labels, labels, n),
            "masks": np.concatenate([learner.masks, new]),
            "_fractions": np.concatenate(
                [learner._fractions, [fraction_annotated(mask) for mask in new]]
            ),
        }
        if groups is not None:
            known = _checked_groups(groups, n)
            changes["groups"] = _checked_groups([*learner.groups, *known], n_before + n)
        if learner.true_masks is not None:  # of a simulation: those of the new ones are not known
            changes["true_masks"] = [*learner.true_masks, *[None] * n]
        return changes

    @property
    def _n_classes(self):
        model = self.learner._estimator
        if attribute_of(model, "mask_kind", "classes") != "classes":
            return None  # ids of objects, of which there may be any number
        return mask_classes_of(model, None)

    def size(self):
        """How much there is, for `repr`."""
        return f"n_images={len(self.learner.labels)}, n_annotated={len(self.annotated_ids)}"

    # -- the model ------------------------------------------------------------------------------

    def model(self):
        """The estimator; one that was never fitted is fitted first."""
        learner = self.learner
        if not is_fitted(learner._estimator):
            start = time.monotonic()
            learner._asking, asking = False, learner._asking
            try:
                learner.__dict__.update(self._fitted(learner.masks, learner._n_annotate, {}))
            finally:
                learner._asking = asking
                learner._seconds_fitted += time.monotonic() - start
        return learner._estimator

    def fit(self, X, y, bootstrap, fit_kwargs):
        """See `ActiveLearner.fit`."""
        learner = self.learner
        if X is not None or y is not None or bootstrap:
            self.refuse("fit(X, y)")
        learner.__dict__.update(self._fitted(learner.masks, learner._n_annotate, fit_kwargs))
        return learner

    def _fitted(self, masks, step, fit_kwargs):
        def seed_of(purpose):
            return None if self.learner.random_state is None else self._seed(purpose, step)

        return refitted(self.learner, masks, seed_of, fit_kwargs)

    def annotate(self, sample_ids, masks, fit):
        """See `ActiveLearner.annotate`."""
        learner = self.learner
        if isinstance(sample_ids, Regions):
            sample_ids = sample_ids.sample_ids
        ids = _check_sample_ids(sample_ids, len(learner.labels))
        n_masks = len(masks) if hasattr(masks, "__len__") else None
        if n_masks != len(ids):
            shown = masks if n_masks is None else f"{n_masks} masks"
            raise ValueError(message("masks", f"one for each of the {len(ids)} sample ids", shown))
        faces = as_images(retrieve_rows(learner.images, ids))
        given = as_masks(masks, len(ids), soft=True)
        merged = _merged(learner.masks, ids, given, faces, self._n_classes)
        step = learner._n_annotate + 1
        swapped = self._fitted(merged, step, {}) if fit else {}
        self.know(merged, _n_annotate=step, **swapped)
        return learner

    def _seed(self, purpose, step):
        # Not a stream: a failed call, or a query repeated, leaves no trace in what follows.
        key = (step, PURPOSES.index(purpose))
        sequence = np.random.SeedSequence(self.learner._root, spawn_key=key)
        return int(sequence.generate_state(1)[0] >> 1)  # below 2**31, as RandomState wants

    # -- asking ---------------------------------------------------------------------------------

    def query_seed(self):
        """The same for the same question in the same state."""
        return self._seed("query", self.learner._n_annotate)

    def query(self, strategy, X_pool, among, args, kwargs):
        """See `ActiveLearner.query`."""
        learner = self.learner
        if X_pool is not None and among is not None:
            raise TypeError(message("among", "None with a pool of its own", among))
        check_needs(strategy, learner._estimator, labels=learner.labels)
        learner._asking = True
        try:
            if X_pool is not None:
                return learner._query_pool(X_pool, args, kwargs, strategy)
            return self._query_images(strategy, among, *args, **kwargs)
        finally:
            learner._asking = False

    def _query_images(self, strategy, among, /, n_instances=1, **kwargs):
        learner, pool_ids, n_among = self.learner, self.pool_ids, None
        if among is not None:
            among = _check_sample_ids(among, len(learner.labels), "among")
            pool_ids, n_among = np.intersect1d(pool_ids, among), len(among)
        if not len(pool_ids):
            whose = f"All {len(learner.labels)}" if n_among is None else f"The {n_among} given"
            raise EmptyPool(
                f"{whose} images are fully annotated: {n_instances} requested, 0 available."
            )
        if unit_of(strategy, **kwargs) == "image":
            n_instances = check_n_instances(n_instances, len(pool_ids))
        else:  # parts of images, of which there are more
            n_instances = int(check_number("n_instances", n_instances, low=1, integer=True))
        extras = {
            "random_state": self.query_seed(),
            "y_pool": learner.labels[pool_ids],
            "masks_pool": hard_masks(learner.masks[pool_ids]),
            **learner._source_extra(),
            **({} if learner.groups is None else {"groups_pool": learner.groups[pool_ids]}),
        }
        if accepts_any(strategy):
            kwargs["n_instances"] = n_instances
        else:  # a strategy that picks one image has no parameter for it
            extras["n_instances"] = n_instances
        X_pool = retrieve_rows(learner.images, pool_ids)
        result = call_strategy(strategy, learner, X_pool, extras=extras, **kwargs)
        regions = result[0] if isinstance(result, tuple) and len(result) else result
        if isinstance(regions, Regions):
            if len(regions) != n_instances:
                rule = f"{n_instances} regions, as asked"
                raise ValueError(message("query_strategy's result", rule, regions))
            regions = regions.renumbered(pool_ids)
            return regions, retrieve_rows(learner.images, regions.sample_ids)
        sample_ids = pool_ids[check_query_idx(result, len(pool_ids), n_instances)]
        return sample_ids, retrieve_rows(learner.images, sample_ids)

    def write(self, path, include_images):
        """See `ActiveLearner.save`."""
        write_learner(self.learner, Path(path), include_images)
        return self.learner


def _is_per_image(value, n):
    return hasattr(value, "__len__") and not isinstance(value, (str, dict)) and len(value) == n


def _checked_groups(groups, n):
    found = np.array(groups)
    if found.shape != (n,):
        raise ValueError(message("groups", f"of shape ({n},), one an image", found.shape))
    try:
        known = np.unique(found)
    except TypeError:
        known = None
    if known is None or (found.dtype.kind == "f" and np.isnan(found).any()):
        remedy = "An image that belongs to none is a group of its own."
        raise ValueError(message("groups", "of one sortable type, none missing", groups, remedy))
    return found


def _check_sample_ids(sample_ids, n, name="sample_ids"):
    ids = np.asarray(sample_ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise TypeError(message(name, "a 1-D sequence of integers", sample_ids))
    unknown = ids[(ids < 0) | (ids >= n)]
    if len(unknown):
        raise ValueError(message(name, f"in [0, {n - 1}]", unknown.tolist()))
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        twice = values[counts > 1].tolist()
        raise ValueError(message(name, "unique in one call, given once each", twice))
    return ids.astype(np.intp)


def _merged(masks, ids, given, images, n_classes, skip=False):
    """`masks` with the given ones written over them, as a new object array; all checked first.

    `given` and `images` are aligned with `ids`. With `skip`, a mask without an annotated pixel is
    passed over. Soft masks stay soft, and classes become so where one of both is.
    """
    merged = masks.copy()
    for position, i in enumerate(ids):
        new = given[position]
        if not is_annotated(new):
            if skip:
                continue
            raise ValueError(
                message(
                    f"masks[{position}] (sample id {i})",
                    "annotated in at least one pixel",
                    None if new is None else f"only {MISSING}",
                )
            )
        name, size = f"masks[{position}] (sample id {i})", tuple(images.size(position))
        if new.shape[-2:] != size:
            where = f"The image is {images.where(position)}."
            raise ValueError(message(name, f"of its image's size {size}", new.shape[-2:], where))
        if is_soft(new) or is_soft(masks[i]):
            merged[i] = _merged_soft(name, masks[i], new, n_classes)
            continue
        high = np.iinfo(new.dtype).max if n_classes is None else n_classes - 1
        bad = np.unique(new[(new < MISSING) | (new > high)])
        if len(bad):
            remedy = _NO_CLASSES if n_classes == 2 else ""
            rule = f"of classes in [0, {high}], or {MISSING} where not annotated"
            raise ValueError(message(name, rule, bad.tolist(), remedy))
        old = masks[i]
        # (H, W); a copy: what callers do to their array later does not change what was said
        new = new.copy() if old is None else np.where(new == MISSING, old, new)
        merged[i] = new.astype(np.int8 if new.max() <= 127 else np.int16)
    return merged


def _merged_soft(name, old, new, n_classes):
    """A mask of probabilities, (C, H, W) float32, with another written over what it knows."""
    n_classes = n_classes or len(new if is_soft(new) else old)
    if is_soft(new) and len(new) != n_classes:
        raise ValueError(message(name, f"of {n_classes} classes", len(new)))
    new = new.astype(np.float32) if is_soft(new) else soft_mask([new], n_classes)
    if old is None:
        return new
    old = old if is_soft(old) else soft_mask([old], n_classes)
    return np.where(np.isnan(new).any(axis=0), old, new)
