"""Which fits a round makes: told by the augmenter to all who make, count or estimate them."""

from typing import NamedTuple

from alseg.interfaces import CountsPseudoMasks, TellsFits, meets

REFITS = ("scratch", "continue", "published", "once")
"""What `PseudoLabelAugmenter.refit` may be."""


class FitOfRound(NamedTuple):
    """One of the fits that a learner makes in a round.

    Attributes
    ----------
    start : {"new", "last", "this"}, default="new"
        The model that the fit starts from: an unfitted one, that of the round before (an unfitted
        one where there is none), or that of the fit before in this round.
    pseudo : {None, "last", "carried", "this"}, default=None
        Whose predictions it learns from besides the annotated masks. None: of none. "last": those
        of the model of the round before, beside the masks known now. "carried": those that this
        model makes beside the masks known then, so for the images that had one then. "this": those
        of the fit before in this round. A model that has seen no mask predicts none.
    keep_better : bool, default=False
        Whether the model of the fit before is taken if its `validation_score_` is higher.
    """

    start: str = "new"
    pseudo: str | None = None
    keep_better: bool = False

    @property
    def needs_last(self):
        """Whether it needs the model of the round before."""
        return self.start == "last" or self.pseudo in ("last", "carried")


def fits_of_round(augmenter, warm_start=False):
    """The fits that a round makes, in their order; the model of the last is the learner's.

    Parameters
    ----------
    augmenter : object or None
        One with a method ``fits_of_round(warm_start)`` says it; of another the round fits to the
        annotated masks alone, and then to those that the augmenter gives with that model.
    warm_start : bool, default=False
        Whether the first fit goes on from the model of the round before.

    Returns
    -------
    fits : list of FitOfRound

    Raises
    ------
    ValueError
        If the augmenter cannot do with `warm_start`.

    Examples
    --------
    >>> from alseg import PseudoLabelAugmenter
    >>> [(fit.start, fit.pseudo) for fit in fits_of_round(PseudoLabelAugmenter())]
    [('new', None), ('new', 'this')]
    >>> [(fit.start, fit.pseudo) for fit in fits_of_round(PseudoLabelAugmenter(refit="once"), True)]
    [('last', 'last')]
    >>> len(fits_of_round(None))
    1
    """
    first = "last" if warm_start else "new"
    if augmenter is None:
        return [FitOfRound(first)]
    if meets(augmenter, TellsFits):
        return list(augmenter.fits_of_round(warm_start))
    return [FitOfRound(first), FitOfRound("this" if warm_start else "new", "this")]


def most_pseudo_masks(augmenter, n_annotated, n_images):
    """Images that an augmenter gives a mask, at most.

    Parameters
    ----------
    augmenter : object or None
        One with a method ``most_pseudo_masks(n_annotated, n_images)`` says it; of another it is
        every image without an annotation.
    n_annotated, n_images : int

    Returns
    -------
    int

    Examples
    --------
    >>> from alseg import PseudoLabelAugmenter
    >>> ceal = PseudoLabelAugmenter("ceal")
    >>> [most_pseudo_masks(ceal, 600 + 35 * i, 1600) for i in (1, 5, 6)]
    [0, 20, 40]
    """
    if augmenter is None:
        return 0
    if meets(augmenter, CountsPseudoMasks):
        return augmenter.most_pseudo_masks(n_annotated, n_images)
    return n_images - n_annotated
