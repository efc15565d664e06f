"""A question in bounded time: look at images in random order while there is time, ask among those.

A pool that fits into the time is asked about as a whole, by the very call that would be made
without a limit, so that the answer is the same bit for bit. How much fits is estimated from what
the first images took.
"""

import copy
import time
from typing import Any

import numpy as np

from alseg.calling import accepts, accepts_any, call, name_of, unit_of
from alseg.query import Regions
from alseg.rows import n_rows
from alseg.rows import retrieve_rows as rows
from alseg.strategies._shared import check_pool, check_shape
from alseg.strategies.around_others import check_callable, named, pick
from alseg.strategies.informativeness import entropy_sampling
from alseg.strategies.near_duplicates import without_near_duplicates_sampling
from alseg.strategies.spread import spread_over_groups_sampling, spread_over_images_sampling
from alseg.strategies.underlying import AROUND, inside
from alseg.validation import EmptyPool, check_number, check_rng, message, seed_of

# The wrappers through which a score is seen, and the argument that it stands in.
_AROUND: dict[Any, str] = {
    **AROUND,
    without_near_duplicates_sampling: "strategy",
    spread_over_groups_sampling: "score",
    spread_over_images_sampling: "score",
}
_OF_POOL = ("y_pool", "masks_pool", "groups_pool")

_FIRST = 4  # images of the first chunk: of 3000 x 2000 pixels they take a second
_GROWTH = 8  # how much larger than the last a part of the pool may be, from what the last took


def as_strategy(strategy):
    """A strategy that names `n_instances`, of one that asks about an image without saying so.

    Parameters
    ----------
    strategy : callable ``f(learner, X_pool, ...) -> position``

    Returns
    -------
    strategy : callable

    Examples
    --------
    >>> as_strategy(entropy_sampling) is entropy_sampling
    True
    >>> as_strategy(lambda learner, X_pool: 0)(None, ["a.png"])
    0
    """
    if accepts(strategy, "n_instances"):
        return strategy
    by_keyword = accepts_any(strategy)  # `**kwargs`: given as `ActiveLearner.query` gives it

    def ask(
        learner,
        X_pool,
        n_instances=1,
        random_state=None,
        y_pool=None,
        masks_pool=None,
        groups_pool=None,
    ):
        given = {"random_state": random_state, "y_pool": y_pool, "masks_pool": masks_pool}
        given["groups_pool"] = groups_pool
        given = {name: value for name, value in given.items() if accepts(strategy, name)}
        if by_keyword:
            given["n_instances"] = n_instances
        return strategy(learner, X_pool, **given)

    ask.__name__ = name_of(strategy)
    return ask


def look(
    score,
    learner,
    X_pool,
    order=None,
    max_seconds=None,
    known=None,
    progress=None,
    *,
    at_least=1,
    random_state=None,
    y_pool=None,
    masks_pool=None,
    clock=None,
):
    """Score images in a given order until the time is up.

    Parameters
    ----------
    score : callable
        A score ``f(learner, X_pool) -> (n_pool,)`` that sees each image alone, see
        `alseg.strategies.underlying.by_image`. It
        is asked about a few images first, then about more and more at a time.
    learner : what `score` needs
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    order : sequence of shape (n_pool,), int, or None, default=None
        Positions in the pool, each once: which are looked at first. None is at random.
    max_seconds : float or None, default=None
        For all of it. None is no limit, and one call of `score`, as where all is expected to fit.
    known : array-like of shape (n_pool,), float, or None, default=None
        Scores that the same model has given before, NaN where it has not: not looked at again.
    progress : callable ``f(n_seen, n_pool)``, or None, default=None
        Called after each chunk.
    at_least : int, default=1
        Images looked at (known ones among them) whatever the time.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the order, and of a score that names it; a score gets the same number at each chunk, so
        that an image's draws do not depend on where it stands.
    y_pool, masks_pool : sequence of n_pool, or None
        Cut and handed on to a score that names them.
    clock : callable ``f() -> seconds``, or None, default=None
        None is `time.monotonic`.

    Returns
    -------
    scores : ndarray of shape (n_pool,), float
        NaN where there was no time. `known` is left as it was.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, or a score is not finite.

    Examples
    --------
    >>> seconds = iter(range(100))  # this clock goes on by a second each time it is asked
    >>> def score(learner, X_pool):
    ...     return [len(path) for path in X_pool]
    >>> paths = ["a", "bb", "ccc", "dddd", "e", "ff", "ggg", "hhhh"]
    >>> look(score, None, paths, range(8), max_seconds=2, clock=lambda: next(seconds))
    array([ 1.,  2.,  3.,  4., nan, nan, nan, nan])
    """
    n_pool = n_rows(X_pool)
    at_least = min(check_number("at_least", at_least, 0, integer=True), n_pool)
    _check_seconds("max_seconds", max_seconds)
    rng = check_rng(random_state)
    seed = seed_of(random_state, rng)
    order = rng.permutation(n_pool) if order is None else _check_order(order, n_pool)
    scores = _check_known(known, n_pool)
    offered = {"random_state": seed, "y_pool": y_pool, "masks_pool": masks_pool}
    watch = time.monotonic if clock is None else clock

    def see(positions):
        scores[positions] = _scored(score, learner, X_pool, positions, offered)
        if progress is not None:
            progress(int(np.isfinite(scores).sum()), n_pool)

    if _seen_in_time(see, scores, order, max_seconds, at_least, watch):
        see(np.arange(n_pool))
    return scores


def _seen_in_time(see, scores, order, seconds, at_least, clock):
    """Call `see`, which fills `scores`, with the positions of chunks until the time is up.

    Returns
    -------
    bool
        Whether one call for the whole pool is better, which is left to the caller: it has the time,
        and what is scored in chunks may differ from it in the last bits.
    """
    n_pool = len(order)
    left = order[np.isnan(scores[order])]
    fresh = len(left) == n_pool
    if seconds is None or n_pool <= _FIRST:
        if len(left) and not fresh:
            see(np.sort(left))
        return fresh
    if not len(left):
        return False
    start, size = clock(), _FIRST
    while len(left) and size > 0:
        before = clock()
        chunk, left = left[:size], left[size:]
        see(np.sort(chunk))
        now = clock()
        each, rest = (now - before) / len(chunk), seconds - (now - start)
        if fresh and len(left) and each * n_pool <= rest:
            return True
        size = 2 * len(chunk) if each <= 0 else int(min(2 * len(chunk), rest / each))
        size = max(size, min(at_least - n_pool + len(left), len(chunk)))
    return False


def _scored(score, learner, X_pool, positions, offered):
    values = call(score, learner, _rows(X_pool, positions), **_cut(offered, positions))
    values = check_shape(values, len(positions))
    bad = ~np.isfinite(values)
    if bad.any():
        where = f"at position {positions[int(bad.argmax())]}"
        raise ValueError(f"scores must be finite, got {values[bad][0]} {where}.")
    return values


def _rows(X_pool, positions):
    whole = len(positions) == n_rows(X_pool)  # sorted: the pool itself, which need not be copied
    return X_pool if whole else rows(X_pool, positions)


def _cut(offered, positions):
    cut = {}
    for name, value in offered.items():
        if name in _OF_POOL and value is not None:
            value = _rows(value, positions)
        cut[name] = value
    return cut


def _check_seconds(name, seconds):
    if seconds is not None:
        check_number(name, seconds, 0)


def _check_order(order, n_pool):
    order = np.asarray(order)
    if order.shape != (n_pool,) or not np.array_equal(np.sort(order), np.arange(n_pool)):
        raise ValueError(message("order", f"the positions 0 to {n_pool - 1}, each once", order))
    return order.astype(np.intp)


def _check_known(known, n_pool):
    if known is None:
        return np.full(n_pool, np.nan)
    scores = np.array(known, dtype=float)
    if scores.shape != (n_pool,):
        raise ValueError(message("known", f"of shape ({n_pool},), one an image", scores.shape))
    if np.isinf(scores).any():
        raise ValueError(message("known", "finite, or NaN where not known", "an infinite score"))
    return scores


def within_seconds_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    strategy=entropy_sampling,
    seconds=None,
    unit="image",
    known=None,
    report=None,
    clock=None,
    y_pool=None,
    masks_pool=None,
    groups_pool=None,
):
    """Ask a strategy about as many images of the pool, drawn at random, as there is time for.

    Parameters
    ----------
    learner : what `strategy` needs
    X_pool : images of shape (n_pool, ...), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the order in which images are looked at, and handed on to a strategy that names it.
    strategy : callable, default=entropy_sampling
        A strategy or a score. Images of a score, of a strategy that takes the largest of one
        (`alseg.strategies.score_beside`), and of `class_balanced`, `stochastic`,
        `stochastic_batches`, `spread_over_groups`, `spread_over_images` and
        `without_near_duplicates` around one are looked at a few at a time until the time is up. Any
        other strategy is asked about random parts of the pool, each larger than the last, and the
        last part's answer counts.
    seconds : float or None, default=None
        None is no limit.
    unit : str, default="image"
        What the strategy asks about, and `n_instances` counts; handed on where it names it.
    known : ndarray of shape (n_pool,), float, or None, default=None
        Scores that the same model has given before, NaN elsewhere; what is looked at is added in
        place. Of a strategy without a score for each image it is not used.
    report : callable ``f(n_seen, n_pool)``, or None, default=None
        Told at the end how many images were looked at.
    clock : callable ``f() -> seconds``, or None, default=None
        None is `time.monotonic`.
    y_pool, masks_pool, groups_pool : sequence of n_pool, or None
        Cut and handed on to a strategy that names them.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the whole pool; `alseg.query.Regions` of a strategy that gives these. Without
        a limit, and where the pool fits, what the strategy gives of the whole, bit for bit.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, or as `strategy`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> within_seconds_sampling(ToySegmenter(), toy_images(9), 2, random_state=0, seconds=60).shape
    (2,)
    """
    n_pool = n_rows(X_pool)
    if unit == "image":
        n_instances = check_pool(X_pool, n_instances)
    else:
        check_number("n_instances", n_instances, 1, integer=True)
        if n_pool == 0:
            raise EmptyPool("The pool is empty: nothing is left to ask about.")
    _check_seconds("seconds", seconds)
    clock = time.monotonic if clock is None else clock
    # Copies draw what is random here: the strategy gets a generator as it would without a limit.
    rng = check_rng(copy.deepcopy(random_state))
    seed = seed_of(random_state, rng)
    order = rng.permutation(n_pool)
    offered = {"y_pool": y_pool, "masks_pool": masks_pool, "groups_pool": groups_pool}

    def ask(positions=None, asked=strategy):
        if positions is None:  # the whole: as if there were no limit
            return _asked(asked, learner, X_pool, n_instances, unit, random_state, offered)
        X, cut = _rows(X_pool, positions), _cut(offered, positions)
        again = copy.deepcopy(random_state)
        return _within(_asked(asked, learner, X, n_instances, unit, again, cut), positions)

    found = inside(strategy, _AROUND) if unit == "image" else None
    if found is None:
        # Fewer parts than asked for are left in a part of the pool: a ValueError that says so.
        too_few = EmptyPool if unit == "image" else ValueError
        first = max(n_instances, _FIRST)
        found, n_seen = _asked_in_time(ask, order, first, seconds, clock, too_few)
    else:
        score, with_scores = found
        scores = _check_known(known, n_pool)
        given = {"random_state": seed, **offered}

        def see(positions):
            scores[positions] = _scored(score, learner, X_pool, positions, given)

        whole = _seen_in_time(see, scores, order, seconds, n_instances, clock)
        if whole and known is None:
            found, n_seen = ask(), n_pool
        else:
            if whole:
                see(np.arange(n_pool))
            seen = np.flatnonzero(np.isfinite(scores))
            found, n_seen = ask(seen, with_scores(scores[seen])), len(seen)
        if known is not None:
            known[...] = scores
    if n_seen < n_pool and isinstance(random_state, (np.random.Generator, np.random.RandomState)):
        check_rng(random_state).integers(2**63 - 1)  # the next question is another one
    if report is not None:
        report(n_seen, n_pool)
    return found


def _asked(strategy, learner, X_pool, n_instances, unit, random_state, offered):
    """What a strategy gives, or the largest of a score."""
    if not accepts(strategy, "n_instances"):
        return pick(strategy, learner, X_pool, n_instances, random_state, offered["y_pool"])
    given = {"n_instances": n_instances, "random_state": random_state, "unit": unit, **offered}
    return call(strategy, learner, X_pool, **given)


def _within(found, positions):
    """What was found in a part of the pool, by its positions in the whole."""
    found = found[0] if isinstance(found, tuple) and len(found) else found
    if isinstance(found, Regions):
        return found.renumbered(positions)
    return positions[np.atleast_1d(np.asarray(found))]


def _asked_in_time(ask, order, size, seconds, clock, too_few):
    """Ask about larger and larger parts of the pool while there is time: the last answer counts."""
    n_pool = len(order)
    start, last, found = clock(), None, None
    while size < n_pool and seconds is not None:
        before = clock()
        try:
            found = ask(np.sort(order[:size]))
        except too_few:  # not enough to ask in this part, as there may be in more
            found = None
        now = clock()
        took, rest = now - before, seconds - (now - start)
        power = 1.0
        if last is not None and took > 0 < last[1]:  # of a cost that grows faster than the pool
            power = np.clip(np.log(took / last[1]) / np.log(size / last[0]), 1, 3)
        growth = np.inf if took <= 0 else max(rest / took, 0) ** (1 / power)
        if found is None:
            growth = max(growth, 2)
        if growth < 1.5 and size * growth < n_pool:
            return found, size
        last, size = (size, took), int(size * min(growth, _GROWTH))
    return ask(), n_pool


def within_seconds(strategy=entropy_sampling, seconds=10.0, known=None, report=None, clock=None):
    """A strategy that answers in bounded time, whatever the pool; see `within_seconds_sampling`.

    Parameters
    ----------
    strategy : callable, default=entropy_sampling
        A strategy or a score; put it around all others:
        ``within_seconds(class_balanced(entropy_score), 10)``.
    seconds : float or None, default=10.0
        None is no limit.
    known : ndarray of shape (n_pool,), float, or None, default=None
        Scores given before, which are added to.
    report : callable ``f(n_seen, n_pool)``, or None, default=None
    clock : callable ``f() -> seconds``, or None, default=None

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> within_seconds(entropy_sampling, 5).__name__
    'within_seconds(entropy_sampling)'
    """
    check_callable("strategy", strategy)
    _check_seconds("seconds", seconds)
    options = {"strategy": strategy, "seconds": seconds, "unit": unit_of(strategy)}
    given = {"known": known, "report": report, "clock": clock}
    options |= {name: value for name, value in given.items() if value is not None}
    return named(f"within_seconds({name_of(strategy)})", within_seconds_sampling, **options)
