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
