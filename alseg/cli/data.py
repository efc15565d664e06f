"""The images and masks that `run` and `compare` are given."""

import os

from alseg.cli.errors import BadArgument


def compared_data(args, protocol):
    """What a comparison is given as `data`."""
    args.seed = 0
    _refuse_without_parts(args, protocol)
    if protocol.n_folds is None:
        return train_and_test(args)
    if args.data == "glands":
        from alseg.datasets import make_glands

        return make_glands(args.limit or 60, random_state=0)
    data = load_parts(args)
    if args.limit is not None and "all" in data:
        return drawn(data["all"], args.limit, 0)
    return data


def train_and_test(args):
    """The training and the test part."""
    import dataclasses

    import numpy as np

    if args.data == "glands":
        from alseg.datasets import make_glands

        n_train, n_test = args.limit or 60, args.test_limit or 30
        glands = make_glands(n_train + n_test, random_state=args.seed)
        train, test = glands.take(np.arange(n_train)), glands.take(np.arange(n_train, len(glands)))
        return dataclasses.replace(train, name="glands"), dataclasses.replace(test, name="glands")
    if not os.path.exists(os.path.expanduser(args.data)):
        from alseg.validation import did_you_mean

        remedy = did_you_mean(args.data, ["glands"])
        raise BadArgument(
            f"data must be 'glands' or a folder, got {args.data!r}. {remedy}".rstrip()
        )
    parts = load_parts(args)
    found = []
    for option, name, limit in (
        ("train-split", args.train_split, args.limit),
        ("test-split", args.test_split, args.test_limit),
    ):
        if name not in parts:
            named = [part for part in parts if part != "all"]
            raise BadArgument(
                f"{option} must be a part of {args.data} ({', '.join(named) or 'it has none'}), "
                f"got {name!r}. Name parts in a column 'split' of manifest.csv, or use --fold."
            )
        part = parts[name]
        found.append(part if limit is None else drawn(part, limit, args.seed))
    return found


def drawn(part, limit, seed):
    """So many images, drawn from the seed: a sorted folder then does not give one class."""
    import numpy as np

    if limit >= len(part):
        return part
    return part.take(np.sort(np.random.default_rng(seed).permutation(len(part))[:limit]))


def _refuse_without_parts(args, protocol):
    """With folds there is no test part that these options could be about."""
    if protocol.n_folds is None:
        return
    for name, usual in (
        ("test_limit", None),
        ("fold", None),
        ("train_split", "train"),
        ("test_split", "test"),
    ):
        if getattr(args, name) != usual:
            option = name.replace("_", "-")
            raise BadArgument(f"{option} must be left out with folds, got {getattr(args, name)!r}.")


def load_parts(args):
    """All parts of a folder, by name."""
    from alseg.datasets import load_folder, load_glas

    fold = int(args.fold) if args.fold is not None and args.fold.isdigit() else args.fold
    if os.path.isfile(os.path.join(os.path.expanduser(args.data), "Grade.csv")):
        if isinstance(fold, str):
            raise BadArgument(f"fold must be an integer in [0, 4] for GlaS, got {fold!r}.")
        return load_glas(args.data, fold=fold or 0)
    mapping = mapping_of(args.mask_mapping)
    return load_folder(args.data, fold=fold, mask_mapping=mapping)


def mapping_of(name):
    """What `--mask-mapping` says, as `load_folder` takes it."""
    from alseg.images import MASK_MAPPINGS
    from alseg.validation import message

    known = ("auto", "none", *MASK_MAPPINGS)
    if name not in (None, *known):  # from a file of options
        raise BadArgument(message("mask_mapping", f"one of {list(known)}", name))
    return {None: "auto", "none": None}.get(name, name)
