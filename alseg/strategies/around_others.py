"""What all that goes around a score or a strategy shares: options, checks, seeds, names."""

import functools

from alseg.calling import accepts, call, check_query_idx, name_of
from alseg.labels import as_labels
from alseg.query import top_n
from alseg.rows import n_rows
from alseg.strategies._shared import check_shape
from alseg.validation import check_rng, message, seed_of


def n_labelled(learner):
    """How many images the learner has labels (in mask mode: masks) for.

    A round is not known to a strategy; this number is, also after a restart.

    Parameters
    ----------
    learner : object

    Returns
    -------
    int
        0 for a bare estimator.

    Examples
    --------
    >>> from alseg.testing import ToyLearner, ToySegmenter, toy_images
    >>> n_labelled(ToyLearner(ToySegmenter(), toy_images(2), ["a", "b"])), n_labelled(None)
    (2, 0)
    """
    if getattr(learner, "images", None) is not None and hasattr(learner, "annotated_ids"):
        return len(learner.annotated_ids)
    for one in (learner, *getattr(learner, "learner_list", [])[:1]):
        X = getattr(one, "X_training", None)
        if X is not None:
            return n_rows(X)
    return 0


def ramp(n_labelled, start, stop, first, last):
    """A number that goes from `start` to `stop` while labels go from `first` to `last`.

    Bind all but the first argument with `functools.partial` for the options below that may follow
    a schedule. With a fixed number of questions a round it is a schedule over rounds.

    Parameters
    ----------
    n_labelled : int
    start, stop : float
        Values up to `first` labels, and from `last` labels on; linear between.
    first, last : int

    Returns
    -------
    float

    Examples
    --------
    >>> beta = functools.partial(ramp, start=1, stop=5, first=10, last=50)
    >>> beta(0), beta(20), beta(80)
    (1.0, 2.0, 5.0)
    """
    if last <= first:
        raise ValueError(message("last", f"above first ({first})", last))
    share = min(max((n_labelled - first) / (last - first), 0.0), 1.0)
    return float(start + share * (stop - start))


def now(value, learner):
    """An option that may be a schedule: ``value(n_labelled)`` if it can be called.

    Examples
    --------
    >>> now(2.0, None), now(lambda n_labelled: 1.0 + n_labelled, None)
    (2.0, 1.0)
    """
    return value(n_labelled(learner)) if callable(value) else value


def check_callable(name, value):
    """A score or a strategy given as an argument, if it can be called."""
    if not callable(value):
        raise TypeError(message(name, "a score or a strategy (callable)", value))
    return value


def scores_of(score, learner, X_pool, random_state=None, y_pool=None):
    """What a score gives, checked: (n_pool,) floats.

    Examples
    --------
    >>> scores_of(lambda learner, X_pool: [1, 2], None, ["a.png", "b.png"])
    array([1., 2.])
    """
    check_callable("score", score)
    if accepts(score, "n_instances"):
        remedy = "Take the score beside it, such as entropy_score for entropy_sampling."
        raise TypeError(message("score", "a score, not a strategy", name_of(score), remedy))
    found = call(score, learner, X_pool, random_state=random_state, y_pool=y_pool)
    return check_shape(found, n_rows(X_pool))


def pick(chooser, learner, X_pool, n_instances, random_state=None, y_pool=None):
    """Positions from a strategy, or the largest of a score; checked.

    Examples
    --------
    >>> pick(lambda learner, X_pool: [0.2, 0.9], None, ["a.png", "b.png"], 1)
    array([1])
    """
    check_callable("strategy", chooser)
    if not accepts(chooser, "n_instances"):
        rng = check_rng(random_state)
        scores = scores_of(chooser, learner, X_pool, seed_of(random_state, rng), y_pool)
        return top_n(scores, n_instances, rng)
    result = call(
        chooser, learner, X_pool, n_instances=n_instances, random_state=random_state, y_pool=y_pool
    )
    whose = f"the result of {name_of(chooser)}"
    return check_query_idx(result, n_rows(X_pool), n_instances, whose)


def part_of(y_pool, idx):
    """The labels of a part of the pool, None where there are none."""
    return None if y_pool is None else as_labels(y_pool)[idx]


def named(name, function, **options):
    """A strategy with its options bound, and a name to show."""
    strategy = functools.partial(function, **options)
    strategy.__name__ = name
    return strategy
