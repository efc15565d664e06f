"""The contract of an estimator as checks: what learners, strategies and comparisons rely on."""

import inspect
import numbers
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from alseg import strategies
from alseg.derived import joint_of, mask_proba_of, masks_of, score_of_masks, uncertainty_of
from alseg.images import as_images, as_masks
from alseg.interfaces import (
    PARTS,
    ClassMaps,
    GoesOn,
    JointPredictions,
    Saved,
    ScoresMasks,
    Uncertainty,
    attribute_of,
    before_and_last,
    fit_arguments,
    has_part,
    is_fitted,
    loaded,
    mask_classes_of,
    meets,
    set_random_state,
)
from alseg.labels import MISSING
from alseg.testing.toys import ContractError
from alseg.validation import message

PAGE = "See docs/user/own_estimator.md."


class Abilities(NamedTuple):
    """What an estimator can, as `check_estimator` found it.

    Attributes
    ----------
    parts : tuple of str
        Names in `alseg.interfaces.PARTS`.
    fits : tuple of str
        Of ``"weights"`` (``mask_weight=``, which augmenters give), ``"labels alone"`` (a fit
        without any mask), ``"masks alone"`` (a fit without class labels), ``"going on"``
        (`partial_fit`: ``warm_start=True``) and ``"saving"`` (`save` and `load`).
    strategies : tuple of str
        Strategies of alseg, with their default options, that are open to it.
    closed : dict of str -> tuple of str
        Other strategies, and the parts that they would need.
    """

    parts: tuple[str, ...]
    fits: tuple[str, ...]
    strategies: tuple[str, ...]
    closed: dict[str, tuple[str, ...]]


def check_estimator(
    estimator: Any, images: Any = None, labels: Any = None, masks: Any = None
) -> Abilities:
    """Check an estimator of images and masks against the contract.

    It is what `ActiveLearner` in mask mode, `run`, strategies, `PseudoLabelAugmenter` and
    `compare_strategies` rely on. Clones are fitted some times to a few small images; the estimator
    itself is left as it is.

    Parameters
    ----------
    estimator : estimator
        Not fitted, as you would give it to a learner.
    images : images, or None, default=None
        At least 4, all of one size. None are 6 made ones of 32 x 48.
    labels : array-like of shape (n,), or None
        With `images`.
    masks : array of shape (n, H, W), or None
        With `images`: all annotated.

    Returns
    -------
    Abilities
        What it can, and which strategies are open to it.

    Raises
    ------
    ValueError
        If these are fewer images, or a mask is not known.
    ContractError
        A sentence for each thing that is missing or wrong, in the order in which they are needed.
        What hangs on something that failed is not looked at.

    Examples
    --------
    >>> from alseg import PixelClassifier
    >>> found = check_estimator(PixelClassifier(n_pixels=20, random_state=0))
    >>> found.parts
    ('masks', 'labels', 'draws', 'embeddings')
    >>> found.closed["cam_disagreement_sampling"]
    ('cams',)
    >>> class Nothing:
    ...     pass
    >>> check_estimator(Nothing())
    Traceback (most recent call last):
        ...
    alseg.testing.toys.ContractError: Nothing.get_params must give the ...
    """
    check = _Check(estimator, *_data(images, labels, masks))
    check.all()
    parts = tuple(part for part in PARTS if has_part(estimator, part))
    found = [n for n in strategies.__all__ if n.endswith("_sampling")]
    missing = {n: strategies.missing_parts(getattr(strategies, n), estimator) for n in found}
    return Abilities(
        parts,
        tuple(check.fits),
        tuple(name for name in found if not missing[name]),
        {
            n: tuple(part for part in PARTS if part in parts)
            for n, parts in missing.items()
            if parts
        },
    )


def _data(images, labels, masks):
    if images is None:
        from alseg.datasets import make_glands

        glands = make_glands(6, image_size=(32, 48), random_state=0)
        images, labels, masks = glands.images, glands.labels, glands.masks
    n = len(as_images(images))
    if n < 4:
        raise ValueError(message("images", "at least 4", n))
    found = as_masks(masks, n)
    known = [found[i] for i in range(n)]
    if any(mask is None for mask in known) or len({np.shape(mask) for mask in known}) > 1:
        raise ValueError(message("masks", "all known and of one size", "others"))
    return images, labels, [np.asarray(mask) for mask in known]


class _Failed(Exception):
    """A check failed, and what hangs on it need not be looked at."""


class _Check:
    """One estimator, the data, and the sentences about what is wrong."""

    def __init__(self, estimator, images, labels, masks):
        self.estimator, self.images, self.labels, self.masks = estimator, images, labels, masks
        self.kind, self.fits, self.wrong = type(estimator).__name__, [], []
        # As a learner gives them: None where nothing is known, -1 where a pixel is not.
        self.known = np.full(len(masks), None, dtype=object)
        for i, mask in enumerate(masks[:-1]):
            self.known[i] = mask.astype(np.int8)
        self.known[1] = self.known[1].copy()
        self.known[1][: len(masks[1]) // 2] = MISSING

    def all(self):
        """Every check; those of one line need those of the lines before."""
        for stage in (
            (self.keeps_parameters, self.takes_masks, self.has_probabilities),
            (self.fits_at_all,),
            (self.probabilities,),
            (self.kinds_of_images, self.each_image_alone, self.masks_of_pixels, self.repeats),
            (self.weights, self.other_fits, self.class_head, self.joint, self.cams),
            (self.uncertainty, self.embeddings, self.score, self.going_on, self.saving),
        ):
            for check in stage:
                with suppress(_Failed):
                    check()
            if self.wrong:
                raise ContractError("\n".join(self.wrong))

    # -- what they are made of ----------------------------------------------------------------

    def fail(self, method, must, got=None):
        """Write down a sentence, and leave the check."""
        shown = "" if got is None else f", got {got}"
        self.wrong.append(f"{self.kind}.{method} must {must}{shown}. {PAGE}")
        raise _Failed

    def call(self, method, must, function, /, *args, **options):
        """What a method gives; that it raises anything is a failure."""
        try:
            return function(*args, **options)
        except Exception as error:
            text = str(error)[:200].rstrip(".")
            self.fail(method, must, f"{type(error).__name__}: {text}")

    def fitted(self, seed=0, images=None, labels=False, masks=False, **given):
        """A fitted clone. It has `known` masks unless others, or None, are given."""
        model = set_random_state(clone(self.estimator), seed)
        masks = self.known.copy() if masks is False else masks
        if masks is not None:
            given["masks"] = masks
        images = self.images if images is None else images
        labels = self.labels if labels is False else labels
        found = model.fit(images, labels, **fit_arguments(model, given))
        return model, found

    def same(self, method, must, a, b, atol=1e-5):
        """Fail unless two predictions are the same but for the last digits."""
        pairs = list(zip(a, b, strict=True))
        if not all(np.allclose(x, y, atol=atol) for x, y in pairs):
            most = max(float(np.abs(np.asarray(x, float) - y).max()) for x, y in pairs)
            self.fail(method, must, f"a difference of {most:.2g}")

    def numbers(self, method, must, values, shape):
        """Fail unless these are finite numbers of a shape."""
        try:
            values = np.asarray(values, dtype=float)
        except (TypeError, ValueError):
            self.fail(method, must, type(values).__name__)
        right = values.ndim == len(shape)
        right = right and all(b in (None, a) for a, b in zip(values.shape, shape, strict=True))
        if not right:
            self.fail(method, must, f"shape {values.shape}")
        if not np.isfinite(values).all():
            self.fail(method, must, "NaN or infinity")
        return values

    # -- the constructor and fit --------------------------------------------------------------

    def keeps_parameters(self):
        """`clone` is how a fit starts anew."""
        must = "give the parameters of the constructor, so that sklearn.base.clone makes another"
        must += " (derive from sklearn.base.BaseEstimator)"
        if not all(hasattr(self.estimator, name) for name in ("get_params", "set_params")):
            self.fail("get_params", must, "no such method")
        self.call("__init__", "keep its arguments as they are", clone, self.estimator)

    def takes_masks(self):
        """The masks are an argument of `fit`."""
        must = "take masks by the name masks: fit(X, y, masks=None, mask_weight=None)"
        last = before_and_last(self.estimator)[1]
        if not hasattr(last, "fit"):
            self.fail("fit", must, "no such method")
        if not _names(last.fit, "masks"):
            self.fail("fit", must, str(inspect.signature(last.fit)))

    def has_probabilities(self):
        """All else can be made of them."""
        if not has_part(self.estimator, "masks"):
            must = "give an array (C, H, W) of class probabilities for each image"
            self.fail("predict_mask_proba", must, "no such method")

    def fits_at_all(self):
        """A fit to masks that are there for some images and some pixels."""
        must = "take masks as an object array of integer arrays (H, W), -1 where a pixel is not "
        must += "annotated and None where an image is not"
        before = [np.array(image) for image in self.images]
        known = self.known.copy()
        kept = [None if mask is None else mask.copy() for mask in known]
        params = clone(before_and_last(self.estimator)[1]).get_params(deep=False)
        self.model, found = self.call("fit", must, self.fitted, masks=known)
        if found is not self.model:
            self.fail("fit", "return the estimator itself", type(found).__name__)
        if not is_fitted(self.model):
            must = "leave classes_, or another attribute that ends in an underscore: a fitted one "
            self.fail("fit", must + "is told by it", sorted(vars(self.model)))
        same_masks = all(
            (a is None and b is None) or np.array_equal(a, b) for a, b in zip(known, kept)
        )
        if not same_masks or not all(map(np.array_equal, before, self.images)):
            self.fail("fit", "leave images and masks as they are", "changed ones")
        now = before_and_last(self.model)[1].get_params(deep=False)
        plain = [n for n in params if n != "random_state" and not hasattr(params[n], "get_params")]
        changed = [name for name in plain if repr(now[name]) != repr(params[name])]
        if changed:
            self.fail("fit", "leave the parameters of the constructor alone", changed)

    # -- masks --------------------------------------------------------------------------------

    @property
    def sizes(self):
        """Height and width of each image."""
        return [mask.shape for mask in self.masks]

    def check_proba(self, proba, sizes):
        """Probabilities as everything else expects them."""
        n_classes = mask_classes_of(self.estimator)
        must = (
            f"give {len(sizes)} arrays (C, H, W), C={n_classes} (n_mask_classes) and H, W of the "
        )
        must += "image"
        method = "predict_mask_proba"
        if not hasattr(proba, "__len__") or len(proba) != len(sizes):
            got = len(proba) if hasattr(proba, "__len__") else type(proba).__name__
            self.fail(method, must, got)
        for one, size in zip(proba, sizes, strict=True):
            if np.shape(one) != (n_classes, *size):
                self.fail(method, must, f"{np.shape(one)} for an image of {tuple(size)}")
            one = np.asarray(one)
            if one.dtype.kind != "f" or not np.isfinite(one).all():
                got = one.dtype if one.dtype.kind != "f" else "NaN or infinity"
                self.fail(method, "give finite floats", got)
            if one.min() < -1e-6 or one.max() > 1 + 1e-6:
                self.fail(method, "give probabilities in [0, 1]", f"{one.min():g} to {one.max():g}")
            if np.abs(one.sum(axis=0) - 1).max() > 1e-3:
                got = f"a sum of {one.sum(axis=0).flat[np.abs(one.sum(axis=0) - 1).argmax()]:g}"
                self.fail(method, "give probabilities that sum to 1 over the classes", got)
        return proba

    def probabilities(self):
        """Of the images that it was fitted to."""
        must = "take the images that fit takes"
        found = self.call("predict_mask_proba", must, mask_proba_of, self.model, self.images)
        self.proba = self.check_proba(found, self.sizes)

    def kinds_of_images(self):
        """Lists of differing sizes, and the sequences that are given for files and chunks."""
        faces = as_images(self.images)
        must = (
            "take any sequence of images, by len(X) and X[i] (alseg.images.as_images(X) makes one)"
        )
        found = self.call(
            "predict_mask_proba", must, mask_proba_of, self.model, faces.take(np.arange(3))
        )
        self.check_proba(found, self.sizes[:3])
        self.same(
            "predict_mask_proba",
            must.replace("take", "be the same for", 1),
            found,
            self.proba[:3],
            1e-4,
        )
        ragged = [np.array(faces[0]), np.array(faces[1])[:-4, :-6], np.array(faces[2])[:, :-2]]
        must = "take images of differing sizes in a list, and give each mask at its image's own"
        found = self.call("predict_mask_proba", must, mask_proba_of, self.model, ragged)
        self.check_proba(found, [image.shape[:2] for image in ragged])

    def each_image_alone(self):
        """What is predicted does not depend on the other images, nor on the call before."""
        must = "give the same for an image alone as among others"
        alone = [
            self.call("predict_mask_proba", must, mask_proba_of, self.model, self.images[i : i + 1])
            for i in (0, 2)
        ]
        self.same(
            "predict_mask_proba",
            must,
            [one[0] for one in alone],
            [self.proba[0], self.proba[2]],
            1e-4,
        )
        again = mask_proba_of(self.model, self.images)
        self.same("predict_mask_proba", "give the same each time it is asked", again, self.proba, 0)

    def masks_of_pixels(self):
        """`predict_masks`, where it is there."""
        must = f"give an integer array (H, W) of classes in [0, {mask_classes_of(self.estimator)})"
        must += " for each image"
        found = self.call("predict_masks", must, masks_of, self.model, self.images)
        if not hasattr(found, "__len__") or len(found) != len(self.masks):
            self.fail("predict_masks", must, f"{np.shape(found)}")
        for one, size in zip(found, self.sizes, strict=True):
            one = np.asarray(one)
            if one.shape != size or one.dtype.kind not in "iu":
                self.fail("predict_masks", must, f"{one.dtype} {one.shape}")
            if one.min() < 0 or one.max() >= mask_classes_of(self.estimator):
                self.fail("predict_masks", must, f"classes {np.unique(one).tolist()}")

    def repeats(self):
        """One seed decides all, and a fit starts from nothing."""
        other, _ = self.fitted()
        must = "give the same model for the same random_state (a parameter of the constructor)"
        self.same("fit", must, mask_proba_of(other, self.images), self.proba)
        less = np.full(len(self.masks), None, dtype=object)
        less[0] = 1 - np.clip(self.masks[0], 0, 1)
        model, _ = self.fitted(masks=less)
        set_random_state(model, 0)
        model.fit(self.images, self.labels, **fit_arguments(model, {"masks": self.known.copy()}))
        must = "start anew, whatever it was fitted to before (partial_fit goes on)"
        self.same("fit", must, mask_proba_of(model, self.images), self.proba)

    # -- other fits ---------------------------------------------------------------------------

    def weights(self):
        """A number an image or a pixel, as augmenters give them."""
        if not _names(before_and_last(self.estimator)[1].fit, "mask_weight"):
            return
        n = len(self.masks)
        must = "take mask_weight as a number for each image (n,), and as an array (H, W) for each"
        self.call("fit", must, self.fitted, mask_weight=np.linspace(0.1, 1, n))
        maps = np.stack([np.full(size, 0.5, np.float32) for size in self.sizes])
        self.call("fit", must, self.fitted, mask_weight=maps)
        self.fits.append("weights")

    def other_fits(self):
        """What may be there and need not: neither is a failure."""
        for name, given in (("labels alone", {"masks": None}), ("masks alone", {"labels": None})):
            try:
                model, _ = self.fitted(**given)
                mask_proba_of(model, self.images)
            except Exception:  # whatever it is: it does not do this
                continue
            self.fits.append(name)

    # -- parts --------------------------------------------------------------------------------

    def class_head(self):
        """Labels of images, and their probabilities."""
        if not has_part(self.estimator, "labels"):
            return
        n, classes = len(self.masks), attribute_of(self.model, "classes_")
        if classes is None:
            must = "leave classes_, the sorted class labels that predict_proba's columns are of"
            self.fail("fit", must, "none, with predict and predict_proba")
        must = f"give probabilities of shape (n, {len(classes)}), a column for each of classes_, "
        must += "that sum to 1"
        found = self.call("predict_proba", must, self.model.predict_proba, self.images)
        proba = self.numbers("predict_proba", must, found, (n, len(classes)))
        if np.abs(proba.sum(axis=1) - 1).max() > 1e-3 or proba.min() < -1e-6:
            self.fail("predict_proba", must, f"sums up to {proba.sum(axis=1).max():g}")
        must = "give a label of classes_ for each image, shape (n,)"
        found = np.asarray(self.call("predict", must, self.model.predict, self.images))
        if found.shape != (n,) or not np.isin(found, classes).all():
            self.fail("predict", must, f"{found.shape} {found[:3].tolist()}")

    def joint(self):
        """All in one pass is what the methods give one by one."""
        last = before_and_last(self.model)[1]
        if not meets(last, JointPredictions):
            return
        head = has_part(self.estimator, "labels")
        wanted = ["masks", "mask_proba", *(["labels", "proba"] if head else [])]
        must = f"give a Bunch or a dict of {', '.join(wanted)}, as the methods of these names"
        joint = self.call("predict_joint", must, joint_of, self.model, self.images)
        missing = [key for key in wanted if key not in joint]
        if missing:
            self.fail("predict_joint", must, f"none of {missing}")
        self.same("predict_joint", must, joint["mask_proba"], self.proba, 1e-4)

    def cams(self):
        """A map for each class of images."""
        if not has_part(self.estimator, "cams"):
            return
        method = (
            "predict_cams" if meets(before_and_last(self.model)[1], ClassMaps) else "predict_joint"
        )
        must = f"give class maps (K, h, w), K={len(attribute_of(self.model, 'classes_', ()))}, for "
        must += "each image (say has_cams = False if it has none)"
        joint = self.call(method, must, joint_of, self.model, self.images, cams=True)
        if "cams" not in joint or len(joint["cams"]) != len(self.masks):
            self.fail(method, must, "no cams" if "cams" not in joint else len(joint["cams"]))
        for one in joint["cams"]:
            self.numbers(
                method, must, one, (len(attribute_of(self.model, "classes_", ())), None, None)
            )

    def uncertainty(self):
        """Its own scores, their maps and its draws."""
        if not meets(before_and_last(self.model)[1], Uncertainty):
            return
        n, method = len(self.masks), "predict_uncertainty"
        must = f"give a finite score for each image, shape ({n},)"
        ask = [method, must, uncertainty_of, self.model, self.images]
        self.numbers(method, must, self.call(*ask, method="entropy"), (n,))
        must = "give scores and a map (H, W) for each image with return_maps=True"
        found = self.call(method, must, *ask[2:], method="margin", return_maps=True)
        if not isinstance(found, tuple) or [np.shape(m) for m in found[1]] != self.sizes:
            self.fail(method, must, type(found).__name__)
        if not has_part(self.estimator, "draws"):
            return
        must = "repeat its draws with the same random_state, for method='mc_variance' and n_draws=3"
        must += " (say has_draws = False if it has none)"
        drawn = {"method": "mc_variance", "n_draws": 3, "random_state": 1}
        first, again = (self.call(method, must, *ask[2:], **drawn) for _ in range(2))
        self.numbers(method, must, first, (n,))
        self.same(method, must, [first], [again], 0)

    def embeddings(self):
        """A vector an image."""
        if not has_part(self.estimator, "embeddings"):
            return
        n, model = len(self.masks), self.model
        must = (
            f"give a finite vector for each image, shape ({n}, d) (say has_embeddings = False if "
        )
        must += "it makes none)"
        found = self.call("transform", must, model.transform, self.images)
        found = self.numbers("transform", must, found, (n, None))
        must = "give the same for an image alone as among others"
        alone = self.call("transform", must, model.transform, self.images[:1])
        self.same("transform", must, alone, found[:1], 1e-3)

    def score(self):
        """A number, larger is better."""
        if not meets(before_and_last(self.model)[1], ScoresMasks):
            return
        must = "give a number, larger is better, of images and masks, some of them None"
        found = self.call("score_masks", must, score_of_masks, self.model, self.images, self.known)
        if not isinstance(found, numbers.Real) or not np.isfinite(found):
            self.fail("score_masks", must, repr(found)[:60])

    def going_on(self):
        """`partial_fit`, as a learner with ``warm_start=True`` calls it."""
        if not meets(self.model, GoesOn):
            return
        import copy

        must = "take what fit takes, and go on from the present model"
        twin = self.call(
            "__deepcopy__", "be copied with all it has learned", copy.deepcopy, self.model
        )
        self.same(
            "__deepcopy__",
            "be copied with all it has learned",
            mask_proba_of(twin, self.images),
            self.proba,
        )
        self.call(
            "partial_fit", must, twin.partial_fit, self.images, self.labels, masks=self.known.copy()
        )
        self.check_proba(mask_proba_of(twin, self.images), self.sizes)
        self.same(
            "partial_fit",
            "change the copy that is fitted, and not the model it was made of",
            mask_proba_of(self.model, self.images),
            self.proba,
        )
        self.fits.append("going on")

    def saving(self):
        """`save` and `load`, as a learner's `save` and a run that goes on call them."""
        if not meets(self.model, Saved):
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            self.call("save", "write a fitted model into a new folder", self.model.save, path)
            must = "be a class method that gives the model that save wrote: load(path)"
            found = self.call("load", must, loaded, self.estimator, path)
            if not isinstance(found, type(self.estimator)):
                self.fail("load", must, type(found).__name__)
            found = self.call("load", must, mask_proba_of, found, self.images)
            self.same("load", must, found, self.proba)
        self.fits.append("saving")


def _names(function, name):
    """Whether a function takes an argument of this name, or any."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
