"""No near-duplicates in one round: what is too like an image asked about already is skipped."""

import copy
import functools

import numpy as np

from alseg.calling import accepts, call, name_of, unit_of
from alseg.query import Regions
from alseg.query.diversity import ALIKE, first_distinct
from alseg.rows import n_rows
from alseg.strategies._shared import check_pool
from alseg.strategies.around_others import check_callable, named, pick, scores_of
from alseg.strategies.informativeness import entropy_sampling
from alseg.strategies.underlying import inside
from alseg.validation import check_number


def without_near_duplicates_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    strategy=entropy_sampling,
    alike=ALIKE,
    known=None,
    unit="image",
    y_pool=None,
    masks_pool=None,
    groups_pool=None,
):
    """Ask a strategy, and skip images that show the same as one before, whatever the exposure.

    Small grey copies are compared, of the images that come into question alone; see
    `alseg.query.diversity.likeness`. Of a slide scanned five times one tile is asked about, not
    five.

    Parameters
    ----------
    learner : what `strategy` needs
    X_pool : images of shape (n_pool, H, W, C), or any sequence of images or paths
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Handed on to a strategy that names it.
    strategy : callable, default=entropy_sampling
        A strategy or a score. Where it gives near-duplicates it is asked for more.
    alike : float, default=0.92
        The likeness from which on two images are near-duplicates; above 1 none are.
    known : images, or None, default=None
        Others that are not repeated, such as those annotated already.
    unit : str, default="image"
        What the strategy asks about; parts of images are handed on as they are.
    y_pool, masks_pool, groups_pool : sequence of n_pool, or None
        Handed on to a strategy that names them.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        What the strategy gives where no two are alike. Near-duplicates stand at the end, and only
        where there is nothing else.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If an option is not valid, an image cannot be read, or as `strategy`.

    Examples
    --------
    >>> from alseg.testing import ToySegmenter, toy_images
    >>> X_pool = np.concatenate([toy_images(4), toy_images(4) // 2])
    >>> picked = without_near_duplicates_sampling(ToySegmenter(), X_pool, 4)
    >>> len(set((picked % 4).tolist()))
    4
    """
    check_number("alike", alike)
    n_pool = n_rows(X_pool)
    if unit == "image":
        n_instances = check_pool(X_pool, n_instances)
    offered = {"y_pool": y_pool, "masks_pool": masks_pool, "groups_pool": groups_pool}
    found = inside(strategy) if unit == "image" else None
    if found is not None:  # scores are computed once, however often it is asked
        score, with_scores = found
        if accepts(score, "masks_pool"):
            score = functools.partial(score, masks_pool=masks_pool)
        seed = copy.deepcopy(random_state)
        strategy = with_scores(scores_of(score, learner, X_pool, seed, y_pool))

    def ask(n):
        again = random_state if n == n_instances else copy.deepcopy(random_state)
        if not accepts(strategy, "n_instances"):
            return pick(strategy, learner, X_pool, n, again, y_pool)
        given = {"n_instances": n, "random_state": again, "unit": unit, **offered}
        return call(strategy, learner, X_pool, **given)

    result = ask(n_instances)
    first = result[0] if isinstance(result, tuple) and len(result) else result
    if isinstance(first, Regions):
        return result
    order, n_asked, most = np.atleast_1d(np.asarray(first)), n_instances, 100 + 10 * n_instances
    while True:
        kept, left_out = first_distinct(order, X_pool, n_instances, known, alike)
        if len(kept) == n_instances or n_asked >= min(n_pool, most):
            return np.array((kept + left_out)[:n_instances], dtype=np.intp)
        n_asked = min(n_pool, 2 * n_asked)
        more = ask(n_asked)
        more = np.atleast_1d(np.asarray(more[0] if isinstance(more, tuple) else more))
        order = np.concatenate([order, more[~np.isin(more, order)]])


def without_near_duplicates(strategy=entropy_sampling, alike=ALIKE, known=None):
    """A strategy that asks about no near-duplicates; see `without_near_duplicates_sampling`.

    Parameters
    ----------
    strategy : callable, default=entropy_sampling
        A strategy or a score. In bounded time: ``within_seconds(without_near_duplicates(...))``.
    alike : float, default=0.92
    known : images, or None, default=None

    Returns
    -------
    strategy : functools.partial

    Examples
    --------
    >>> without_near_duplicates(entropy_sampling).__name__
    'without_near_duplicates(entropy_sampling)'
    """
    check_callable("strategy", strategy)
    check_number("alike", alike)
    options = {"strategy": strategy, "alike": alike, "unit": unit_of(strategy)}
    if known is not None:
        options["known"] = known
    name = f"without_near_duplicates({name_of(strategy)})"
    return named(name, without_near_duplicates_sampling, **options)
