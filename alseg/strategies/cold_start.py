"""The first masks: images to ask about when no mask is known yet.

Embeddings are those of an estimator fitted to image labels alone (``"encoder"``, ``"cam"``), or of
any network of your own. `alseg.strategies.typiclust_sampling` and `k_means_sampling` work without
labelled images too; ``class_balanced(alps_sampling)`` and the like share the questions among the
image classes, which are known from the start.
"""

from alseg import diversity
from alseg.strategies.calls import check_pool
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.representative import k_means_sampling


def alps_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, embedding=None, metric="euclidean"
):
    """ALPS: the image nearest to the centre of each of `n_instances` k-means clusters [1]_.

    Best of seven for a first choice in segmentation, in that benchmark.

    Parameters
    ----------
    learner, X_pool, n_instances, random_state, embedding, metric
        As in `k_means_sampling`, of which it is the name at a cold start.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    References
    ----------
    .. [1] MedCAL-Bench 2025, arXiv:2508.03441.

    Examples
    --------
    >>> import numpy as np
    >>> alps_sampling(None, np.array([[0.0], [1.0], [2.0], [9.0]]), 2, 0, embedding="input")
    array([1, 3])
    """
    return k_means_sampling(
        learner, X_pool, n_instances, random_state, embedding=embedding, metric=metric
    )


def fps_sampling(
    learner, X_pool, n_instances=1, random_state=None, *, embedding=None, metric="euclidean"
):
    """FPS: the two images farthest apart in each of ``n_instances / 2`` k-means clusters [1]_.

    Parameters
    ----------
    learner, X_pool, n_instances, embedding, metric
        As in `alseg.strategies.core_set_sampling`; labelled images are not looked at.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of k-means.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    References
    ----------
    .. [1] MedCAL-Bench 2025, arXiv:2508.03441.

    Examples
    --------
    >>> import numpy as np
    >>> X_pool = np.array([[0.0], [1.0], [2.0], [90.0], [91.0], [93.0]])
    >>> sorted(fps_sampling(None, X_pool, 4, 0, embedding="input").tolist())
    [0, 2, 3, 5]
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, _ = embeddings_of(learner, X_pool, embedding)
    return diversity.farthest_of_groups(pool, n_instances, metric, random_state)


def rep_div_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    share=0.7,
    embedding=None,
    metric="cosine",
):
    """RepDiv: a share of images that represent the pool, the others far from all picked [1]_.

    Best of seven for a first choice in classification, in that benchmark.

    Parameters
    ----------
    learner, X_pool, n_instances, random_state, embedding
        As in `alseg.strategies.core_set_sampling`.
    share : float in [0, 1], default=0.7
        Of the images that represent (facility location).
    metric : {"cosine", "euclidean"}, default="cosine"

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    References
    ----------
    .. [1] MedCAL-Bench 2025, arXiv:2508.03441.

    Examples
    --------
    >>> import numpy as np
    >>> X_pool = np.array([[0.0], [1.0], [2.0], [9.0], [20.0]])
    >>> rep_div_sampling(None, X_pool, 2, share=0.5, embedding="input", metric="euclidean")
    array([2, 4])
    """
    n_instances = check_pool(X_pool, n_instances)
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    return diversity.represent_then_spread(pool, n_instances, labelled, share, metric)
