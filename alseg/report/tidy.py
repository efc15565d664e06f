"""Scores as a tidy table: a line for each row, seed, round and metric, for other programs."""

import numpy as np

from alseg.experiment import COSTS
from alseg.files import csv_text, write_text
from alseg.validation import check_option

DTYPES = {
    "row": str,
    "seed": np.int64,
    "round": np.int64,
    "masks": np.int64,
    "cost": np.float64,
    "metric": str,
    "value": np.float64,
}
"""Columns of `tidy_frame`, and what they hold."""


def tidy_frame(records, cost="images", per_image=False):
    """Records as a tidy table: a line for each row, seed, round and metric.

    Parameters
    ----------
    records : list of dict
        As `alseg.experiment.run` and `alseg.experiment.read_records` give them.
    cost : {"images", "pixels", "clicks", "seconds"}, default="images"
        What the column ``cost`` counts.
    per_image : bool, default=False
        Whether the scores of single test images have lines too, such as ``dice_per_image/3``.

    Returns
    -------
    frame : pandas.DataFrame
        ``row`` (str), the strategy or reference; ``seed``, ``round``, ``masks`` (int64), the masks
        so far; ``cost`` (float64), the cost so far, NaN for a reference; ``metric`` (str), those
        of a class or subset with slashes: ``by_label/benign/dice``; ``value`` (float64), as it
        stands in the record, NaN where it was not defined. In the order of the records.

    Examples
    --------
    >>> metrics = {"dice": 0.61, "by_label": {"a": {"dice": 0.5}}}
    >>> record = {"strategy": "entropy", "seed": 0, "round": 1, "n_masks": 6,
    ...           "cost": {"images": 6}, "metrics": metrics}
    >>> tidy_frame([record])
           row  seed  round  masks  cost           metric  value
    0  entropy     0      1      6   6.0             dice   0.61
    1  entropy     0      1      6   6.0  by_label/a/dice   0.50
    """
    import pandas as pd

    check_option("cost", cost, COSTS)
    lines = []
    for record in records:
        paid = record.get("cost", {}).get(cost)
        head = (
            str(record["strategy"]),
            record["seed"],
            record["round"],
            record["n_masks"],
            np.nan if paid is None else paid,
        )
        lines += [(*head, *pair) for pair in _numbers(record["metrics"], per_image)]
    return pd.DataFrame(lines, columns=list(DTYPES)).astype(DTYPES)


def _numbers(values, per_image, path=()):
    """Names and values of all numbers in nested dicts, and lists where they are asked for."""
    listed = isinstance(values, list)
    for key, value in enumerate(values) if listed else values.items():
        place = (*path, str(key))
        if isinstance(value, dict) or (per_image and isinstance(value, list)):
            yield from _numbers(value, per_image, place)
        elif value is None or isinstance(value, (int, float)):
            yield "/".join(place), np.nan if value is None else float(value)


def write_csv(path, frame):
    """Write a tidy table as CSV, where no file is or one that this wrote.

    Parameters
    ----------
    path : str or Path
    frame : pandas.DataFrame
        Of `tidy_frame`.

    Returns
    -------
    path : Path
        Numbers with all digits, nothing where there is no number. A name that a spreadsheet would
        take for a formula has an apostrophe before it.

    Raises
    ------
    NotOurs
        If another file is at `path`.
    """
    rows = (["" if cell != cell else cell for cell in row] for row in frame.itertuples(index=False))
    header = ",".join(DTYPES)
    return write_text(path, csv_text(list(DTYPES), rows), marker=lambda p: _starts(p, header))


def _starts(path, header):
    with open(path, "rb") as file:
        return file.readline().strip() == header.encode()
