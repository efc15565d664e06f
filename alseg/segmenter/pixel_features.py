"""What a pixel classifier sees of a pixel: filters at several scales, maps of a frozen encoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from alseg.network import (
    FeatureMemory,
    build_encoder,
    evaluated,
    normalization_numbers,
    normalization_of,
    of_channels,
)
from alseg.validation import check_option, message

FEATURES = ("filters", "encoder")
"""Features that have a name."""


def filter_features(image: np.ndarray, sigmas: tuple[float, float] = (0.5, 16.0)) -> np.ndarray:
    """Intensity, edges and texture around each pixel at several scales, channel by channel.

    Parameters
    ----------
    image : ndarray of shape (H, W, C), float32 in [0, 1]
    sigmas : (float, float), default=(0.5, 16.0)
        Smallest and largest standard deviation of the Gaussian blurs, in pixels; between them each
        is twice the one before.

    Returns
    -------
    features : ndarray of shape (H, W, d), float32
        Of each channel and scale four, see `skimage.feature.multiscale_basic_features`: the
        blurred channel, its gradient, and the two eigenvalues of its Hessian.

    Examples
    --------
    >>> filter_features(np.zeros((8, 12, 3), np.float32), sigmas=(1.0, 2.0)).shape
    (8, 12, 24)
    """
    from skimage.feature import multiscale_basic_features

    height, width = image.shape[:2]
    short = [(0, max(0, 2 - side)) for side in (height, width)]  # a gradient needs two pixels
    padded = np.pad(image, [*short, (0, 0)], mode="edge")
    # By position, since the name of the last differs between releases: one thread an image.
    found = multiscale_basic_features(padded, True, True, True, *sigmas, None, 1, channel_axis=-1)
    return found[:height, :width].astype(np.float32, copy=False)


class EncoderFeatures:
    """Feature maps of an encoder that is not trained, brought to the pixels by bilinear upsampling.

    Parameters
    ----------
    encoder : str or nn.Module
        As of `alseg.network.build_encoder`. A module is copied.
    weights : None, "bundled", "imagenet", str or Path
    strides : sequence of int
        Of the maps that are taken; each one of the encoder's.
    device : str
    cache : None, str or Path
        A folder that keeps the maps of images seen before, see `alseg.network.FeatureMemory`. It
        holds float16, to which maps are rounded without it too: it changes no number.
    n_channels : int, default=3
        Of the images; see `alseg.network.build_encoder`.

    Attributes
    ----------
    encoder : nn.Module
        In evaluation mode.

    Examples
    --------
    >>> features = EncoderFeatures("tiny", None, (4, 8), "cpu", None)
    >>> features(np.zeros((10, 12, 3), np.float32)).shape
    (10, 12, 96)
    """

    def __init__(
        self,
        encoder: Any,
        weights: Any,
        strides: Sequence[int],
        device: str,
        cache: Any,
        n_channels: int = 3,
    ) -> None:
        self.encoder = build_encoder(encoder, weights, n_channels).to(device).eval()
        known = list(self.encoder.strides)
        unknown = [stride for stride in strides if stride not in known]
        if unknown or not len(strides):
            raise ValueError(message("encoder_strides", f"some of {known}", list(strides)))
        self.levels = [i for i, stride in enumerate(known) if stride in strides]
        self.normalization = normalization_of(encoder, weights)
        self.device = device
        self.memory = None if cache is None else FeatureMemory(cache)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The features of one image (H, W, C), float32 in [0, 1]: (H, W, d), float32."""
        height, width = image.shape[:2]
        mean, std = (
            of_channels(value, image.shape[2])
            for value in normalization_numbers(self.normalization)
        )
        x = (torch.from_numpy(image).movedim(-1, 0)[None] - mean) / std
        deepest = self.encoder.strides[-1]
        x = F.pad(x, (0, -width % deepest, 0, -height % deepest), mode="replicate")
        x = x.float().to(self.device)
        with torch.inference_mode():
            maps = self._maps(x)
            found = [
                F.interpolate(
                    maps[i].contiguous(), size=x.shape[2:], mode="bilinear", align_corners=False
                )
                for i in self.levels
            ]
        joined = torch.cat(found, 1)[0, :, :height, :width].movedim(0, -1)
        return joined.float().cpu().contiguous().numpy()

    def _maps(self, x):
        if self.memory is not None:
            return self.memory(self.encoder, x)
        limit = torch.finfo(torch.float16).max
        maps = evaluated(self.encoder)(x)
        return [one.float().clamp(-limit, limit).half().float() for one in maps]

    def load(self, state: dict[str, torch.Tensor], normalization: Any) -> None:
        """Take saved weights, and how images are normalised for them.

        Raises
        ------
        ValueError
            If they are of another encoder.
        """
        try:
            self.encoder.load_state_dict(state)
        except RuntimeError as error:
            problem = str(error).splitlines()[-1].strip()
            rule = "the one that the model was saved with"
            raise ValueError(
                message("encoder", rule, type(self.encoder).__name__, problem)
            ) from error
        self.normalization = normalization


def feature_functions(
    features: Any, sigmas: tuple[float, float], make_encoder: Callable[[], EncoderFeatures]
) -> list[Callable[[np.ndarray], np.ndarray]]:
    """The functions that give the features of an image, each ``f(image) -> (H, W, d)``.

    Parameters
    ----------
    features : str, callable, or sequence of these
        See `PixelClassifier`.
    sigmas : (float, float)
    make_encoder : callable
        Gives the `EncoderFeatures`, called where they are wanted.

    Returns
    -------
    list of callable
    """
    found: list[Callable[[np.ndarray], np.ndarray]] = []
    for one in as_feature_list(features):
        if callable(one):
            found.append(functools.partial(_checked, one))
        elif one == "filters":
            found.append(functools.partial(filter_features, sigmas=sigmas))
        else:
            found.append(make_encoder())
    return found


def as_feature_list(features: Any) -> list[Any]:
    """Features as a list of names and callables, checked.

    Raises
    ------
    TypeError, ValueError
        If there is none, one twice, or one that is neither a name in `FEATURES` nor callable.

    Examples
    --------
    >>> as_feature_list("filters"), as_feature_list(("filters", "encoder"))
    (['filters'], ['filters', 'encoder'])
    """
    several = isinstance(features, (tuple, list))
    listed = list(features) if several else [features]
    for one in listed:
        if isinstance(one, str):
            check_option("features", one, FEATURES)
        elif not callable(one):
            rule = f"some of {FEATURES}, or functions of an image"
            raise TypeError(message("features", rule, features))
    if not listed or any(one in listed[:i] for i, one in enumerate(listed)):
        raise ValueError(message("features", "one or more, each once", features))
    return listed


def image_features(
    image: np.ndarray, functions: list[Callable[[np.ndarray], np.ndarray]]
) -> np.ndarray:
    """All features of the pixels of an image, side by side.

    Parameters
    ----------
    image : ndarray of shape (H, W, 3), float32 in [0, 1]
    functions : list of callable

    Returns
    -------
    ndarray of shape (H, W, d), float32
    """
    found = [function(image) for function in functions]
    return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)


def _checked(function, image):
    """What a user's function gives, as float32 of shape (H, W, d)."""
    found = np.asarray(function(image), dtype=np.float32)
    found = found[..., None] if found.ndim == 2 else found
    if found.ndim != 3 or found.shape[:2] != image.shape[:2] or not found.shape[2]:
        rule = f"of the shape of its image, {image.shape[:2]}, and features"
        raise ValueError(message("features(image)", rule, found.shape))
    if not np.isfinite(found).all():
        raise ValueError(message("features(image)", "finite", "a value that is not"))
    return found
