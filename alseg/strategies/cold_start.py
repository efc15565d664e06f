"""The first masks: images to ask about when no mask is known yet.

Embeddings are those of an estimator fitted to image labels alone (``"encoder"``, ``"cam"``), of a
pretrained encoder before any fit (`pretrained_embedding`), or of any network of your own.
`alseg.strategies.typiclust_sampling` and `k_means_sampling` work without labelled images too;
``class_balanced(alps_sampling)`` and the like share the questions among the image classes, which
are known from the start.
"""

from alseg.images import as_images
from alseg.query import diversity
from alseg.strategies._shared import check_pool
from alseg.strategies.embedding import embeddings_of
from alseg.strategies.representative import k_means_sampling
from alseg.validation import check_number


def pretrained_embedding(
    encoder="efficientnet-lite0", weights="bundled", image_size=128, batch_size=16, device="auto"
):
    """Embeddings of an encoder as it is, without a fit: for first questions at once.

    Parameters
    ----------
    encoder, weights
        As of `alseg.network.build_encoder`; built when the first images are embedded.
    image_size : int, default=128
        Height and width that images are brought to.
    batch_size : int, default=16
    device : str, default="auto"

    Returns
    -------
    embed : callable ``f(X) -> (n, d)``, float32
        The mean of the encoder's deepest map over all positions. An ``embedding=`` for the
        strategies that take one.

    Raises
    ------
    TypeError, ValueError
        If an option is not valid; the encoder's when it is built.

    Examples
    --------
    >>> import functools
    >>> from alseg.strategies import within_seconds
    >>> from alseg.testing import toy_images
    >>> embedding = pretrained_embedding("tiny", image_size=32)
    >>> first = within_seconds(functools.partial(alps_sampling, embedding=embedding), 3)
    >>> first(None, toy_images(6), 2, random_state=0).shape
    (2,)
    """
    check_number("image_size", image_size, 8, integer=True)
    check_number("batch_size", batch_size, 1, integer=True)
    built = {}  # by the number of channels

    def embed(X):
        import torch  # strategies that need no network do not wait for it

        from alseg.network import (
            build_encoder,
            forked_torch_rng,
            normalization_numbers,
            normalization_of,
            of_channels,
        )
        from alseg.segmenter import pool_batches
        from alseg.training import resolve_device

        where, images = resolve_device(device), as_images(X)
        n_channels = images[0].shape[2]
        if n_channels not in built:
            numbers = normalization_numbers(normalization_of(encoder, weights))
            mean, std = (of_channels(v, n_channels).to(where) for v in numbers)
            with forked_torch_rng(0):  # it draws weights before it reads those of the file
                network = build_encoder(encoder, weights, n_channels)
                built[n_channels] = network.eval().to(where), mean, std
        network, mean, std = built[n_channels]
        side = -(-image_size // network.strides[-1]) * network.strides[-1]
        pool = pool_batches(images, (side, side), batch_size, where, torch.contiguous_format)
        with torch.inference_mode():
            maps = [network((x - mean) / std)[-1].float().mean((2, 3)).cpu() for _, x in pool]
        return torch.cat(maps).numpy()

    return embed


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
