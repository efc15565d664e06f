"""Which fits a round makes: the table of the paper's ways, and what other augmenters say."""

import pytest

from alseg import PseudoLabelAugmenter
from alseg.pseudo import FitOfRound, fits_of_round, most_pseudo_masks

# (start, pseudo) of each fit, without and with a warm start
ROUNDS = {
    "scratch": ([("new", None), ("new", "this")], [("last", None), ("this", "this")]),
    "continue": ([("new", None), ("this", "this")], [("last", None), ("this", "this")]),
    "once": ([("new", "last")], [("last", "last")]),
}


@pytest.mark.parametrize("refit", ROUNDS)
@pytest.mark.parametrize("warm_start", [False, True])
def test_fits_of_each_way(refit, warm_start):
    fits = fits_of_round(PseudoLabelAugmenter(refit=refit), warm_start)
    assert [(fit.start, fit.pseudo) for fit in fits] == ROUNDS[refit][warm_start]
    assert not any(fit.keep_better for fit in fits)
    needs = warm_start or refit == "once"  # a model of the round before
    assert any(fit.needs_last for fit in fits) == needs


def test_the_published_way_keeps_the_better_fit_and_starts_anew():
    augmenter = PseudoLabelAugmenter(refit="published")
    assert fits_of_round(augmenter) == [
        FitOfRound("new", "carried"),
        FitOfRound("new", "this", keep_better=True),
    ]
    assert [fit.needs_last for fit in fits_of_round(augmenter)] == [True, False]
    with pytest.raises(ValueError, match="warm_start must be False with refit='published'"):
        fits_of_round(augmenter, warm_start=True)
    with pytest.raises(ValueError, match="refit must be one of .*Did you mean 'once'"):
        fits_of_round(PseudoLabelAugmenter(refit="one"))


def test_without_an_augmenter_and_with_one_that_says_nothing():
    assert fits_of_round(None) == [FitOfRound()]
    assert fits_of_round(None, True) == [FitOfRound("last")]
    assert fits_of_round(object()) == [FitOfRound(), FitOfRound("new", "this")]
    assert fits_of_round(object(), True) == [FitOfRound("last"), FitOfRound("this", "this")]


def test_an_augmenter_of_ones_own_says_it():
    class Thrice:
        def fits_of_round(self, warm_start=False):
            return (FitOfRound(), *[FitOfRound("this", "this")] * 2)

        def most_pseudo_masks(self, n_annotated, n_images):
            return min(3, n_images - n_annotated)

    assert len(fits_of_round(Thrice())) == 3
    assert [most_pseudo_masks(Thrice(), n, 10) for n in (0, 8)] == [3, 2]


def test_how_many_images_get_a_mask_at_most():
    assert most_pseudo_masks(None, 2, 10) == 0 and most_pseudo_masks(object(), 2, 10) == 8
    assert most_pseudo_masks(PseudoLabelAugmenter(), 2, 10) == 8
    assert most_pseudo_masks(PseudoLabelAugmenter(weight=0), 2, 10) == 0
    # published schedule: nothing before the fifth round of 35 after 600, then 20 more a round
    ceal = PseudoLabelAugmenter("ceal")
    assert [most_pseudo_masks(ceal, 600 + 35 * k, 810) for k in (4, 5, 6)] == [0, 20, 0]
