"""Something to ask: a small deterministic estimator, and small random images."""

import zlib

import numpy as np

from alseg.images import as_images, stack
from alseg.query import DRAW_UNCERTAINTIES, UNCERTAINTIES, sums_for
from alseg.query import aggregate as aggregate_maps
from alseg.validation import check_option, check_rng


class ContractError(AssertionError):
    """A strategy or a score does not do what every caller relies on."""


# -- something to ask --


def toy_images(n, ragged=False, random_state=0):
    """Small random images, no two alike.

    Parameters
    ----------
    n : int
    ragged : bool, default=False
        Whether their sizes differ.
    random_state : None, int, numpy Generator or RandomState, default=0

    Returns
    -------
    images : ndarray of shape (n, 16, 16, 3), uint8; or, if ragged, list of n arrays (H, W, 3)

    Examples
    --------
    >>> toy_images(2).shape, [image.shape for image in toy_images(2, ragged=True)]
    ((2, 16, 16, 3), [(16, 16, 3), (19, 14, 3)])
    """
    rng = check_rng(random_state)
    images = []
    for i in range(n):
        shape = (16 + 3 * (i % 4), 16 - 2 * (i % 3), 3) if ragged else (16, 16, 3)
        low, high = np.sort(rng.random(2)) * 255
        noise = rng.random(shape)
        images.append((low + (high - low) * noise).astype(np.uint8))
    return images if ragged else np.array(images).reshape(n, 16, 16, 3)


def _softmax(logits):
    weights = np.exp(logits - logits.max(axis=0))
    return weights / weights.sum(axis=0)


class ToySegmenter:
    """An estimator's surface without a network: each prediction is a formula of the pixels.

    What it predicts for an image depends on the image alone, not on the others or on the order;
    its draws depend on `random_state` besides.

    Parameters
    ----------
    broken : bool, default=False
        Whether all it predicts is NaN.
    n_classes, n_mask_classes : int, default=3
    phase : float, default=0.0
        Another number is another model.

    Attributes
    ----------
    n_calls : int
        How often a prediction was asked for.
    estimators_ : list of ToySegmenter
        Three others, so that it can be asked as an ensemble.

    Examples
    --------
    >>> toy = ToySegmenter()
    >>> X = toy_images(4)
    >>> toy.predict_proba(X).shape, toy.predict_mask_proba(X).shape, toy.transform(X).shape
    ((4, 3), (4, 3, 16, 16), (4, 8))
    """

    def __init__(self, broken=False, n_classes=3, n_mask_classes=3, phase=0.0):
        self.broken = broken
        self.phase = phase
        self.n_classes, self.n_mask_classes = n_classes, n_mask_classes
        self.classes_ = np.array([f"class {k}" for k in range(n_classes)])
        self.n_calls = 0

    @property
    def estimators_(self):
        """Three others, as an ensemble has them."""
        kinds = self.broken, self.n_classes, self.n_mask_classes
        return [ToySegmenter(*kinds, phase=self.phase + step) for step in (0.3, 0.6, 0.9)]

    def _grey(self, X):
        """Images as (H, W) floats in [0, 1], NaN if broken."""
        self.n_calls += 1
        images = as_images(X)
        for i in range(len(images)):
            image = images[i]
            grey = image.mean(axis=-1) / (255 if image.dtype == np.uint8 else 1)
            yield grey * np.nan if self.broken else grey

    def _label_proba(self, grey):
        """(K,) of (H, W), or (K, n) of (n, H, W)."""
        angle = np.multiply.outer(1 + np.arange(self.n_classes), 5 * grey.mean(axis=(-2, -1)))
        return _softmax(4 * np.cos(angle + self.phase))

    def _mask_proba(self, grey):
        """(C, H, W) of (H, W), or (C, n, H, W) of (n, H, W)."""
        steps = np.arange(self.n_mask_classes).reshape(-1, *[1] * grey.ndim)
        return _softmax(3 * np.cos(steps + (2 + steps) * 2 * grey + self.phase))

    def predict_proba(self, X):
        """Class probabilities, (n, K)."""
        return np.array([self._label_proba(grey) for grey in self._grey(X)])

    def predict(self, X):
        """Class labels, (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def predict_mask_proba(self, X):
        """Pixel class probabilities, (n, C, H, W), or an object array of (C, H, W)."""
        return stack([self._mask_proba(grey) for grey in self._grey(X)])

    def predict_masks(self, X):
        """Pixel classes, (n, H, W), or an object array of (H, W)."""
        return stack([self._mask_proba(grey).argmax(axis=0) for grey in self._grey(X)])

    def predict_joint(self, X):
        """Labels, proba, masks, mask_proba, and cams of shape (n, K, 4, 4)."""
        proba, mask_proba = self.predict_proba(X), self.predict_mask_proba(X)
        blocks = [np.array_split(p[-1], 4, axis=0) for p in mask_proba]
        small = [
            [[part.mean() for part in np.array_split(row, 4, axis=1)] for row in rows]
            for rows in blocks
        ]
        scale = 1 + np.arange(self.n_classes)[:, None, None]
        return {
            "labels": self.classes_[proba.argmax(axis=1)],
            "proba": proba,
            "masks": stack([p.argmax(axis=0) for p in mask_proba]),
            "mask_proba": mask_proba,
            "cams": np.array([np.cos(scale * 3 * np.array(rows)) for rows in small]),
        }

    def gradient_embedding(self, X, loss="cross_entropy"):
        """Mean over the pixels of (p - guess) times powers of the grey value, (n, 3 C)."""
        found = []
        for grey in self._grey(X):
            proba = self._mask_proba(grey)
            guess = np.arange(len(proba))[:, None, None] == proba.argmax(axis=0)
            powers = grey ** np.arange(3)[:, None, None]
            found.append(np.einsum("chw,dhw->cd", proba - guess, powers).ravel() / grey.size)
        return np.array(found)

    def gradient_length(self, X):
        """Expected length of such gradients, (n,)."""
        lengths = []
        for grey in self._grey(X):
            doubt = 1 - (self._mask_proba(grey) ** 2).sum(axis=0)
            lengths.append(np.sqrt((doubt * (1 + grey**2 + grey**4)).sum()) / grey.size)
        return np.array(lengths)

    def transform(self, X, kind="encoder"):
        """Embeddings, (n, 8)."""
        check_option("kind", kind, ("encoder", "decoder", "cam"))
        quantiles = np.linspace(0, 1, 8) ** {"encoder": 1, "decoder": 2, "cam": 3}[kind]
        return np.array([np.quantile(grey, quantiles) for grey in self._grey(X)])

    def predict_uncertainty(
        self,
        X,
        method="entropy",
        aggregate="mean",
        target="mask",
        return_maps=False,
        n_draws=20,
        random_state=None,
    ):
        """Scores as `JointCAMSegmenter` gives them, (n,)."""
        check_option("method", method, (*UNCERTAINTIES, *DRAW_UNCERTAINTIES))
        check_option("target", target, ("mask", "label"))
        predict = self._mask_proba if target == "mask" else self._label_proba
        seed = 0 if random_state is None else int(check_rng(random_state).integers(2**31 - 1))
        maps, scores = [], []
        for grey in self._grey(X):
            proba = predict(grey)
            if method in UNCERTAINTIES:
                values = UNCERTAINTIES[method](proba, axis=0)
            else:
                content = zlib.crc32(np.ascontiguousarray(grey).tobytes())
                rng = np.random.default_rng([seed, content])
                sums = sums_for(method, axis=0)
                shifts = 0.1 * rng.standard_normal((n_draws, 1, 1))
                for draw in np.moveaxis(predict(np.clip(grey + shifts, 0, 1)), 1, 0):
                    sums.add(draw)
                values = DRAW_UNCERTAINTIES[method](sums)
            maps.append(values)
            if target == "mask":
                values = aggregate_maps(values[None], aggregate, mask_proba=proba[None])[0]
            scores.append(float(values))
        return (np.array(scores), stack(maps)) if return_maps else np.array(scores)


class ToyLearner:
    """What a strategy may ask a learner for, as modAL's and ours have it.

    Examples
    --------
    >>> learner = ToyLearner(ToySegmenter(), toy_images(2, random_state=1), ["class 0", "class 1"])
    >>> learner.predict_proba(toy_images(3)).shape
    (3, 3)
    """

    on_transformed = False

    def __init__(self, estimator, X_training, y_training):
        self.estimator = estimator
        self.X_training, self.y_training = X_training, np.asarray(y_training)
        self.annotated_ids = np.arange(len(X_training))

    @property
    def masks(self):
        """Masks of what it was trained on: where an image is lighter than its mean."""
        grey = [np.asarray(image, float).mean(axis=-1) for image in self.X_training]
        return [(g > g.mean()).astype(int) for g in grey]

    def predict_proba(self, X):
        """Class probabilities, (n, K)."""
        return self.estimator.predict_proba(X)

    def predict(self, X):
        """Class labels, (n,)."""
        return self.estimator.predict(X)
