"""Safe file names made of any text."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from alseg.files.digests import digest_of

_RESERVED = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE
)
_KEPT = set(" ._-+(),=@")  # beside letters, marks and digits: harmless to shells, URLs and Windows


def file_name(identifier: str, suffix: str = "") -> Any:
    """A file name of ours from any text: what is harmless stays, the rest is told by a digest.

    Two texts never have the same name, not even where letter case and Unicode forms count as equal
    (macOS, Windows). A text that is changed gets ``~`` and 12 digits of its SHA-256.

    Parameters
    ----------
    identifier : str
        Any: with slashes, control characters, bytes that are no UTF-8, thousands of letters.
    suffix : str, default=""
        Such as ".png".

    Returns
    -------
    str
        One part of a path, at most 255 bytes in UTF-8 with the suffix.

    Examples
    --------
    >>> file_name("gland_01", ".png"), file_name("../p1/s", ".png")
    ('gland_01.png', '_.._p1_s~6c5a6e0e3090.png')
    """
    identifier = str(identifier)
    plain = "".join(c if _is_kept(c) else "_" for c in _folded(identifier))
    plain = _folded(plain)
    if plain.startswith((".", "-", " ")) or _RESERVED.fullmatch(plain):
        plain = f"_{plain}"
    room = 255 - len(suffix.encode())
    unchanged = (
        plain == identifier
        and plain
        and len(plain.encode()) <= room
        and not plain.endswith((".", " "))
    )
    if unchanged:
        return plain + suffix
    digest = digest_of(identifier.encode("utf-8", "surrogatepass"), 12)
    cut = plain.encode()[: min(room - 13, 100)].decode(errors="ignore").rstrip(". ")
    return f"{_folded(cut)}~{digest}{suffix}"


def file_names(identifiers: Any, suffix: str = "") -> Any:
    """File names for a set of texts, with capital letters kept where that is unambiguous.

    Parameters
    ----------
    identifiers : iterable of str
        All different.
    suffix : str, default=""

    Returns
    -------
    list of str
        As `file_name`, but ``"IMG_01"`` stays as it is unless ``"img_01"`` is there too.

    Examples
    --------
    >>> file_names(["IMG_01", "b"], ".png")
    ['IMG_01.png', 'b.png']
    >>> [name[:7] for name in file_names(["IMG_01", "img_01"])]
    ['img_01~', 'img_01']
    """
    identifiers = [str(identifier) for identifier in identifiers]
    count = {}
    for identifier in identifiers:
        key = _folded(identifier)
        count[key] = count.get(key, 0) + 1
    names = []
    for identifier in identifiers:
        folded, name = _folded(identifier), file_name(identifier, suffix)
        alone = count[folded] == 1 and unicodedata.normalize("NFC", identifier) == identifier
        if alone and file_name(folded, suffix) == folded + suffix:
            name = identifier + suffix if len((identifier + suffix).encode()) <= 255 else name
        names.append(name)
    return names


def _is_kept(character):
    return unicodedata.category(character)[0] in "LMN" or character in _KEPT


def _folded(text):
    """What file systems that forget letter case and Unicode forms make equal."""
    before = None
    while text != before:  # folding may make what composes anew
        before, text = text, unicodedata.normalize("NFC", text.casefold())
    return text
