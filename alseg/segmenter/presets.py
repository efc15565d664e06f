"""Set-ups as arguments of `JointCAMSegmenter`: published ones, and our own recipe.

Each function gives a dict of arguments; `JointCAMSegmenter.from_preset(name, **overrides)` makes
the estimator. What a preset cannot say, since it is the loop's, stands in `docs/user/presets.md`.
"""

import inspect

import torch

from alseg.network import PlainUNet, TwoEncoderNetwork
from alseg.segmenter.parameters import Augmentation, Network, Objects, Schedule, with_fields
from alseg.validation import check_option


def alseg():
    """Our own recipe, which is the defaults of the estimator: 125 steps of a pretrained Lite0.

    Image and mask moved together, two streams, joint training, cross-entropy and Dice, no
    validation mask, last weights, threshold 0.5, at an area of at most 128 x 192: chosen by folds
    of training images among what two cores train within a minute
    (``benchmarks/studies/recipe.py``). What is no gain there (``benchmarks/studies/ablation.py``),
    or was not run, is off: a moving average of weights, stain augmentation, pseudo-labels and their
    agreement, consistency.

    Returns
    -------
    dict
    """
    return {}


def alseg_fast():
    """A question within seconds: a frozen encoder, 30 steps, no images without a mask in a batch.

    The mask decoder alone is trained, and of the class head what 8 masks teach: class labels of
    images without a mask are not used. With ``feature_cache=folder`` the encoder's maps are kept,
    so that the next fits and predictions of the same images cost the decoder alone; with
    `ActiveLearner(warm_start=True)` the decoder goes on from the round before. What it costs
    against the defaults stands in ``benchmarks/README.md``.

    Returns
    -------
    dict
    """
    return {
        "schedule": Schedule(encoder_lr_scale=0.0),
        "image_size": "large",
        "max_epochs": 6,
        "steps_per_epoch": 5,
        "weak_batch_size": 0,
    }


def alseg_best():
    """The defaults with patience: 600 steps at up to 192 x 288, borders of objects, four views.

    Ten to fifteen CPU minutes a fit. What each of these is worth from the same masks stands with
    ``benchmarks/studies/ceiling.py`` and ``benchmarks/studies/objects.py``; of images that have no
    upright, ``test_flips="dihedral"`` may add a point. The border of what is connected in a mask is
    learned beside its classes, so that `predict_objects` tells touching objects apart: each starts
    where the model is rather sure of its inside, and is one with a neighbour where their seam looks
    like inside. Of masks that hold the ids of objects, say ``objects__mask_kind="instances"``.
    Predictions are means over four flips.

    Returns
    -------
    dict
    """
    return {
        "image_size": "large",
        "max_epochs": 120,
        "steps_per_epoch": 5,
        "objects": Objects("border", inside=0.7, seam=0.4),
        "test_flips": "both",
    }


def alseg_pseudo_labels():
    """Arguments of `PseudoLabelAugmenter` to go with the preset "alseg".

    Sure pixels of all images, at half the weight, in a second fit that goes on from the first. On
    GlaS a fit of twice the steps is worth as much or more (``benchmarks/README.md``): it is for
    trying.

    Returns
    -------
    dict

    Examples
    --------
    >>> from alseg import PseudoLabelAugmenter
    >>> PseudoLabelAugmenter(**alseg_pseudo_labels())
    PseudoLabelAugmenter(refit='continue', selection='all', sure=(0.1, 0.9),
                         weight=0.5)
    """
    return {"selection": "all", "sure": (0.1, 0.9), "weight": 0.5, "refit": "continue"}


def belharbi2021_glas(mc_dropout=False, wildcat_min_branch=True):
    """Belharbi et al. 2021 [1]_ on GlaS.

    Parameters
    ----------
    mc_dropout : bool, default=False
        The variant for Monte-Carlo draws: dropout of 0.2 in 14 places.
    wildcat_min_branch : bool, default=True
        False leaves WILDCAT's smallest values out, as the released code does.

    Returns
    -------
    dict

    References
    ----------
    .. [1] Belharbi et al. 2021, arXiv:2010.04889, and the configurations of its released code.
    """
    classes = {"lr": 1e-4, "lr_schedule": ("step", 100, 0.9), "max_epochs": 1000}
    return {
        **_belharbi2021(mc_dropout, wildcat_min_branch, base_width=24, leak=64),
        "augmentation": Augmentation(flips="both", affine=None, jitter=0.0),
        "schedule": _two_phases(("step", 100, 0.9), classes),
        "lr": 0.1,
        "max_epochs": 1000,
        "batch_size": 20,
    }


def belharbi2021_cub(mc_dropout=False, wildcat_min_branch=True):
    """Belharbi et al. 2021 on CUB-200-2011; parameters as of `belharbi2021_glas`."""
    classes = {"lr": 0.01, "lr_schedule": ("step", 10, 0.9), "max_epochs": 90}
    return {
        **_belharbi2021(mc_dropout, wildcat_min_branch, base_width=12, leak=32),
        "augmentation": Augmentation(flips="horizontal", affine=None, jitter=0.0),
        "schedule": _two_phases(("step", 10, 0.95), classes),
        "lr": 0.1,
        "max_epochs": 30,
        "batch_size": 8,
    }


def _two_phases(lr_schedule, class_phase):
    """The schedule of Belharbi et al. 2021, with the rates of one data set."""
    return Schedule(
        phases="two-phase",
        class_phase=class_phase,
        keep_epoch="validation",
        lr_schedule=lr_schedule,
        encoder_lr_scale=1.0,
        sampling="passes",
    )


def _belharbi2021(mc_dropout, wildcat_min_branch, base_width, leak):
    return {
        "module": TwoEncoderNetwork,
        "module__base_width": base_width,
        "module__leak": leak,
        "module__wildcat_min_branch": bool(wildcat_min_branch),
        "encoder": "resnet18",
        "encoder_weights": "imagenet",
        "network": Network(
            pooling="wildcat",
            cam_stride=None,
            dropout=0.2 if mc_dropout else 0.0,
            dropout_placement="everywhere",
            class_dropout=0.1,
            normalize="half",
        ),
        "crop": {"size": 416, "scale": 0.9, "min_side": 432, "pad": 0.01},
        "threshold": "validation",
        "criterion__class_scale": 1.0,
        "criterion__dice_scale": 0.0,
        "criterion__normalize": "batch",
        "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9,
        "optimizer__nesterov": True,
        "optimizer__weight_decay": 1e-4,
    }


def gorriz2017_ceal():
    """Gorriz et al. 2017 [1]_, the U-Net of cost-effective active learning; no class head.

    Returns
    -------
    dict

    References
    ----------
    .. [1] Gorriz et al. 2017, arXiv:1711.09168, and the constants of its released code.
    """
    return {
        "module": PlainUNet,
        "module__variant": "pooled",
        "network": Network(pooling=None, dropout=0.5, normalize="dataset"),
        "image_size": (192, 240),
        "augmentation": Augmentation(flips="none", affine=None, jitter=0.0),
        "criterion__class_scale": 0.0,
        "criterion__ce_scale": 0.0,
        "criterion__dice": "batch",
        "schedule": Schedule(
            refit_epochs=2,
            keep_epoch="train_loss",
            lr_schedule="constant",
            encoder_lr_scale=1.0,
            sampling="passes",
            drop_tiny_last_batch=False,  # without BatchNorm the last one may be of any size
        ),
        "batch_size": 32,
        "optimizer": torch.optim.Adam,
        "lr": 1e-5,
        "max_epochs": 10,
    }


def survey2024_acdc():
    """The segmentation benchmark of Wang et al. 2024 [1]_, on slices of ACDC; no class head.

    Returns
    -------
    dict

    References
    ----------
    .. [1] Wang et al. 2024, arXiv:2310.14230, and its companion code.
    """
    return {
        "module": PlainUNet,
        "module__variant": "strided",
        "network": Network(pooling=None, dropout=0.1, normalize=(0.0, 1.0)),
        "n_mask_classes": 4,
        "image_size": (256, 256),
        "augmentation": Augmentation(affine=(0.0, 22.9), jitter=0.0),  # 0.4 radians
        "criterion__class_scale": 0.0,
        "criterion__dice_background": True,
        "criterion__dice_eps": 1e-5,
        "batch_size": 32,  # always full: images come again within a batch where they are fewer
        "steps_per_epoch": 1000,
        "max_epochs": 4,  # 4000 steps, whatever the number of masks; validation after each 1000
        "optimizer": torch.optim.Adam,
        "optimizer__weight_decay": 5e-4,
        "lr": 1e-3,
        "schedule": Schedule(
            keep_epoch="validation",
            lr_schedule=("poly", 0.9),
            encoder_lr_scale=1.0,
            clip_norm=10.0,
        ),
    }


PRESETS = {
    "alseg": alseg,
    "alseg-fast": alseg_fast,
    "alseg-best": alseg_best,
    "belharbi2021-glas": belharbi2021_glas,
    "belharbi2021-cub": belharbi2021_cub,
    "gorriz2017-ceal": gorriz2017_ceal,
    "survey2024-acdc": survey2024_acdc,
}


def preset_params(name, **overrides):
    """Arguments of the estimator for a set-up.

    Parameters
    ----------
    name : str
        One of `PRESETS`.
    **overrides
        Options of the preset itself, see its function; all others replace its arguments, or a
        field of one, such as ``schedule__ema=0.99``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no preset of this name.

    Examples
    --------
    >>> params = preset_params("belharbi2021-glas", mc_dropout=True, max_epochs=10)
    >>> params["network"].dropout, params["max_epochs"]
    (0.2, 10)
    """
    preset = PRESETS[check_option("name", name, tuple(PRESETS))]
    own = {key: overrides[key] for key in inspect.signature(preset).parameters if key in overrides}
    rest = {key: value for key, value in overrides.items() if key not in own}
    return with_fields({**preset(**own), **rest})
