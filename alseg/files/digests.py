"""Digests: of text and bytes, of files, and of arrays. What a file holds of them stays readable.

SHA-256 is for what is kept on disk and compared with what somebody else may have written. Where a
digest only finds again what this process or this machine has computed (superpixels, feature maps,
random numbers of a view), callers take blake2b, which is faster on whole images.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from alseg._types import StrPath


def digest_of(data: str | bytes, n_digits: int = 64) -> str:
    """SHA-256 of bytes or of text, in hexadecimal digits.

    Parameters
    ----------
    data : bytes, str
        Text counts as UTF-8.
    n_digits : int, default=64
        How many of the 64 digits are told.

    Returns
    -------
    str

    Examples
    --------
    >>> digest_of("random, twice the steps", 6), digest_of(b"") == digest_of("")
    ('c8f259', True)
    """
    data = data.encode() if isinstance(data, str) else data
    return hashlib.sha256(data).hexdigest()[:n_digits]


def file_digest(path: StrPath) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def add_array(digest: Any, array: Any) -> None:
    """Let a digest go on with an array: its dtype, its shape and its content.

    Parameters
    ----------
    digest : object of hashlib
    array : ndarray

    Examples
    --------
    Arrays of the same bytes and another shape differ:

    >>> one, other = hashlib.sha256(), hashlib.sha256()
    >>> add_array(one, np.zeros((2, 3)))
    >>> add_array(other, np.zeros((3, 2)))
    >>> one.hexdigest() == other.hexdigest()
    False
    """
    array = np.asarray(array)
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array))
