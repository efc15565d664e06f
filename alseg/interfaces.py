"""What alseg asks of the parts that you may bring: estimators, strategies, oracles and the like.

Each is a `typing.Protocol`: an object of any class that has the methods will do, and none has to be
derived from. Of a method or an attribute that only some have, a function here says what is taken
for granted where it is not there, so that this stands in one place.
"""

import functools
import inspect
import sys
from typing import Any, Protocol, runtime_checkable

import numpy as np

__all__ = [
    "PARTS",
    "Adversarial",
    "Augmenter",
    "BatchLoss",
    "ChecksParams",
    "ClassHead",
    "ClassMaps",
    "CountsPseudoMasks",
    "Embeddings",
    "Encoder",
    "Estimator",
    "GoesOn",
    "Gradients",
    "JointPredictions",
    "MaskProbabilities",
    "ObjectMaps",
    "Oracle",
    "PoolQuery",
    "Saved",
    "Score",
    "ScoresMasks",
    "Strategy",
    "TellsFits",
    "Uncertainty",
    "attribute_of",
    "before_and_last",
    "estimator_of",
    "fit_arguments",
    "has_class_head",
    "has_learned_masks",
    "has_part",
    "is_fitted",
    "loaded",
    "mask_classes_of",
    "meets",
    "set_random_state",
    "takes_batch",
]

# -- the estimator ------------------------------------------------------------------------------


@runtime_checkable
class Estimator(Protocol):
    """A segmenter, as `ActiveLearner` in mask mode, `run` and `compare_strategies` take it.

    It is a scikit-learn estimator: its constructor keeps its parameters, so that `clone` makes an
    unfitted one of the same, and a fit starts anew. After `fit` it has ``classes_``, the class
    labels, or, without a class head, any attribute whose name ends in an underscore: a fitted one
    is told by it. Everything else is asked for where it is of use: see
    `ClassHead`, `JointPredictions`, `ClassMaps`, `Uncertainty`, `Embeddings`, `GoesOn`, `Saved`,
    `ChecksParams`.
    What it lacks is made of what it has where that can be done, by `alseg.derived` alone: masks
    (``predict_masks``) of the probabilities, say.
    Attributes that are read where they are there: ``n_mask_classes`` (2 is taken without it),
    ``has_class_head``, ``has_cams``, ``has_draws`` and ``has_embeddings`` (see `has_part`),
    ``has_masks_`` (whether it was fitted to any mask), ``n_steps_`` (gradient steps so far),
    ``threshold_``, ``multilabel_`` (see `is_multilabel`), ``validation_score_``, ``validation_``,
    ``device_``.

    Examples
    --------
    >>> from alseg import JointCAMSegmenter
    >>> from sklearn.naive_bayes import GaussianNB
    >>> isinstance(JointCAMSegmenter(), Estimator), isinstance(GaussianNB(), Estimator)
    (True, False)
    """

    def fit(self, X: Any, y: Any, masks: Any = None, mask_weight: Any = None) -> Any:
        """Fit to images, their class labels, and the masks known: an entry an image, or None.

        A mask is an integer array (H, W), -1 where it is not annotated, or None; a weight is a
        number an image or a pixel. An estimator that takes no `mask_weight` can do without an
        augmenter alone.
        """

    def predict_mask_proba(self, X: Any) -> Any:
        """Class probabilities of each pixel: an array (C, H, W) for each image."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor, by name."""

    def set_params(self, **params: Any) -> Any:
        """Change parameters; the estimator itself comes back."""


@runtime_checkable
class MaskProbabilities(Protocol):
    """What scores, and the augmenter, need of a model: probabilities of the pixels' classes."""

    def predict_mask_proba(self, X: Any) -> Any:
        """Class probabilities of each pixel: an array (C, H, W) for each image."""


@runtime_checkable
class ClassHead(Protocol):
    """An estimator that also predicts the class of an image."""

    def predict(self, X: Any) -> Any:
        """Class labels, shape (n_samples,)."""

    def predict_proba(self, X: Any) -> Any:
        """Class probabilities, shape (n_samples, n_classes), in the order of ``classes_``."""


@runtime_checkable
class JointPredictions(Protocol):
    """An estimator that predicts labels and masks in one pass."""

    def predict_joint(self, X: Any) -> Any:
        """A Bunch of ``labels`` and ``masks``, and maybe ``proba``, ``mask_proba``, ``cams``."""


@runtime_checkable
class ClassMaps(Protocol):
    """An estimator with class activation maps."""

    def predict_cams(self, X: Any) -> Any:
        """Raw maps: an array (n_classes, h, w) for each image."""


@runtime_checkable
class Uncertainty(Protocol):
    """An estimator with uncertainties of its own; of others they are made of its probabilities."""

    def predict_uncertainty(self, X: Any, method: str = "entropy", **options: Any) -> Any:
        """Scores, shape (n_samples,), larger is more worth asking.

        With ``return_maps=True`` a pair with a map (H, W) for each image. Further options are
        `aggregate`, `target`, and for stochastic methods `n_draws` and `random_state`.
        """


@runtime_checkable
class Adversarial(Protocol):
    """An estimator that finds the small change of an image that moves its prediction most."""

    def adversarial_divergence(self, X: Any, epsilon: float = 0.01, **options: Any) -> Any:
        """Divergence of the prediction of the image changed from that of the image, (n_samples,).

        `epsilon` is the root mean square of the change, of pixels in [0, 1]. Further options are
        `n_steps`, `aggregate`, `target`, `return_maps` and `random_state`, as those of
        `JointCAMSegmenter.adversarial_divergence`.
        """


@runtime_checkable
class ObjectMaps(Protocol):
    """An estimator that says what lies inside objects, so that touching ones are told apart."""

    objects: Any
    """What it learns of them: `alseg.Objects`, or what is short for it."""

    def iter_object_maps(self, X: Any) -> Any:
        """An iterator of a Bunch an image: ``mask_proba`` (C, H, W), ``inside`` (H, W), \
``min_size``."""


@runtime_checkable
class Embeddings(Protocol):
    """An estimator that makes a vector of an image."""

    def transform(self, X: Any) -> Any:
        """Embeddings, shape (n_samples, d)."""


@runtime_checkable
class Gradients(Protocol):
    """An estimator that tells what an image would do to its last layer."""

    def gradient_embedding(self, X: Any, loss: str = "cross_entropy") -> Any:
        """Gradients by the last layer, the prediction taken as the truth, shape (n_samples, d)."""

    def gradient_length(self, X: Any) -> Any:
        """How long a gradient is expected to be, shape (n_samples,)."""


@runtime_checkable
class GoesOn(Protocol):
    """An estimator whose fit can go on: what ``warm_start=True`` needs."""

    def partial_fit(self, X: Any, y: Any, masks: Any = None, mask_weight: Any = None) -> Any:
        """As `fit`, from the present weights."""


@runtime_checkable
class Saved(Protocol):
    """An estimator that can be kept in a folder: a run that goes on with its model needs it."""

    def save(self, path: Any) -> Any:
        """Write a fitted estimator into a folder."""

    def load(self, path: Any) -> Any:
        """The estimator that `save` wrote; of the class, not of an instance."""


@runtime_checkable
class ScoresMasks(Protocol):
    """An estimator that says how good its masks are; of others it is the mean Dice."""

    def score_masks(self, X: Any, masks: Any) -> float:
        """Larger is better."""


@runtime_checkable
class ChecksParams(Protocol):
    """An estimator that looks at its parameters before anything is fitted."""

    def check_params(self) -> Any:
        """Raise the error that `fit` would."""


def meets(thing: Any, protocol: type) -> bool:
    """Whether an object has all that a protocol asks for.

    As `isinstance` says of a class with these methods; but a method that is there under a condition
    (scikit-learn's ``available_if``), or that an object hands on from another, counts where it is
    there, in every version of Python.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> meets(GaussianNB(), ClassHead), meets(GaussianNB(), MaskProbabilities), meets(len, Score)
    (True, False, True)
    """
    return all(hasattr(thing, name) for name in _asked_by(protocol))


@functools.cache
def _asked_by(protocol: type) -> tuple[str, ...]:
    names = {*vars(protocol), *protocol.__annotations__}
    return tuple(sorted(name for name in names if name == "__call__" or name[0] != "_"))


def estimator_of(learner: Any) -> Any:
    """The model that predicts, behind learners, searches and other wrappers.

    Of what stands inside one another (a learner's, a search's or a wrapper's ``estimator``) it is
    the outermost with `predict_mask_proba`; without one, the outermost with `predict_proba` or
    `predict`. A learner (which has ``X_training``) is always looked into, and so is a fitted search
    (``best_estimator_``); an ensemble (``estimators_``) never is, for what it was made of is not
    fitted.

    Parameters
    ----------
    learner : object

    Returns
    -------
    object
        The innermost where nothing in it predicts.

    Examples
    --------
    >>> from alseg import ActiveLearner
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from sklearn.naive_bayes import GaussianNB
    >>> estimator_of(ActiveLearner(GaussianNB()))
    GaussianNB()
    >>> estimator_of(CalibratedClassifierCV(GaussianNB()))  # it predicts, its template does not
    CalibratedClassifierCV(estimator=GaussianNB())
    """
    chain = [learner]
    while not hasattr(chain[-1], "estimators_"):
        inner = getattr(chain[-1], "best_estimator_", None)
        if inner is None:
            inner = getattr(chain[-1], "estimator", None)
        if inner is None:
            break
        looked_into = hasattr(chain[-1], "X_training") or hasattr(chain[-1], "best_estimator_")
        chain = [inner] if looked_into else [*chain, inner]
    last = chain[-1]
    if hasattr(last, "estimators_") and len(chain) == 1:
        return last
    for name in ("predict_mask_proba", "predict_proba", "predict"):
        for one in chain:
            if hasattr(one, name):
                return one
    return last


def before_and_last(estimator: Any) -> tuple[Any, Any]:
    """What images go through before the last step of a scikit-learn `Pipeline`, and that step.

    The first is a function from images to images, or None where there is nothing. A pipeline hands
    on the methods that scikit-learn knows, and none of its last step's own.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> before_and_last(make_pipeline(StandardScaler(), GaussianNB()))[1], before_and_last(3)
    (GaussianNB(), (None, 3))
    """
    module = sys.modules.get("sklearn.pipeline")  # before its import there is no pipeline
    if module is None or not isinstance(estimator, module.Pipeline):
        return None, estimator
    steps = [step for _, step in estimator.steps[:-1] if step not in (None, "passthrough")]
    # Not a part of the pipeline: whose last step scikit-learn asks for signs of a fit, of which a
    # step that learns nothing has none.
    return (functools.partial(_through, steps) if steps else None), estimator[-1]


def _through(steps: list[Any], X: Any) -> Any:
    for step in steps:
        X = step.transform(X)
    return X


def attribute_of(estimator: Any, name: str, otherwise: Any = None) -> Any:
    """An attribute that an estimator may have, of a `Pipeline` its last step's."""
    return getattr(before_and_last(estimator)[1], name, otherwise)


def has_class_head(estimator: Any) -> bool:
    """Whether an estimator predicts classes of images.

    What its ``has_class_head`` says; without it, whether it is a `ClassHead` or has
    `JointPredictions`.

    Examples
    --------
    >>> from alseg import JointCAMSegmenter
    >>> has_class_head(JointCAMSegmenter())
    True
    """
    _, estimator = before_and_last(estimator)
    said = getattr(estimator, "has_class_head", None)
    if said is not None:
        return bool(said)
    return meets(estimator, ClassHead) or meets(estimator, JointPredictions)


def is_multilabel(estimator: Any) -> bool:
    """Whether an estimator, or that of a learner, is fitted to images of several classes.

    That is what its ``multilabel_`` says. `predict` gives a matrix (n, K) of 0 and 1 then, and
    `predict_proba` a probability of each class by itself.

    Examples
    --------
    >>> from alseg import JointCAMSegmenter
    >>> is_multilabel(JointCAMSegmenter())
    False
    """
    return bool(attribute_of(estimator_of(estimator), "multilabel_", False))


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator has ``classes_``, or says by scikit-learn's signs that it is fitted.

    These are ``__sklearn_is_fitted__`` and attributes whose names end in an underscore, so that
    one without a class head needs no ``classes_``.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> is_fitted(StandardScaler()), is_fitted(StandardScaler().fit([[0.0], [1.0]]))
    (False, True)
    """
    if hasattr(estimator, "classes_"):
        return True
    said = getattr(estimator, "__sklearn_is_fitted__", None)
    if said is not None:
        return bool(said())
    names = getattr(estimator, "__dict__", {})
    return any(name[-1:] == "_" and name[:2] != "__" for name in names)


def has_learned_masks(estimator: Any) -> bool:
    """Whether an estimator is fitted, and not to class labels alone if it says so."""
    _, estimator = before_and_last(estimator)
    return is_fitted(estimator) and bool(getattr(estimator, "has_masks_", True))


def mask_classes_of(estimator: Any, otherwise: Any = 2) -> Any:
    """How many classes the pixels of an estimator have; `otherwise` where it does not say."""
    return attribute_of(estimator, "n_mask_classes", otherwise)


PARTS = {
    "masks": "predict_mask_proba(X)",
    "labels": "a class head: predict(X), predict_proba(X) and classes_",
    "cams": "class activation maps: predict_cams(X), or predict_joint(X) with them",
    "draws": "stochastic draws: predict_uncertainty(X, method, ..., n_draws, random_state)",
    "embeddings": "embeddings: transform(X)",
    "gradients": "gradients: gradient_embedding(X) and gradient_length(X)",
    "members": "members: estimators_ once it is fitted, as an ensemble has them",
}
"""Parts of an estimator, of which a strategy says what it needs, and the methods that they are."""


def has_part(estimator: Any, part: str) -> bool:
    """Whether an estimator, fitted or not, has one of the parts that a strategy may need.

    Parameters
    ----------
    estimator : object
        Of a `Pipeline` its last step is looked at.
    part : str
        A name in `PARTS`. What an attribute ``has_cams``, ``has_draws`` or ``has_embeddings`` says
        counts; without it, whether the methods are there: of draws, whether `predict_uncertainty`
        has a parameter ``n_draws``.

    Returns
    -------
    bool

    Examples
    --------
    >>> from alseg import JointCAMSegmenter, PixelClassifier
    >>> has_part(JointCAMSegmenter(), "cams"), has_part(PixelClassifier(), "cams")
    (True, False)
    """
    _, estimator = before_and_last(estimator)
    if part == "labels":
        return has_class_head(estimator)
    if part == "members":
        params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
        return hasattr(estimator, "estimators_") or {"estimator", "n_estimators"} <= set(params)
    said = getattr(estimator, f"has_{part}", None)
    if said is not None:
        return bool(said)
    if part == "cams":
        jointly = meets(estimator, JointPredictions) and has_class_head(estimator)
        return meets(estimator, ClassMaps) or jointly
    if part == "draws":
        return meets(estimator, Uncertainty) and _names(estimator.predict_uncertainty, "n_draws")
    return meets(estimator, _PROTOCOLS[part])


_PROTOCOLS = {"masks": MaskProbabilities, "embeddings": Embeddings, "gradients": Gradients}


def _names(function: Any, name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)


def fit_arguments(estimator: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `fit` as an estimator takes them: of a `Pipeline` those of its last step.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.pipeline import make_pipeline
    >>> fit_arguments(make_pipeline(GaussianNB()), {"masks": 1})
    {'gaussiannb__masks': 1}
    """
    if before_and_last(estimator)[1] is estimator:
        return given
    import sklearn

    if sklearn.get_config().get("enable_metadata_routing"):  # then by name, as the step asks
        return given
    return {f"{estimator.steps[-1][0]}__{name}": value for name, value in given.items()}


def loaded(estimator: Any, path: Any) -> Any:
    """What `save` of an estimator like this one wrote, with the parameters that this one has.

    ``load`` is given those that it names; the others are set. A model keeps the seed of its fit.

    Parameters
    ----------
    estimator : object
        That is `Saved`; it is left as it is.
    path : str or Path
    """
    params = estimator.get_params(deep=False)
    params.pop("random_state", None)
    load = type(estimator).load
    given = {name: value for name, value in params.items() if _names(load, name)}
    model = load(path, **given)
    rest = {name: value for name, value in params.items() if name not in given}
    return model.set_params(**rest) if rest else model


def set_random_state(estimator: Any, seed: int) -> Any:
    """Seed an estimator, or another object with parameters, and the steps in it; it comes back.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> set_random_state(DummyClassifier(), 3).random_state
    3
    """
    if hasattr(estimator, "get_params"):
        names = estimator.get_params(deep=True)
        seeded = {n: seed for n in names if n == "random_state" or n.endswith("__random_state")}
        if seeded:
            estimator.set_params(**seeded)
    return estimator


# -- asking and answering -----------------------------------------------------------------------


@runtime_checkable
class Score(Protocol):
    """How much each image of a pool is worth asking about."""

    def __call__(self, learner: Any, X_pool: Any) -> np.ndarray:
        """A finite number for each image, shape (n_pool,), larger is more worth asking.

        Of the keywords `random_state`, `y_pool` and `masks_pool` those are passed that it names.
        One with a parameter `return_maps` gives, with True, the scores and a map (H, W) for each
        image: `alseg.strategies.by_region` asks for parts of images by it.
        """


@runtime_checkable
class Strategy(Protocol):
    """Which images of a pool, or parts of them, to ask about."""

    def __call__(self, learner: Any, X_pool: Any, n_instances: int = 1) -> Any:
        """Positions in the pool, shape (n_instances,), best first, or `alseg.query.Regions`.

        Of the keywords `random_state`, `y_pool`, `masks_pool` and `groups_pool` those are passed
        that it names. A parameter `unit` says by its default what `n_instances` counts, where that
        is not images.
        """


@runtime_checkable
class PoolQuery(Protocol):
    """A query strategy on feature vectors, as scikit-activeml's pool strategies are.

    An object with parameters, as a scikit-learn estimator has them. `ActiveLearner`, `Committee`
    and `compare_strategies` take it as it is; see `alseg.strategies.from_skactiveml` for what its
    ``query`` is given.
    """

    missing_label: Any
    """What stands in `y` where a label is not known."""

    def query(self, X: Any, y: Any, candidates: Any = None, batch_size: int = 1) -> Any:
        """Positions in `X`, shape (batch_size,), of rows without a label.

        Of the keywords `clf`, `estimator`, `ensemble`, `discriminator` and `reg` those are passed
        that it names.
        """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor, by name."""

    def set_params(self, **params: Any) -> Any:
        """Change parameters; the object itself comes back."""


@runtime_checkable
class Oracle(Protocol):
    """Who answers a question."""

    def __call__(self, sample_ids: Any, regions: Any = None) -> Any:
        """A mask for each id: an integer array of the size of its image, -1 outside `regions`."""


@runtime_checkable
class Augmenter(Protocol):
    """What gives masks to images that have none, from the second fit of a round on."""

    def fit(self, X: Any, y: Any = None, masks: Any = None, *, estimator: Any) -> Any:
        """Look at what is annotated, with a fitted estimator."""

    def transform(self, X: Any) -> tuple[Any, Any]:
        """Masks of all images, and their weights: a number an image or a pixel."""


@runtime_checkable
class TellsFits(Protocol):
    """An augmenter that says which fits a round makes; see `alseg.pseudo.fits_of_round`."""

    def fits_of_round(self, warm_start: bool = False) -> list[Any]:
        """A list of `alseg.pseudo.FitOfRound`."""


@runtime_checkable
class CountsPseudoMasks(Protocol):
    """An augmenter that says how many images get a mask; see `alseg.pseudo.most_pseudo_masks`."""

    def most_pseudo_masks(self, n_annotated: int, n_images: int) -> int:
        """How many at most."""


# -- the network --------------------------------------------------------------------------------


@runtime_checkable
class Encoder(Protocol):
    """The first part of a network: an ``nn.Module`` that gives feature maps, finest first."""

    out_channels: Any
    """Channels of each map."""
    strides: Any
    """By how much each map is smaller than the image."""

    def __call__(self, images: Any) -> Any:
        """A list of maps (N, C, H / stride, W / stride) of images (N, 3, H, W)."""


@runtime_checkable
class BatchLoss(Protocol):
    """A loss that sees all that is known of a batch, as `alseg.training.JointLoss` does.

    Any other callable that is given as ``criterion`` is a loss of masks alone, of logits
    (M, C, H, W) and masks (M, H, W): see `alseg.training.PlainLoss`.
    """

    takes_batch: bool
    """True, of the class and of its objects: by this it is told."""

    def __call__(self, prediction: Any, target: Any) -> Any:
        """A number, of two dicts.

        Of `prediction` ``logits`` (N, K), and ``mask_logits`` (M, C, H, W) of the first M images or
        None; of `target` ``labels`` (N,), ``masks`` (M, H, W), -1 where not annotated, and
        ``mask_weight`` (M, 1, 1) or (M, H, W).
        """


def takes_batch(loss: Any) -> bool:
    """Whether a loss, or a class of losses, is a `BatchLoss`.

    Examples
    --------
    >>> import torch
    >>> from alseg.training import JointLoss
    >>> takes_batch(JointLoss), takes_batch(torch.nn.CrossEntropyLoss())
    (True, False)
    """
    loss = loss.func if isinstance(loss, functools.partial) else loss
    return bool(getattr(loss, "takes_batch", False))
