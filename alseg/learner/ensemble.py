"""DeepEnsemble: the same estimator fitted several times: one prediction, many opinions."""

import functools
import os
import re
import secrets
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils import Bunch, check_consistent_length
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from alseg._version import __version__
from alseg.derived import doubt_of_labels, joint_of, labels_of_proba
from alseg.files import (
    has_marker,
    is_temporary,
    make_folder,
    name_of_kind,
    read_json,
    remove_tree,
    resolve_class,
    sweep,
    write_json,
)
from alseg.images import as_images, as_masks, stack
from alseg.interfaces import (
    GoesOn,
    ObjectMaps,
    Saved,
    attribute_of,
    has_class_head,
    has_part,
    is_multilabel,
    mask_classes_of,
    meets,
)
from alseg.labels import as_labels, is_annotated, label_strata
from alseg.metrics import mask_from_proba, mean_dice
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.segmenter import (
    JointCAMSegmenter,
    KnownLabelsMixin,
    ObjectsMixin,
    class_masks,
    reading,
)
from alseg.strategies import TARGETS, chunks, committee_score, pixel_scores
from alseg.validation import check_number, check_option, check_rng, message

FORMAT = "alseg.DeepEnsemble/1"
RECORD = "ensemble.json"
_MEMBERS = re.compile(r"member-\d+-[0-9a-f]{8}")  # with a token of its save


class DeepEnsemble(KnownLabelsMixin, ObjectsMixin, BaseEstimator):
    """The same estimator from several random starts; the mean predicts, the spread is doubt [1]_.

    It has the surface of `JointCAMSegmenter`, so that a learner can take it as its estimator;
    `predict_uncertainty` compares the members, and so does `committee_sampling`.

    Parameters
    ----------
    estimator : estimator
        With `fit(X, y, masks=..., mask_weight=...)`, such as `JointCAMSegmenter`. It is cloned.
    n_estimators : int, default=5
        At least 2.
    bootstrap : bool, default=False
        Whether each member is fitted to a bootstrap sample of its own [2]_, drawn within each
        class and apart for images with and without a mask, so that no member lacks either.
    random_state : None, int, Generator or RandomState, default=None
        Decides the members' seeds and their bootstrap samples.

    Attributes
    ----------
    estimators_ : list
    classes_ : ndarray of shape (K,)
    n_mask_classes : int

    References
    ----------
    .. [1] Lakshminarayanan et al. 2017, arXiv:1612.01474.
    .. [2] Yang et al. 2017, Suggestive annotation, arXiv:1706.04737.

    Examples
    --------
    >>> from alseg.datasets import make_glands
    >>> from alseg.segmenter import JointCAMSegmenter
    >>> glands = make_glands(6, image_size=(32, 32), random_state=0)
    >>> model = DeepEnsemble(JointCAMSegmenter(encoder="tiny", max_epochs=1), 2, random_state=0)
    >>> model = model.fit(glands.images, glands.labels, masks=glands.masks)
    >>> model.predict_uncertainty(glands.images, method="bald").shape
    (6,)
    """

    __metadata_request__fit = {"masks": True, "mask_weight": True}
    __metadata_request__partial_fit = {"masks": True, "mask_weight": True}

    def __init__(self, estimator, n_estimators=5, *, bootstrap=False, random_state=None):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.bootstrap = bootstrap
        self.random_state = random_state

    @property
    def n_mask_classes(self):
        """Pixel classes, background included: the estimator's."""
        return mask_classes_of(self.estimator)

    @property
    def has_class_head(self):
        """Whether the estimator classifies images; of a fitted one, whether its members do."""
        return has_class_head(getattr(self, "estimators_", [self.estimator])[0])

    @property
    def has_cams(self):
        """Whether the estimator has class activation maps."""
        return has_part(self.estimator, "cams")

    @property
    def has_embeddings(self):
        """Whether the estimator makes embeddings."""
        return has_part(self.estimator, "embeddings")

    @property
    def objects(self):
        """What the estimator learns of objects, as `JointCAMSegmenter`; None of others."""
        told = meets(self.estimator, ObjectMaps)
        return attribute_of(self.estimator, "objects") if told else None

    @property
    def has_objects(self):
        """Whether the estimator learns objects; of a fitted one, whether its members did."""
        return bool(
            getattr(getattr(self, "estimators_", [self.estimator])[0], "has_objects", False)
        )

    def fit(self, X, y, masks=None, mask_weight=None):
        """Fit every member from its own start.

        Parameters
        ----------
        X, y, masks, mask_weight
            As the estimator takes them, `y` also as None where it does.

        Returns
        -------
        self
        """
        return self._fit(X, y, masks, mask_weight)

    def _fit(self, X, y, masks, mask_weight, **first):
        check_number("n_estimators", self.n_estimators, 2, integer=True)
        members = [clone(self.estimator) for _ in range(self.n_estimators)]
        fits = [
            functools.partial(member.partial_fit, **first) if first else member.fit
            for member in members
        ]
        self.estimators_ = self._each(members, fits, X, y, masks, mask_weight)
        self.classes_ = getattr(self.estimators_[0], "classes_", np.array([0]))
        return self

    def _each(self, members, fits, X, y, masks, mask_weight, seeded=True):
        """Call each member's `fit`, from a seed and on a bootstrap sample of its own."""
        rng = check_rng(self.random_state)
        y = None if y is None else as_labels(y)
        if self.bootstrap:
            check_consistent_length(X, y, masks, mask_weight)  # else rows of one are left out
        strata = _strata(n_rows(X), y, masks) if self.bootstrap else None
        fitted = []
        for member, fit in zip(members, fits, strict=True):
            if seeded and "random_state" in member.get_params(deep=False):
                member.set_params(random_state=int(rng.integers(2**31 - 1)))
            if strata is None:
                fitted.append(fit(X, y, **_given(masks, mask_weight)))
                continue
            idx = np.concatenate([rng.choice(part, len(part)) for part in strata])
            # By position: a column of a data frame is indexed by its labels otherwise.
            own = [None if v is None else rows(v, idx) for v in (X, y, masks, mask_weight)]
            fitted.append(fit(*own[:2], **_given(*own[2:])))
        return fitted

    @available_if(lambda self: meets(self.estimator, GoesOn))
    def partial_fit(self, X, y, classes=None, masks=None, mask_weight=None):
        """Train every member on; the first time, as `fit`.

        The members have new seeds and bootstrap samples, unless `random_state` is an int that has
        not changed: it decides the same ones again. None leaves their seeds as they are.

        Parameters
        ----------
        X, y, masks, mask_weight
            As the estimator takes them.
        classes : array-like of shape (K,) or None
            As the estimator takes them, at the first call.

        Returns
        -------
        self
        """
        given = {} if classes is None else {"classes": classes}
        if not hasattr(self, "estimators_"):
            return self._fit(X, y, masks, mask_weight, **given)
        fits = [functools.partial(m.partial_fit, **given) for m in self.estimators_]
        seeded = self.random_state is not None
        self._each(self.estimators_, fits, X, y, masks, mask_weight, seeded)
        return self

    def predict_proba(self, X):
        """Mean class probabilities of the members: ndarray of shape (n, K), float."""
        check_is_fitted(self)
        return np.mean([member.predict_proba(X) for member in self.estimators_], axis=0)

    def predict(self, X):
        """Class label of each image: ndarray of shape (n,); of several a matrix (n, K)."""
        return labels_of_proba(self, self.predict_proba(X))

    @property
    def multilabel_(self):
        """Whether the members are fitted to images of several classes."""
        return is_multilabel(getattr(self, "estimators_", [None])[0])

    def predict_mask_proba(self, X):
        """Mean pixel class probabilities: ndarray of shape (n, C, H, W), or of n (C, H, W)."""
        check_is_fitted(self)
        total = None
        for member in self.estimators_:  # a sum: one prediction of the pool is held beside it
            proba = member.predict_mask_proba(X)
            total = list(proba) if total is None else [t + p for t, p in zip(total, proba)]
        return stack([t / len(self.estimators_) for t in total])

    def predict_masks(self, X):
        """Class of each pixel: ndarray of shape (n, H, W), int16, or of n (H, W).

        The threshold of two classes is the mean of the members'.
        """
        check_is_fitted(self)
        images, threshold = as_images(X), self.threshold_
        masks = []
        for idx in chunks(len(images)):
            proba = self.predict_mask_proba(images.take(idx))
            masks.extend(mask_from_proba(p, threshold) for p in proba)
        return stack(masks)

    @property
    def threshold_(self):
        """The mean of the members' thresholds."""
        return float(np.mean([getattr(m, "threshold_", 0.5) for m in self.estimators_]))

    @available_if(lambda self: meets(self.estimator, ObjectMaps))
    def iter_object_maps(self, X):
        """Means of the members' maps, image by image.

        `predict_objects` separates by them once, so that objects of members need no matching.

        Yields
        ------
        Bunch
            As of `JointCAMSegmenter.iter_object_maps`.
        """
        check_is_fitted(self)
        for maps in zip(*(m.iter_object_maps(X) for m in self.estimators_), strict=True):
            yield Bunch(**{key: np.mean([one[key] for one in maps], axis=0) for key in maps[0]})

    def predict_joint(self, X):
        """Everything about each image, of the mean over the members.

        Returns
        -------
        Bunch
            As of `JointCAMSegmenter.predict_joint`, as much of it as the members give; ``cams``
            are the means of their maps.
        """
        check_is_fitted(self)
        joints = [joint_of(member, X, cams=self.has_cams) for member in self.estimators_]

        def mean(key):  # image by image, for their sizes may differ
            same = zip(*(joint[key] for joint in joints), strict=True)
            return stack([np.mean(values, axis=0) for values in same])

        # Each that all of the members give.
        keys = [k for k in ("proba", "mask_proba", "cams") if all(k in one for one in joints)]
        found = Bunch(**{key: mean(key) for key in keys})
        found.masks = stack([mask_from_proba(p, self.threshold_) for p in found.mask_proba])
        if "proba" in found:
            found.labels = labels_of_proba(self, found.proba)
        return found

    def transform(self, X, kind=None):
        """Embeddings of the members, side by side.

        Their mean would say nothing: a feature of one member is not that of another. The squared
        distance of two images is the sum of the members'.

        Parameters
        ----------
        X : images
        kind : str or None, default=None
            Handed on to the members' `transform`, see `JointCAMSegmenter.transform`.

        Returns
        -------
        ndarray of shape (n, n_estimators * d), float
        """
        check_is_fitted(self)
        options = {} if kind is None else {"kind": kind}
        return np.hstack([member.transform(X, **options) for member in self.estimators_])

    def predict_uncertainty(
        self,
        X,
        method="entropy",
        aggregate="mean",
        target="mask",
        return_maps=False,
        n_draws=None,
        random_state=None,
    ):
        """How unsure the ensemble is of each image: larger is more worth asking.

        Parameters
        ----------
        X : images
        method : str, default="entropy"
            A name in `alseg.query.UNCERTAINTIES`, of the mean prediction, or in
            `DRAW_UNCERTAINTIES`, of the members, each a draw.
        aggregate : str or callable, default="mean"
            See `alseg.query.aggregation`. Maps are of each image's own size.
        target : {"mask", "label"}, default="mask"
        return_maps : bool, default=False
        n_draws, random_state : ignored
            The draws are the members.

        Returns
        -------
        score : ndarray of shape (n,), float
        maps : ndarray of shape (n, H, W), float32, or of n (H, W) arrays; with `return_maps`
        """
        check_is_fitted(self)
        check_option("method", method, (*UNCERTAINTIES, *DRAW_UNCERTAINTIES))
        check_option("target", target, TARGETS)
        if target == "label":
            if return_maps:
                rule = "'mask' for maps"
                raise ValueError(message("target", rule, target, "A class label has no map."))
            if method in UNCERTAINTIES:
                return doubt_of_labels(self, self.predict_proba(X), method)
            return committee_score(self.estimators_, X, method=method, target="label")
        images = as_images(X)
        predictions = (
            [member.predict_mask_proba(images.take(idx)) for member in self.estimators_]
            for idx in chunks(len(images))
        )
        return pixel_scores(predictions, method, aggregate, return_maps)

    def score_masks(self, X, masks):
        """Mean Dice of the foreground over the images that have a mask, in [0, 1]."""
        known = class_masks(self, masks, len(as_images(X)))
        return mean_dice(self.predict_masks(X), known, n_mask_classes=self.n_mask_classes)

    @available_if(lambda self: meets(self.estimator, Saved))
    def save(self, path):
        """Write the members to a folder, each by its own `save`, and their list as JSON.

        The list is written last and in one step: an interrupted save leaves the ensemble that was
        there.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that `save` wrote before, which is replaced.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        TypeError
            If the members have no `save`.
        ValueError
            If `path` holds something else.
        """
        check_is_fitted(self)
        for member in self.estimators_:
            if not meets(member, Saved):
                raise TypeError(message("estimator", "one with save(path) and load(path)", member))
        path = Path(path).expanduser()
        if path.exists() and not (path.is_dir() and _only_ours(path)):
            raise ValueError(message("path", "new, or a folder of an earlier save", str(path)))
        make_folder(path)
        sweep(path)
        token = secrets.token_hex(4)
        names = [f"member-{k:02d}-{token}" for k in range(len(self.estimators_))]
        for name, member in zip(names, self.estimators_, strict=True):
            member.save(path / name)
        kind, seed = type(self.estimators_[0]), self.random_state
        record = {
            "format": FORMAT,
            "version": __version__,
            "class": name_of_kind(kind, ":"),
            "members": names,
            "n_estimators": int(self.n_estimators),
            "bootstrap": bool(self.bootstrap),
            "random_state": int(seed) if isinstance(seed, (int, np.integer)) else None,
        }
        write_json(path / RECORD, record, path)
        for left_over in os.listdir(path):
            if _MEMBERS.fullmatch(left_over) and left_over not in names:
                remove_tree(path / left_over, path)

    @classmethod
    def load(
        cls,
        path,
        device="auto",
        *,
        estimator=None,
        n_estimators=None,
        bootstrap=None,
        random_state=None,
    ):
        """Read an ensemble that `save` wrote; nothing in it is executed.

        Parameters
        ----------
        path : str or Path
        device : str, default="auto"
            Of members that are `JointCAMSegmenter`, if there is no `estimator`.
        estimator : estimator or None, default=None
            What a further `fit` clones. Its class reads the members, with its parameters if that is
            `JointCAMSegmenter`; needed where they hold code, such as an encoder module, or are of
            a class that is not alseg's. None is as saved.
        n_estimators, bootstrap, random_state
            Of a further `fit`; None is as saved.

        Returns
        -------
        DeepEnsemble

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder is not a saved ensemble, or names a class that is not alseg's.
        """
        path = Path(path).expanduser()
        record = _read_record(path)
        options = {}
        if estimator is not None:
            kind = type(estimator)
            if issubclass(kind, JointCAMSegmenter):
                options = estimator.get_params(deep=False)
                options.pop("random_state")  # a member keeps the seed of its fit
        else:
            kind = resolve_class("estimator", record["class"], needs=("fit", "load"))
            options = {"device": device} if issubclass(kind, JointCAMSegmenter) else {}
        members = [kind.load(path / name, **options) for name in record["members"]]
        given = {"n_estimators": n_estimators, "bootstrap": bootstrap, "random_state": random_state}
        params = {k: record[k] if value is None else value for k, value in given.items()}
        model = cls(clone(members[0]) if estimator is None else estimator, **params)
        model.estimators_ = members
        model.classes_ = members[0].classes_
        return model


def _only_ours(path):
    """Whether a folder is of `save`, or of one that was interrupted, or empty."""
    if (path / RECORD).is_file():
        return has_marker(path / RECORD, FORMAT.partition("/")[0])
    # The last is the record of an earlier version that was killed.
    return all(
        _MEMBERS.fullmatch(name) or is_temporary(name) or name == f".{RECORD}"
        for name in os.listdir(path)
    )


def _read_record(path):
    with reading(path):
        record = read_json(path / RECORD)
        if record["format"] != FORMAT:
            raise ValueError(f"unknown format {record['format']!r}")
        # Names alone: a made-up record must not lead out of the folder.
        names = [str(name) for name in record["members"]]
        if len(names) < 2 or any(Path(name).name != name for name in names):
            raise ValueError(f"members {names}")
        check_number("n_estimators", record["n_estimators"], 2, integer=True)
        seed = record["random_state"]
        return {
            "class": str(record["class"]),
            "members": names,
            "n_estimators": record["n_estimators"],
            "bootstrap": bool(record["bootstrap"]),
            "random_state": None if seed is None else int(seed),
        }


def _given(masks, mask_weight):
    """Only what there is: an estimator without masks is asked without."""
    given = {"masks": masks, "mask_weight": mask_weight}
    return {name: value for name, value in given.items() if value is not None}


def _strata(n, y, masks):
    """Positions of each class, with and without a mask; without classes all are of one."""
    seen = np.zeros(n, bool)
    if masks is not None:
        masks = as_masks(masks, n)
        seen = np.array([is_annotated(masks[i]) for i in range(n)])
    codes = np.zeros(n, int) if y is None else label_strata(y, 2)
    keys = 2 * codes + seen
    return [np.flatnonzero(keys == key) for key in np.unique(keys)]
