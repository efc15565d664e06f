"""What every comparison needs beside the clever ones: asking at random."""

from alseg.query import top_n
from alseg.rows import n_rows
from alseg.strategies._shared import check_pool
from alseg.validation import check_rng


def random_score(learner, X_pool, random_state=None):
    """A uniform random number for each image; no prediction is made.

    Parameters
    ----------
    learner : object
        Not looked at.
    X_pool : images of shape (n_pool, ...), or any sequence
        Only its length counts.
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        In [0, 1).

    Examples
    --------
    >>> random_score(None, ["a.png", "b.png"], random_state=0).shape
    (2,)
    """
    return check_rng(random_state).random(n_rows(X_pool))


def random_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
):
    """Ask about images at random: the baseline (of parts of images, ``by_region(None)``).

    Parameters
    ----------
    learner : object
        Not looked at.
    X_pool : images of shape (n_pool, ...), or any sequence
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        Positions in the pool.

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool].

    Examples
    --------
    >>> sorted(random_sampling(None, ["a.png", "b.png"], n_instances=2).tolist())
    [0, 1]
    """
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    return top_n(random_score(learner, X_pool, rng), n_instances, rng)
