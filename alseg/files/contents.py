"""What files hold: text, tables without formulas, JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from alseg._types import StrPath
from alseg.files.places import naming
from alseg.validation import message


def as_utf8(text: str) -> Any:
    """Text as UTF-8; bytes of file names that are none as their escapes, such as ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace")


def defuse(cell: Any) -> Any:
    """A cell of a CSV file that no spreadsheet takes for a formula.

    Parameters
    ----------
    cell : object
        Only text is changed.

    Returns
    -------
    object
        Text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end gets an apostrophe
        before it, unless it is a number.

    Examples
    --------
    >>> [defuse(cell) for cell in ("=1+1", "-0.5", "gland", -1, "-x")]
    ["'=1+1", '-0.5', 'gland', -1, "'-x"]
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return cell
    return (
        cell
        if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", cell, re.I | re.A)
        else f"'{cell}"
    )


def csv_text(header: Any, rows: Any) -> Any:
    """A table as the text of a CSV file, its cells defused.

    Parameters
    ----------
    header : list
    rows : iterable of list

    Returns
    -------
    str

    Examples
    --------
    >>> csv_text(["image", "label"], [["=a.png", "x"]])
    "image,label\\n'=a.png,x\\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([defuse(cell) for cell in row] for row in [header, *rows])
    return text.getvalue()


def json_text(value: Any, indent: int | None = None) -> Any:
    """A value as JSON; letters stay readable, except where they are no UTF-8.

    Parameters
    ----------
    value : object
        See `jsonable`.
    indent : int or None, default=None

    Returns
    -------
    str
    """
    value = jsonable(value)
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:  # names of files in another encoding
        return json.dumps(value, allow_nan=False, indent=indent)
    return text


def read_json(path: StrPath) -> Any:
    """Read a file that holds a JSON object.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    dict

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it holds something else; the file is named.
    """
    with naming(path, "read"), open(path, "rb") as file:
        data = file.read()
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(
            f"{path} must be a JSON file, got one that is damaged: {reason}."
        ) from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


def jsonable(value: Any) -> Any:
    """Turn numpy values, paths and tuples into what JSON holds; not-finite floats into None.

    Parameters
    ----------
    value : object
        Nested dicts (keys become strings), lists, tuples, sets, arrays, numbers, strings, paths.

    Returns
    -------
    object
        Made of dict, list, str, int, float, bool and None alone.

    Raises
    ------
    TypeError
        If something else is in it.

    Examples
    --------
    >>> jsonable({"ids": np.array([3, 1]), "dice": np.float32("nan")})
    {'ids': [3, 1], 'dice': None}
    """
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(jsonable(item) for item in value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(message("value", "made of numbers, strings, lists and dicts", value))
