"""VAAL: what a discriminator tells from the labelled in a space that is made to hide it."""

import functools

from alseg.query import LatentGame
from alseg.strategies._shared import ask_images
from alseg.strategies.embedding import embeddings_of


def vaal_score(
    learner,
    X_pool,
    random_state=None,
    *,
    n_steps=400,
    n_latent=16,
    beta=1.0,
    weight=1.0,
    embedding=None,
):
    """Probability of looking unlabelled to the discriminator of a variational autoencoder (VAAL).

    As published [1]_ the autoencoder sees images; here it sees their embeddings, and is small: see
    `alseg.query.LatentGame`. It is trained anew for each question.

    Parameters
    ----------
    learner, X_pool, embedding
        As in `core_set_sampling`; something must be labelled.
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the weights, the draws and the noise.
    n_steps : int, default=400
        Of training.
    n_latent : int, default=16
        Size of the codes.
    beta, weight : float, default=1.0
        See `alseg.query.LatentGame`.

    Returns
    -------
    score : ndarray of shape (n_pool,), float
        In (0, 1).

    Raises
    ------
    TypeError, ValueError
        If nothing is labelled, an option is not valid, or the embeddings are not finite numbers.

    References
    ----------
    .. [1] Sinha et al. 2019, arXiv:1904.00370, equations 1 to 4.

    Examples
    --------
    >>> from alseg.testing import ToyLearner, ToySegmenter, toy_images
    >>> learner = ToyLearner(ToySegmenter(), toy_images(2, random_state=1), ["class 0", "class 1"])
    >>> vaal_score(learner, toy_images(3), 0, n_steps=5).shape
    (3,)
    """
    pool, labelled = embeddings_of(learner, X_pool, embedding)
    options = {"n_steps": n_steps, "n_latent": n_latent, "beta": beta, "weight": weight}
    known = pool[:0] if labelled is None else labelled
    return LatentGame(random_state=random_state, **options).fit(pool, known).predict(pool)


def vaal_sampling(
    learner,
    X_pool,
    n_instances=1,
    random_state=None,
    *,
    n_steps=400,
    n_latent=16,
    beta=1.0,
    weight=1.0,
    embedding=None,
):
    """Ask about the images of the largest `vaal_score`.

    Parameters
    ----------
    learner, X_pool, n_steps, n_latent, beta, weight, embedding
        As in `vaal_score`.
    n_instances : int, default=1
    random_state : None, int, numpy Generator or RandomState, default=None
        Of the training, and between equal scores.

    Returns
    -------
    query_idx : ndarray of shape (n_instances,), int

    Raises
    ------
    EmptyPool
        If the pool is empty.
    TypeError, ValueError
        If `n_instances` is no integer in [1, n_pool], or as `vaal_score`.

    Examples
    --------
    >>> from alseg.testing import ToyLearner, ToySegmenter, toy_images
    >>> learner = ToyLearner(ToySegmenter(), toy_images(2, random_state=1), ["class 0", "class 1"])
    >>> vaal_sampling(learner, toy_images(5), 2, 0, n_steps=5).shape
    (2,)
    """
    score = functools.partial(
        vaal_score,
        n_steps=n_steps,
        n_latent=n_latent,
        beta=beta,
        weight=weight,
        embedding=embedding,
    )
    return ask_images(score, learner, X_pool, n_instances, random_state)
