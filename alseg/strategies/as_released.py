"""Two scores as the code released with Belharbi et al. 2021 (arXiv:2010.04889) has them.

To compare with: ``entropy_form="released"`` and ``mc_variance_axis="all"`` of the strategies. Both
look at whole images, and are functions of the maps and masks as `alseg.query.aggregation` takes
them.
"""

from alseg.query import floating, namespace
from alseg.validation import check_option, message


def released_form(name, value, intended, released, aggregate, target, return_maps):
    """Whether a flag asks for the released form, of which there is one alone.

    Parameters
    ----------
    name, value : str
        Of the flag.
    intended, released : str
        Its two values.
    aggregate, target, return_maps
        Of the score that has it.

    Raises
    ------
    ValueError
        If the value is neither, or the score is not that of a whole image's mask.
    """
    if check_option(name, value, (intended, released)) == intended:
        return False
    if aggregate != "mean" or target == "label" or return_maps:
        rule = f"{intended!r} but for whole images, target='mask' and aggregate='mean'"
        raise ValueError(message(name, rule, value))
    return True


def released_entropy(maps, mask_proba):
    """The "entropy" of the code that Belharbi et al. 2021 released: ``mean(-2 p ln p)``.

    It takes (p, p) for (1 - p, p), so that it is largest at p = 1 / e and not at 1 / 2.

    Parameters
    ----------
    maps : ndarray or tensor of shape (n, H, W)
        Not used: `aggregate` gives the maps of scores first.
    mask_proba : ndarray or tensor of shape (n, 2, H, W), float

    Returns
    -------
    score : of shape (n,), of the kind of `mask_proba`

    Examples
    --------
    >>> import numpy as np
    >>> mask_proba = np.array([[[[0.5, 1.0]], [[0.5, 0.0]]]])
    >>> released_entropy(None, mask_proba).round(3)  # (ln 2 + 0) / 2
    array([0.347])
    """
    p = floating(mask_proba)[:, 1]
    xp = namespace(p)
    terms = -2 * p * xp.log(xp.where(p > 0, p, xp.ones_like(p)))  # 0 ln 0 = 0
    return terms.reshape(len(p), -1).mean(1)


def released_variance(maps, mask_proba, n_draws):
    """The "variance" of the code that Belharbi et al. 2021 released: of all draws and pixels.

    It is close to the contrast of the mean mask.

    Parameters
    ----------
    maps : ndarray or tensor of shape (n, H, W), float
        Unbiased variance of each pixel over the draws, as ``"mc_variance"`` gives it.
    mask_proba : ndarray or tensor of shape (n, 2, H, W), float
        Mean over the draws.
    n_draws : int
        How many draws there were.

    Returns
    -------
    score : of shape (n,), of the kind of `maps`

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.array([[0.1, 0.9], [0.3, 0.7]])  # two draws of two pixels
    >>> maps, mean = draws.var(0, ddof=1)[None, None], draws.mean(0)[None, None]
    >>> score = released_variance(maps, np.stack([1 - mean, mean], 1), n_draws=2)
    >>> bool(np.isclose(score[0], draws.var(ddof=1)))
    True
    """
    variance, mean = floating(maps), floating(mask_proba)[:, 1]
    variance, mean = variance.reshape(len(variance), -1), mean.reshape(len(mean), -1)
    within = (n_draws - 1) * variance.sum(1)
    between = n_draws * ((mean - mean.mean(1)[:, None]) ** 2).sum(1)
    return (within + between) / (n_draws * mean.shape[1] - 1)
