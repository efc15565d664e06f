"""What an oracle was asked: ids, with or without regions, looked at before it answers."""

import numpy as np

from alseg.query import Regions
from alseg.validation import message


def asked(sample_ids, regions):
    """Ids and regions, of ids with or without regions, or of regions alone."""
    if isinstance(sample_ids, Regions):
        if regions is not None and regions is not sample_ids:
            raise TypeError(message("regions", "left out where sample_ids are Regions", regions))
        return sample_ids.sample_ids, sample_ids
    if regions is not None and not isinstance(regions, Regions):
        raise TypeError(message("regions", "Regions or None", regions))
    return sample_ids, regions


def check_ids(sample_ids, n_samples):
    """The ids as a list of int, seen to be one row of positions in `n_samples` images."""
    ids = np.asarray(sample_ids)
    if ids.ndim != 1:
        raise ValueError(message("sample_ids", "one row of ids", sample_ids))
    if not len(ids):
        raise ValueError(message("sample_ids", "at least one id", sample_ids))
    if not np.issubdtype(ids.dtype, np.integer):
        raise TypeError(message("sample_ids", "integers", sample_ids))
    unknown = ids[(ids < 0) | (ids >= n_samples)]
    if len(unknown):
        raise ValueError(message("sample_ids", f"in [0, {n_samples - 1}]", unknown.tolist()))
    return ids.tolist()
