"""Dice as a scorer of scikit-learn's searches."""

from __future__ import annotations

from typing import Any

from alseg._types import Array, Masks
from alseg.interfaces import before_and_last
from alseg.validation import message

# -- for scikit-learn's searches --


class DiceScorer:
    """Mean Dice as a scikit-learn scorer ``scorer(estimator, X, y, masks=masks)``.

    Scorers see masks only with metadata routing on; this one asks for `masks` by itself.
    The estimator's `score_masks` gives the value; in a `Pipeline` the last step's does.

    Examples
    --------
    >>> import sklearn
    >>> from sklearn.model_selection import GridSearchCV
    >>> with sklearn.config_context(enable_metadata_routing=True):
    ...     search = GridSearchCV(segmenter, grid, scoring=dice_scorer)   # doctest: +SKIP
    ...     search.fit(X, y, masks=masks)                                 # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._requests: dict[str, Any] = {"masks": True}

    def __repr__(self):
        return "dice_scorer"

    def set_score_request(self, *, masks: bool | str | None = True) -> Any:
        """Say under which name the masks are passed (a string), or not to pass them (False).

        Parameters
        ----------
        masks : bool, str or None, default=True

        Returns
        -------
        self
        """
        self._requests = {"masks": masks}
        return self

    def get_metadata_routing(self) -> Any:
        """What scikit-learn asks to learn that `masks` is wanted."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=type(self).__name__)
        for name, alias in self._requests.items():
            request.score.add_request(param=name, alias=alias)
        return request

    def __call__(self, estimator: Any, X: Any, y: Array = None, masks: Masks = None) -> Any:
        """Mean Dice of the estimator's masks; `y` is not looked at.

        Raises
        ------
        TypeError
            If the estimator has no `score_masks`.
        ValueError
            If `masks` is not given.
        """
        if masks is None:
            remedy = (
                "Turn routing on (sklearn.set_config(enable_metadata_routing=True)) and pass "
                "masks to fit, or params={'masks': masks}."
            )
            raise ValueError(message("masks", "given to dice_scorer", None, remedy))
        before, estimator = before_and_last(estimator)
        X = X if before is None else before(X)
        if not hasattr(estimator, "score_masks"):
            raise TypeError(message("estimator", "one with `score_masks`", estimator))
        return estimator.score_masks(X, masks)


dice_scorer = DiceScorer()
