"""What every comparison needs beside the clever ones: asking at random."""

from alseg.query import UNITS, top_n
from alseg.rows import n_rows
from alseg.strategies._shared import check_pool
from alseg.strategies.best_parts import ask_parts
from alseg.validation import check_option, check_rng


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
    *,
    unit="image",
    size=32,
    per_image=None,
    masks_pool=None,
):
    """Ask about images at random: the baseline.

    Parameters
    ----------
    learner : object
        Not looked at.
    X_pool : images of shape (n_pool, ...), or any sequence
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
    unit : {"image", "patch", "superpixel", "pixel"}, default="image"
        What is asked about. `n_instances` counts it; for parts see `region_sampling`.
    size : int, default=32
        Side of a patch; a superpixel has about ``size ** 2`` pixels.
    per_image : int or None, default=None
        Most parts of one image.
    masks_pool : sequence of n_pool masks and None, or None, default=None
        What is annotated already, where no part is asked for; `ActiveLearner` passes it.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int
        For parts of images `alseg.query.Regions`, each part as likely as any other.

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
    check_option("unit", unit, UNITS)
    if unit != "image":
        options = {"unit": unit, "size": size, "per_image": per_image, "masks_pool": masks_pool}
        return ask_parts(None, learner, X_pool, n_instances, random_state, **options)
    n_instances = check_pool(X_pool, n_instances)
    rng = check_rng(random_state)
    return top_n(random_score(learner, X_pool, rng), n_instances, rng)
