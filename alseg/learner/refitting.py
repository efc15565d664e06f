"""How a learner in mask mode refits: the fits that a round makes, as its augmenter says."""

import copy

import numpy as np
from sklearn.base import clone

from alseg.images import hard_mask
from alseg.interfaces import (
    GoesOn,
    attribute_of,
    fit_arguments,
    has_learned_masks,
    is_fitted,
    meets,
    set_random_state,
)
from alseg.labels import is_soft
from alseg.learner.source_set import fit_data
from alseg.pseudo import fits_of_round
from alseg.validation import message

CAN_GO_ON = "one with partial_fit for a fit that goes on"
FROM_NEW = "Take warm_start=False, and an augmenter that starts each fit anew."


def refitted(learner, masks, seed_of, fit_kwargs):
    """What a refit to `masks` changes of a learner, which itself is left as it is.

    Parameters
    ----------
    learner : ActiveLearner
    masks : ndarray of shape (n,), object
        All that is known now; `learner.masks` is what was known when its model was fitted.
    seed_of : callable ``f(purpose) -> int or None``
    fit_kwargs : dict
        For ``fit``, besides the learner's own.

    Returns
    -------
    changes : dict
        By attribute: a fitted copy of the estimator, the augmenter that was used, and the gradient
        steps of all the fits.
    """
    return _Round(learner, masks, seed_of, {**learner.fit_kwargs, **fit_kwargs}).changes()


class _Round:
    def __init__(self, learner, masks, seed_of, fit_kwargs):
        self.learner, self.masks = learner, masks
        self.seed_of, self.fit_kwargs = seed_of, fit_kwargs
        self.augmenter = learner.augmenter
        self.counts = []  # gradient steps of each fit
        if self.augmenter is not None and "mask_weight" in fit_kwargs:
            remedy = "Its masks have weights of their own."
            raise ValueError(message("mask_weight", "left out with an augmenter", "one", remedy))
        if learner.source is not None and "mask_weight" in fit_kwargs:
            remedy = "Give source_weight=."
            raise ValueError(message("mask_weight", "left out with a source", "one", remedy))

    def changes(self):
        has_masks = any(mask is not None for mask in self.masks)
        augmenter = self.augmenter if has_masks else None
        model = None
        for fit in fits_of_round(augmenter, self.learner.warm_start):
            before, known = model, (None, None)
            if has_masks:
                known = self._masks_for(fit.pseudo, before)
            model = self._fit(fit.start, before, *known)
            if fit.keep_better and _score(model) < _score(before):
                model = before
        steps = None if None in self.counts else sum(self.counts)
        return {"_estimator": model, "augmenter": self.augmenter, "gradient_steps": steps}

    # -- masks ----------------------------------------------------------------------------------

    def _masks_for(self, pseudo, before):
        """Masks and their weights for a fit; `before` is the fit before it in this round."""
        if pseudo == "this":
            return self._augmented(before)
        if pseudo is None or not self._has_learned_masks():
            return self.masks, None
        if pseudo == "last":
            return self._augmented(self.learner._estimator)
        return self._carried()

    def _augmented(self, model):
        self.augmenter = self._fitted_augmenter(self.masks, model, "augment")
        found, weight = self.augmenter.transform(self.learner.images)
        return _with_soft(found, weight, self.masks)

    def _carried(self):
        """Masks, and what the present model says of the images that had pseudo-masks before."""
        learner = self.learner
        before = self._fitted_augmenter(learner.masks, learner._estimator, "carry")
        found, weight = before.transform(learner.images)
        for i, mask in enumerate(self.masks):
            if mask is not None and not is_soft(mask):
                found[i], weight[i] = mask, np.ones_like(weight[i])
        return _with_soft(found, weight, self.masks)

    def _has_learned_masks(self):
        """Whether there is a model of the round before, and not of class labels alone."""
        known = any(mask is not None for mask in self.learner.masks)
        return known and has_learned_masks(self.learner._estimator)

    def _fitted_augmenter(self, masks, model, purpose):
        learner = self.learner
        # A shallow copy: a descriptor of the pool, computed once, goes along.
        augmenter, seed = copy.copy(learner.augmenter), self.seed_of(purpose)
        if seed is not None:
            set_random_state(augmenter, seed)
        known = {} if learner.true_masks is None else {"true_masks": learner.true_masks}
        augmenter.fit(learner.images, learner.labels, hard_masks(masks), estimator=model, **known)
        return augmenter

    # -- fits -----------------------------------------------------------------------------------

    def _fit(self, start, before, masks, mask_weight):
        """A fitted copy of what a fit starts from."""
        model = before if start == "this" else self.learner._estimator
        go_on = start != "new" and is_fitted(model)
        steps_before = attribute_of(model, "n_steps_", 0) if go_on else 0
        # Other random numbers than those that the fit before has used.
        seed = self.seed_of("continue" if start == "this" else "fit")
        images, labels, given = fit_data(self.learner, masks, mask_weight)
        if go_on and not meets(model, GoesOn):
            raise TypeError(message("estimator", CAN_GO_ON, model, FROM_NEW))
        model = copy.deepcopy(model) if go_on else clone(model)
        if seed is not None:  # also of a fit that goes on, which else repeats the draws before it
            set_random_state(model, seed)
        fit = model.partial_fit if go_on else model.fit
        fit(images, labels, **fit_arguments(model, given), **self.fit_kwargs)
        steps = attribute_of(model, "n_steps_", None)
        self.counts.append(None if steps is None else steps - steps_before)
        return model


def hard_masks(masks):
    """An object array of masks with the likeliest classes of those that are soft; a copy."""
    found = masks.copy()
    for i, mask in enumerate(masks):
        if is_soft(mask):
            found[i] = hard_mask(mask)
    return found


def _with_soft(found, weight, masks):
    """What an augmenter gives, but for soft masks, which stay as they are and count in full."""
    soft = [i for i, mask in enumerate(masks) if is_soft(mask)]
    if not soft:
        return found, weight
    both = np.empty(len(masks), dtype=object)
    for i in range(len(masks)):
        both[i] = found[i]
    for i in soft:
        both[i], weight[i] = masks[i], np.ones_like(weight[i])
    return both, weight


def _score(model):
    """On validation images, of a model that was chosen by them; without them all are alike."""
    score = attribute_of(model, "validation_score_", None)
    return 0.0 if score is None else score
