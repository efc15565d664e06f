"""Names of images: safe ids made of their paths, and which mask files belong to them."""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alseg._types import StrPath
from alseg.datasets._folds import natural_key
from alseg.files import file_names
from alseg.validation import did_you_mean, message

LISTED = 10  # files that one error names
_DIRECTED = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they reorder what is shown


def same_form(name: str) -> Any:
    """A name in the Unicode form in which names are compared (NFC)."""
    return unicodedata.normalize("NFC", name)


def safe_part(part: Any) -> Any:
    """One part of a path as a part of a name of ours.

    Control characters, backslashes and bytes that are no UTF-8 become ``_``, leading dots too, so
    that none is hidden, or leads out of the folder.
    """
    if part.isascii() and part.isprintable() and "\\" not in part and part[:1] != ".":
        return part  # as nearly all are
    part = "".join(
        "_"
        if c == "\\" or c in _DIRECTED or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        else c
        for c in same_form(part)
    )
    bare = part.lstrip(".")
    return "_" * (len(part) - len(bare)) + bare


def safe_parts(name: str) -> Any:
    """The parts of a path as they may stand in a name: none empty, ``.`` or ``..``."""
    parts = posixpath.normpath(name).split("/")
    return tuple(safe_part(part) for part in parts if part not in ("", ".", ".."))


def without_suffix(name: str) -> Any:
    """A path or file name without the suffix of its last part."""
    return posixpath.splitext(name)[0]


def safe_ids(names: Sequence[str]) -> Any:
    """Names of images, for records, states and files: harmless, different, and short.

    Parameters
    ----------
    names : sequence of str
        Paths with ``/``, as found or as given: relative or absolute, with ``..`` or without.

    Returns
    -------
    ids : list of str
        Stems where they tell the images apart, else the shortest ends of the paths that do,
        without suffix. Relative, in NFC, without ``.``, ``..``, backslashes or control characters;
        different also where case makes no difference, with ``~2``, ``~3``, ... where nothing else
        helps.

    Examples
    --------
    >>> safe_ids(["cat/a.png", "cat/b.png"]), safe_ids(["/d/cat/a.png", "/d/dog/a.png"])
    (['a', 'b'], ['cat/a', 'dog/a'])
    >>> safe_ids(["../a.png", "../A.bmp"])
    ['a', 'A~2']
    """
    parts = [safe_parts(without_suffix(name)) or ("_",) for name in names]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        ids = ["/".join(one[-depth:]) for one in parts]
        if len(set(map(_folded, ids))) == len(ids):
            return ids
    used = set(map(_folded, ids))
    seen = set()
    for i, name in enumerate(ids):
        if _folded(name) in seen:
            number = 2
            while _folded(f"{name}~{number}") in used:
                number += 1
            ids[i] = f"{name}~{number}"
        used.add(_folded(ids[i]))
        seen.add(_folded(ids[i]))
    return ids


def _folded(name):
    return same_form(name.casefold())


def match_names(
    files: Sequence[str],
    ids: Sequence[str],
    folder: StrPath | None = None,
    suffix: str | None = None,
) -> Any:
    """Which mask files are those of which images, by their names.

    A file fits the image whose id is its path below `folder` without suffix, or whose id ends in
    its stem where the folders around it do not say otherwise: ``cat/a.png`` and ``a.png`` both fit
    the image ``cat/a``, ``dog/a.png`` does not. The names under which alseg writes proposals fit
    too. Letters are compared as written, accents in whatever Unicode form.

    Parameters
    ----------
    files : sequence of str or Path
        Mask files.
    ids : sequence of str
        Names of the images, such as `Dataset.ids`.
    folder : str or Path or None, default=None
        The folder that `files` were found in; None looks at their own names alone.
    suffix : str or None, default=None
        What a mask's stem has in addition: with "_mask" ``x_mask.png`` is the mask of ``x``, and
        ``x_mask_1.png``, ``x_mask_2.png``, ... are more of it. With "" these are ``x.png``,
        ``x_1.png``, ``x_2.png``. None expects one file an image, with its stem.

    Returns
    -------
    matches : dict of int -> list of Path
        Positions of images that have masks, ascending, and the files of each, in natural order.

    Raises
    ------
    ValueError
        If a file fits no image or several, or two files fit one and `suffix` does not say that
        they are parts of one mask. All such files are named (the first ten).

    Examples
    --------
    >>> match_names(["m/b.png"], ["a", "b"])
    {1: [PosixPath('m/b.png')]}
    >>> sorted(match_names(["a_mask.png", "a_mask_1.png"], ["a", "b"], suffix="_mask"))
    [0]
    """
    if suffix is not None and not isinstance(suffix, str):
        raise TypeError(message("mask_suffix", "a string or None", suffix))
    if not len(files):
        return {}
    names = _Names(ids)
    found, strangers, problems = {}, [], []
    for file in map(Path, files):
        name = file.relative_to(folder).as_posix() if folder is not None else file.name
        parts = safe_parts(without_suffix(name)) or ("_",)
        fits, whole = names.fitting(parts, suffix)
        if not fits:
            strangers.append((file, parts[-1]))
        elif len(fits) > 1:
            shown = ", ".join(names.ids[i] for i in fits[:3]) + ", ..." * (len(fits) > 3)
            problems.append(
                f"The mask {str(file)!r} fits {len(fits)} images ({shown}). Put it into the folder "
                "of its image, as in masks/<class>/."
            )
        else:
            found.setdefault(fits[0], []).append((file, parts[-1], whole))
    problems += [problem for fitting in found.values() if (problem := _doubled(fitting, suffix))]
    if strangers:
        shown = ", ".join(repr(str(file)) for file, _ in strangers[:LISTED])
        problems.append(
            f"{len(strangers)} masks fit no image: {shown}. "
            + names.remedy(strangers[0][1], suffix)
        )
    if problems:
        more = f" And {len(problems) - LISTED} more." if len(problems) > LISTED else ""
        raise ValueError(" ".join(problems[:LISTED]) + more)
    return {
        i: sorted((file for file, *_ in found[i]), key=lambda file: natural_key(file.name))
        for i in sorted(found)
    }


def is_mask_name(stem: str, suffix: str | None) -> bool:
    """Whether a file's stem is that of a mask beside its image.

    Parameters
    ----------
    stem : str
        Name of a file without its suffix.
    suffix : str or None
        What masks have in their names in addition. None is nothing.

    Returns
    -------
    bool

    Examples
    --------
    >>> is_mask_name("x_mask_2", "_mask"), is_mask_name("x", "_mask"), is_mask_name("x_1", "")
    (True, False, False)
    """
    return bool(suffix) and _untagged(safe_part(stem), suffix) is not None


def _untagged(stem, suffix):
    """What stands before `suffix` and a number in a stem, None if they do not end it."""
    found = re.fullmatch(rf"(.+?){re.escape(safe_part(suffix))}(?:[_-]?\d+)?", stem, re.DOTALL)
    return found and found[1]


class _Names:
    """Ids by what a mask may be named."""

    def __init__(self, ids):
        self.ids = [str(name) for name in ids]
        self.parts = [safe_parts(name) or ("_",) for name in self.ids]
        self.whole = {parts: i for i, parts in enumerate(self.parts)}
        self.by_stem = {}
        for i, parts in enumerate(self.parts):
            self.by_stem.setdefault(parts[-1], []).append(i)

    def fitting(self, parts, suffix):
        """Positions of the images that a mask's path fits, and whether its whole stem did."""
        tagged = None if suffix is None else _untagged(parts[-1], suffix)
        ways = [(parts, True)]
        if tagged is not None:
            # Without a word of its own a number is part of the image's name, if there is one.
            ways.insert(0 if suffix else 1, ((*parts[:-1], tagged), False))
        for way, whole in ways:
            fits = self._fitting(way)
            if fits:
                return fits, whole
        fits = self._written.get(parts[-1])
        return [] if fits is None else [fits], True

    @functools.cached_property
    def _written(self):
        """Stems of the files that we write for images, as proposals: somebody draws in them."""
        names = file_names(self.ids, ".png")
        return {same_form(without_suffix(name)): i for i, name in enumerate(names)}

    def _fitting(self, parts):
        if parts in self.whole:
            return [self.whole[parts]]
        above = parts[:-1]
        return [
            i
            for i in self.by_stem.get(parts[-1], [])
            if _within(above, self.parts[i][:-1]) or _within(self.parts[i][:-1], above)
        ]

    def remedy(self, stem, suffix):
        """What may be meant by the stem of a mask that fits nothing."""
        starts = [known for known in self.by_stem if stem.startswith(known) and known != stem]
        if starts:
            tag = re.sub(r"[_-]?\d+$", "", stem[len(max(starts, key=len)) :])
            if suffix != tag and not tag.isalnum():
                return (
                    f"A mask must have its image's stem; if {tag!r} is what masks have in "
                    f"addition, say mask_suffix={tag!r} (--mask-suffix {tag or repr(tag)})."
                )
        meant = did_you_mean(stem, self.by_stem)
        more = "" if not suffix else f" and {suffix!r}"
        return f"A mask must have its image's stem{more}. {meant}".rstrip()


def _within(few, many):
    """Whether the names `few` stand among `many`, in their order."""
    rest = iter(many)
    return all(name in rest for name in few)


def _doubled(fitting, suffix):
    """What is wrong with several files for one image, or None."""
    stems = {}
    for file, stem, whole in fitting:
        # one mask is either drawn in one file, or in files that say so
        key = stem if suffix is not None and (not whole or not suffix) else None
        if key in stems or (stems and (None in stems or key is None)):
            other = stems.get(key, next(iter(stems.values())))
            return (
                f"Two masks fit one image: {str(other)!r} and {str(file)!r}. Keep one, or say what "
                "parts of one mask have in their names with mask_suffix= (--mask-suffix)."
            )
        stems[key] = file
    return None
