"""Where the data are: below ALSEG_DATA, or in ../shared/data beside the repository."""

import os
from pathlib import Path


def find_data(name):
    """The folder `name` under ALSEG_DATA or beside the repository, or None."""
    candidates = [os.environ.get("ALSEG_DATA"), Path(__file__).parents[3] / "shared" / "data"]
    for root in filter(None, candidates):
        if (Path(root) / name).is_dir():
            return Path(root) / name
    return None


def find_weights(data, encoder):
    """The file of an encoder's ImageNet weights beside a folder of data, or None."""
    path = data.parent / "weights" / f"{encoder}_imagenet.safetensors"
    return str(path) if path.is_file() else None


def found_all(*names):
    """The folders of that name, or None after a line that says which are missing.

    Returns
    -------
    list of Path, or None
    """
    folders = [find_data(name) for name in names]
    missing = [name for name, folder in zip(names, folders, strict=True) if folder is None]
    if missing:
        told = " and ".join(f"{name}/" for name in missing)
        print(f"skipped: set ALSEG_DATA to the folder that holds {told}")
        return None
    return folders


def weights_name(path):
    """What a record says of a file of weights: its name, since folders differ by machine."""
    return path and Path(path).name


def decoded(part):
    """A data set whose images and masks are arrays, read once for all fits.

    Parameters
    ----------
    part : Dataset
        With a mask for each image.

    Returns
    -------
    Dataset
        Without instances.
    """
    n = len(part.labels)
    images, masks = [part.images[i] for i in range(n)], [part.masks[i] for i in range(n)]
    return type(part)(images, part.labels, masks, None, part.groups, part.ids, part.name)
