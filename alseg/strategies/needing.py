"""What a strategy needs of an estimator, known before anything is fitted."""

import functools
import inspect
from typing import Any

import numpy as np

from alseg.calling import name_of
from alseg.interfaces import PARTS, has_part
from alseg.query import DRAW_UNCERTAINTIES
from alseg.strategies import cost_effective as ceal
from alseg.strategies import disagreement as committee
from alseg.strategies import expected_change as gradients
from alseg.strategies import expected_error as losses
from alseg.strategies import foreground, hybrid, image_parts, perturbed, representative, stochastic
from alseg.strategies import two_views as views
from alseg.strategies.feature_queries import as_function
from alseg.validation import message

PAGE = "docs/user/own_estimator.md says what to add."

# Beside what their options say (see `needs_of`).
_ALSO: dict[Any, tuple[str, ...]] = {
    ceal.ceal_sampling: ("masks", "draws"),
    ceal.ceal_score: ("masks", "draws"),
    committee.committee_sampling: ("members",),
    committee.committee_score: ("members",),
    committee.mc_dropout_sampling: ("draws",),
    committee.mc_dropout_score: ("draws",),
    gradients.badge_sampling: ("gradients",),
    gradients.egl_sampling: ("gradients",),
    gradients.egl_score: ("gradients",),
    hybrid.clasp_sampling: ("masks",),
    image_parts.ripu_sampling: ("masks",),
    image_parts.ripu_score: ("masks",),
    representative.cdal_sampling: ("masks",),
    representative.cdal_score: ("masks",),
    stochastic.bald_sampling: ("draws",),
    stochastic.bald_score: ("draws",),
    stochastic.mc_variance_sampling: ("draws",),
    stochastic.mc_variance_score: ("draws",),
    stochastic.predicted_dice_sampling: ("masks", "draws"),
    stochastic.predicted_dice_score: ("masks", "draws"),
    views.cam_disagreement_sampling: ("masks", "cams", "labels"),
    views.cam_disagreement_score: ("masks", "cams", "labels"),
}
_OF_SOURCE = {"cam": ("cams", "labels"), "mask": ("masks",)}
_WITHOUT_ONE_CLASS = (
    "Some take target='mask', source='mask' or evidence=('colours',) instead, and those of "
    "scikit-activeml a clf= of your own."
)
# With target="label" they go by the one class of an image, as do all class activation maps.
_BY_ONE_CLASS = {
    gradients.badge_sampling,
    gradients.egl_sampling,
    gradients.egl_score,
    losses.learning_loss_sampling,
    losses.learning_loss_score,
    perturbed.virtual_adversarial_sampling,
    perturbed.virtual_adversarial_score,
}


def needs_of(strategy: Any, estimator: Any = None) -> frozenset[str] | None:
    """Names in `alseg.interfaces.PARTS` of what a strategy, or a score, asks an estimator for.

    Parameters
    ----------
    strategy : callable
        Its options as it is given, in a `functools.partial` or not: ``embedding="input"`` needs no
        embeddings, and a wrapper needs what is inside it. One of your own says what it needs by an
        attribute ``needs``, a sequence of names.
    estimator : object or None, default=None
        Whose masks or labels ``target=None`` means; None is one with masks.

    Returns
    -------
    frozenset of str, or None
        None where a strategy, or an augmenter, that is not alseg's does not say.

    Examples
    --------
    >>> from alseg.strategies import class_balanced, core_set_sampling, mc_variance_score
    >>> sorted(needs_of(class_balanced(mc_variance_score)))
    ['draws', 'masks']
    >>> sorted(needs_of(functools.partial(core_set_sampling, embedding="input")))
    []
    """
    said = getattr(strategy, "needs", None)
    if said is not None:
        return frozenset([said] if isinstance(said, str) else said)
    strategy, options = _unwrapped(strategy)
    if hasattr(strategy, "needs"):
        return needs_of(strategy)
    if not _is_ours(strategy):
        return None
    return frozenset(_by_options(strategy, options, estimator))


def _unwrapped(strategy):
    """The function in a `functools.partial`, and its options, defaults included if it is ours."""
    options: dict[str, Any] = {}
    while isinstance(strategy, functools.partial):
        options = {**strategy.keywords, **options}
        strategy = strategy.func
    if not _is_ours(strategy):
        return strategy, options
    parameters = inspect.signature(strategy).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return strategy, {**defaults, **options}


def _is_ours(strategy):
    return str(getattr(strategy, "__module__", "")).startswith("alseg.strategies")


def _inner(options):
    """The scores and strategies that a wrapper is given."""
    inner = [options.get("score"), options.get("strategy"), *options.get("strategies", ())]
    return filter(callable, inner)


def needs_one_class(strategy: Any, estimator: Any = None) -> bool:
    """Whether a strategy, or an augmenter, goes by the one class of an image.

    Images of several classes (`labels` a matrix) it refuses. One of your own says so by an
    attribute ``one_class``; without, it does if it needs class activation maps.

    Parameters
    ----------
    strategy : callable
    estimator : object or None, default=None
        As in `needs_of`.

    Examples
    --------
    >>> from alseg.strategies import class_balanced, egl_score, entropy_score
    >>> needs_one_class(class_balanced(functools.partial(egl_score, target="label")))
    True
    >>> needs_one_class(class_balanced(egl_score)), needs_one_class(entropy_score)
    (False, False)
    """
    strategy = as_function(strategy)
    function, options = _unwrapped(strategy)
    for one in (strategy, function):
        if hasattr(one, "one_class"):
            return bool(one.one_class)
    ours = _is_ours(function)
    inner = list(_inner(options)) if ours else []
    if inner:
        return any(needs_one_class(one, estimator) for one in inner)
    if ours and function in _BY_ONE_CLASS:
        return _meant(options["target"], estimator) == "label"
    return "cams" in (needs_of(strategy, estimator) or ())


def _by_options(strategy, options, estimator):
    found = set(_ALSO.get(strategy, ()))
    if strategy is foreground.foreground_random_sampling:
        source = options["source"]
        return found.union(_OF_SOURCE[source] if isinstance(source, str) else ())
    if "target" in options:
        found |= _of_target(options, found, estimator)
    if options.get("members") is not None:
        found.discard("members")
    if strategy is hybrid.clasp_sampling and options["method"] in DRAW_UNCERTAINTIES:
        found.add("draws")
    by_gradient = "gradients" in found
    if "embedding" in options and not by_gradient:
        embedding = options["embedding"]
        named = isinstance(embedding, str) and embedding != "input"
        if embedding is None or named:
            found.add("embeddings")
    for one in _inner(options):
        found |= needs_of(one, estimator) or frozenset()
    return found


def _of_target(options, found, estimator):
    if _meant(options["target"], estimator) == "label":
        found.discard("gradients")  # they are of the embedding and the probabilities
        return {"labels"}
    return set() if "gradients" in found else {"masks"}


def _meant(target, estimator):
    if target is not None:
        return target
    return "mask" if estimator is None or has_part(estimator, "masks") else "label"


def check_needs(
    strategy: Any,
    estimator: Any,
    name: str = "query_strategy",
    images: bool = True,
    labels: Any = None,
) -> None:
    """Refuse a strategy that asks for what an estimator does not have, before anything is fitted.

    Parameters
    ----------
    strategy : callable
    estimator : object
        Fitted or not.
    name : str, default="query_strategy"
        What an error calls the strategy.
    images : bool, default=True
        Whether the pool is of images. Of feature vectors no embeddings are needed.
    labels : array-like or None, default=None
        Of the images; a matrix says that they are of several classes.

    Raises
    ------
    TypeError
        Naming the parts that are missing, their methods, and the page of the documentation.
    ValueError
        If images are of several classes, and it goes by the one class of an image.

    Examples
    --------
    >>> from alseg import PixelClassifier
    >>> from alseg.strategies import cam_disagreement_sampling
    >>> try:
    ...     check_needs(cam_disagreement_sampling, PixelClassifier())
    ... except TypeError as error:
    ...     print(str(error)[:66])
    query_strategy must be one that does without class activation maps
    """
    missing = [part for part in PARTS if part in missing_parts(strategy, estimator, images)]
    if missing:
        kind = type(estimator).__name__
        listed = "; ".join(PARTS[part] for part in missing)
        rule = f"one that does without {listed} (which {kind} does not have)"
        raise TypeError(message(name, rule, name_of(strategy), PAGE))
    if np.ndim(labels) == 2 and needs_one_class(strategy, estimator):
        rule = "one that does without the one class of an image: these are of several"
        raise ValueError(message(name, rule, name_of(strategy), _WITHOUT_ONE_CLASS))


def missing_parts(strategy: Any, estimator: Any, images: bool = True) -> set[str]:
    """Of what a strategy needs, what an estimator does not have; see `check_needs`.

    Examples
    --------
    >>> from alseg import PixelClassifier
    >>> from alseg.strategies import badge_sampling, entropy_sampling
    >>> missing_parts(entropy_sampling, PixelClassifier())
    set()
    >>> missing_parts(badge_sampling, PixelClassifier())
    {'gradients'}
    """
    needed = needs_of(strategy, estimator) or frozenset()
    unknown = needed - PARTS.keys()
    if unknown:
        raise ValueError(message("needs", f"of {list(PARTS)}", sorted(unknown)))
    given = needed if images else needed - {"embeddings"}
    return {part for part in given if not has_part(_searched(estimator), part)}


def _searched(estimator):
    """What a search tries, which predicts once it is fitted; else the estimator itself."""
    params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    return estimator.estimator if {"estimator", "refit", "scoring"} <= params.keys() else estimator
