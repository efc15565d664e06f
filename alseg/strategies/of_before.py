"""Strategies as files of before tell them: parts of images were asked for by arguments of six."""

import functools

from alseg.calling import name_of
from alseg.strategies.at_random import random_sampling
from alseg.strategies.image_parts import by_region
from alseg.strategies.informativeness import (
    entropy_sampling,
    entropy_score,
    least_confidence_sampling,
    least_confidence_score,
    margin_sampling,
    margin_score,
)
from alseg.strategies.stochastic import (
    bald_sampling,
    bald_score,
    mc_variance_sampling,
    mc_variance_score,
)

_SCORES = {
    random_sampling: None,
    least_confidence_sampling: least_confidence_score,
    margin_sampling: margin_score,
    entropy_sampling: entropy_score,
    mc_variance_sampling: mc_variance_score,
    bald_sampling: bald_score,
}
_BY_NAME = {name_of(strategy): score for strategy, score in _SCORES.items()}
_OF_PARTS = ("unit", "size", "per_image")


def current_strategy(strategy):
    """What asks today as a strategy did that a file of before names.

    Parameters
    ----------
    strategy : callable
        Such as ``functools.partial(entropy_sampling, unit="patch", size=16)``.

    Returns
    -------
    strategy : callable
        `by_region` of its score for parts of images; any other as it is.

    Examples
    --------
    >>> current_strategy(functools.partial(entropy_sampling, unit="patch", size=16)).__name__
    'by_region(entropy_score, patch)'
    >>> current_strategy(functools.partial(margin_sampling, target="label")).keywords
    {'target': 'label'}
    """
    if not isinstance(strategy, functools.partial):
        return strategy
    options = {
        name: current_strategy(value) if callable(value) else value
        for name, value in strategy.keywords.items()
    }
    if strategy.func in _SCORES and any(name in options for name in _OF_PARTS):
        parts = {name: options.pop(name) for name in _OF_PARTS if name in options}
        unit = parts.pop("unit", "image")
        if unit != "image":
            score = _SCORES[strategy.func]
            return by_region(
                functools.partial(score, **options) if options else score, unit, **parts
            )
    now = functools.partial(strategy.func, *strategy.args, **options)
    if hasattr(strategy, "__name__"):
        now.__name__ = strategy.__name__
    return now


def current_description(told):
    """What the plan of a comparison tells of a strategy today, of what it told before.

    Parameters
    ----------
    told : object
        Name and arguments of a strategy, strategies among its arguments told in the same way.

    Returns
    -------
    object

    Examples
    --------
    >>> current_description({"name": "random_sampling", "unit": "pixel", "per_image": 3})
    {'name': 'by_region(random, pixel)', 'score': None, 'unit': 'pixel', 'per_image': 3}
    """
    if not isinstance(told, dict):
        return told
    before, told = told, {name: current_description(value) for name, value in told.items()}
    for name, inner in before.items():  # a wrapper is called by what is in it
        if isinstance(inner, dict) and inner.get("name") in _BY_NAME:
            told["name"] = told["name"].replace(inner["name"], told[name]["name"])
    if told.get("name") not in _BY_NAME:
        return told
    parts = {name: told.pop(name) for name in _OF_PARTS if name in told}
    unit = parts.pop("unit", "image")
    if unit == "image":
        return told
    score, shown = _BY_NAME[told.pop("name")], "random"
    if score is not None:
        shown = name_of(score)
        score = {"name": shown, **told}
    return {"name": f"by_region({shown}, {unit})", "score": score, "unit": unit, **parts}
