"""How the masks of a data set are coded: decided once, from all files, and held to afterwards."""

from __future__ import annotations

import dataclasses
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from alseg._types import Function, StrPath
from alseg.files import digest_of, jsonable
from alseg.images.formats import Unreadable
from alseg.images.read import MASK_MAPPINGS, MAX_ID, mask_values, read_mask
from alseg.labels import MISSING
from alseg.validation import check_number, check_option, message

_WHITE = 255
_MOST_CLASSES = 101  # values up to here are classes beside 255; above they are soft edges or ids
_MIDDLE = (64, 191)  # values of a lossy file that are neither background nor foreground
_KEPT = 64  # values that a coding keeps: those that decide, and the first of the others
_SHOWN = 6
_AT_ONCE = 4  # files in memory
_REMEDIES = (
    "Say missing_value=255 (--missing-value 255) if 255 is not annotated, "
    "mask_mapping='binary' (--mask-mapping binary) if both are foreground."
)


@dataclasses.dataclass(frozen=True)
class MaskCoding:
    """What the values of a data set's mask files mean.

    Made by `decide_coding`. `MaskFiles` takes it in place of a mapping, and reads by it: a file
    that contradicts it is an error.

    Parameters
    ----------
    mapping : {"auto", None, "nonzero", "half", "binary"}, default="auto"
        What was asked for: "auto" has looked at the files, the others are those of `read_mask`.
    missing_value : int or None, default=None
        The value of pixels that are not annotated, said or found; they become `MISSING`.
    reading : {None, "ids", "binary"}, default=None
        With "auto": values are classes (or instance ids), or 255 is foreground and becomes 1.
        None where no mask has a value above 0 yet.
    values : tuple of int, default=()
        Values seen in files that are not lossy: all of a few, else those that decide.
    n_lossy : int, default=0
        Lossy files (JPEG) seen; they are rounded to 0 (background) and 255 (foreground).
    n_rounded : int, default=0
        Those among them that held other values.
    rounded : tuple of int, default=()
        These values.
    seen : frozenset of str, default=frozenset()
        Digests of the names, sizes and times of files that were looked at.

    Examples
    --------
    >>> coding = MaskCoding(reading="binary", values=(0, 255))
    >>> print(coding.describe())
    masks: 0 = background, 255 = foreground
    >>> MaskCoding.from_dict(coding.to_dict()) == coding
    True
    """

    mapping: str | None = "auto"
    missing_value: int | None = None
    reading: str | None = None
    values: tuple = ()
    n_lossy: int = 0
    n_rounded: int = 0
    rounded: tuple = ()
    seen: frozenset = dataclasses.field(default=frozenset(), compare=False, repr=False)

    def __post_init__(self):
        if self.mapping is not None:
            check_option("mapping", self.mapping, ("auto", *MASK_MAPPINGS))
        if self.missing_value is not None:
            check_number("missing_value", self.missing_value, MISSING, 2**16 - 1, integer=True)
        if self.reading is not None:
            check_option("reading", self.reading, ("ids", "binary"))

    def to_dict(self) -> Any:
        """The coding as JSON's types.

        Returns
        -------
        dict of str -> value
        """
        return jsonable(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Any) -> Any:
        """The coding of a `to_dict`.

        Parameters
        ----------
        values : dict of str -> value

        Returns
        -------
        MaskCoding

        Raises
        ------
        ValueError, TypeError
            If it is none, or a value is out of its range.
        """
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) - set(fields):
            raise ValueError(message("coding", f"a dict with keys among {list(fields)}", values))
        found = dict(values)
        for name, kind in (("values", int), ("rounded", int), ("seen", str)):
            items = found.get(name, ())
            if not isinstance(items, (list, tuple)) or not all(type(i) is kind for i in items):
                raise TypeError(message(f"coding[{name!r}]", f"a list of {kind.__name__}", items))
            if kind is int:
                for item in items:
                    check_number(f"coding[{name!r}]", item, -(2**63), 2**63 - 1, integer=True)
            found[name] = frozenset(items) if name == "seen" else tuple(items)
        for name in ("n_lossy", "n_rounded"):
            check_number(name, found.get(name, 0), 0, integer=True)
        if found.get("n_rounded") and not found["rounded"]:
            rule = "the values that were rounded"
            raise ValueError(message("coding['rounded']", rule, list(found["rounded"])))
        return cls(**found)

    def describe(self) -> Any:
        """The coding in one line, for the user.

        Returns
        -------
        str

        Examples
        --------
        >>> MaskCoding(reading="ids", values=(0, 1, 2), missing_value=255).describe()
        'masks: class ids 0, 1, 2; 255 = not annotated'
        """
        told = {
            None: "values as they are",
            "nonzero": "what is above 0 is foreground",
            "half": "what is above 127 is foreground",
            "binary": "0 = background, 1 and 255 = foreground",
        }
        parts = [self._described() if self.mapping == "auto" else told[self.mapping]]
        if self.missing_value is not None:
            parts.append(f"{self.missing_value} = not annotated")
        if self.n_rounded:
            files = f"{self.n_rounded} JPEG file{'s' if self.n_rounded > 1 else ''}"
            parts.append(f"{_spans(self.rounded)} in {files} rounded")
        return "masks: " + "; ".join(parts)

    def _described(self):
        if self.reading == "ids":
            ids = [value for value in self.values if value not in (self.missing_value, MISSING)]
            if len(ids) <= _SHOWN:
                return "class ids " + ", ".join(map(str, ids))
            return f"class ids {ids[0]} to {ids[-1]}"
        if self.reading == "binary" or (self.n_lossy and not self.values):
            lossy = "" if self.reading or self.missing_value is None else "in JPEG files "
            return f"{lossy}0 = background, 255 = foreground"
        if self.values:
            return "0 = background, and none has foreground"
        return "0 = background, 1 = foreground"

    @property
    def told(self) -> Any:
        """What a record says of it: the name of the mapping that gives the same, if any."""
        if self.missing_value is not None:
            return self.mapping, self.reading, self.missing_value
        if self.mapping != "auto":
            return self.mapping
        if self.reading == "ids":
            return ("ids", "half") if self.n_lossy else None
        return "half" if self.n_lossy else self.reading

    def read(self, path: StrPath) -> np.ndarray:
        """Read a mask file by this coding.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        mask : ndarray of shape (H, W), int16
            The class of each pixel, `MISSING` where it is not annotated.

        Raises
        ------
        FileNotFoundError, ValueError
            As `read_mask`, and if the file contradicts the coding.
        """
        if self.mapping != "auto" and self.missing_value is None:
            return read_mask(path, self.mapping)
        values, kind = mask_values(path)
        unknown = values == MISSING
        if self.missing_value is not None and kind != "lossy":  # whose values are not exact
            unknown |= values == self.missing_value
        if self.mapping == "auto":
            if kind == "lossy":
                problem = _middle(values)
                if problem:
                    raise _bad(path, problem)
                classes = values > 127
            elif kind != "ids":
                classes = values
            else:
                self._check(path, np.unique(values[~unknown]))
                classes = values == _WHITE if self.reading == "binary" else values
        else:
            classes = _mapped(path, values, kind, unknown, self.mapping)
        classes = np.where(unknown, MISSING, classes)
        if classes.max() > MAX_ID or classes.min() < MISSING:
            value = classes.max() if classes.max() > MAX_ID else classes.min()
            raise _bad(path, f"its value {value} is outside [{MISSING}, {MAX_ID}]")
        return classes.astype(np.int16)

    def _check(self, path, values):
        """Raise if a file that is not lossy holds values that the coding gives no meaning."""
        if self.reading == "ids":
            odd = [_WHITE] if _WHITE in values and values[-1] <= _WHITE else []
            odd = [value for value in odd if value not in self.values]
        else:
            odd = [v for v in values.tolist() if v not in ((0, _WHITE) if self.reading else (0,))]
        if odd:
            raise ValueError(contradiction(path, odd[-1], self))


def contradiction(path: StrPath, value: Any, coding: Any) -> Any:
    """What is said of a file that does not fit what was decided."""
    remedy = _REMEDIES if value in (1, _WHITE) else "Say what values mean with mask_mapping=."
    return (
        f"{os.fspath(path)!r} holds the value {value}, which contradicts the other files "
        f"({coding.describe()}). {remedy}"
    )


def read_coded(path: StrPath, mapping: Any) -> Any:
    """Read a mask by the name of a mapping, or by a `MaskCoding`."""
    return mapping.read(path) if isinstance(mapping, MaskCoding) else read_mask(path, mapping)


def _mapped(path, values, kind, unknown, mapping):
    """Classes by a mapping that was asked for, where some pixels are not annotated."""
    if kind in ("bilevel", "ink") or mapping is None:
        return values
    if mapping == "half":
        return values > 127
    other = values[~unknown & ~np.isin(values, (0, 1, _WHITE))]
    if mapping == "binary" and other.size:
        problem = f"it holds the value {other[0]}, where only 0, 1 and 255 may stand"
        raise _bad(path, problem)
    return values > 0


def decide_coding(
    paths: Any,
    mapping: Any = "auto",
    missing_value: int | None = None,
    known: Any = None,
    progress: Function | None = None,
) -> Any:
    """Decide what the values of mask files mean, by all of them.

    Kinds are decided apart: lossy files (JPEG) are rounded to 0 and 255, 1-bit files and ink on a
    transparent layer say themselves what is foreground, and neither changes how the values of the
    others are read. Of these {0, 255} is background and foreground; classes or ids 0, 1, 2, ...
    stay; 255 beside more than one of them is not annotated. {0, 1, 255} may mean either, and is
    refused.

    Parameters
    ----------
    paths : sequence of str, Path, None, or tuple of paths
        The mask files; None is an image without a mask.
    mapping : {"auto", None, "nonzero", "half", "binary"} or MaskCoding, default="auto"
        "auto" looks at the files; the others are taken as said. A coding is taken as `known`.
    missing_value : int or None, default=None
        Value of pixels that are not annotated.
    known : MaskCoding or None, default=None
        What was decided before: only files that it has not seen are looked at, and must agree. It
        does not count where `mapping` or `missing_value` say otherwise.
    progress : callable or None, default=None
        Called as ``progress(done, total)`` after each file.

    Returns
    -------
    coding : MaskCoding

    Raises
    ------
    ValueError
        If values are ambiguous or contradict what is known, or a lossy file has much between 0 and
        255. Files and remedies are named. A file that cannot be read is left to who reads it.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (2, 1), 255).save(folder + "/mask.png")
    ...     decide_coding([folder + "/mask.png"]).describe()
    'masks: 0 = background, 255 = foreground'
    """
    if isinstance(mapping, MaskCoding):
        known, mapping = mapping if known is None else known, "auto"
    if known is not None:
        if mapping in ("auto", known.mapping) and missing_value in (None, known.missing_value):
            mapping, missing_value = known.mapping, known.missing_value
        else:
            known = None
    if mapping != "auto":
        return MaskCoding(mapping, missing_value)
    known = MaskCoding("auto", missing_value) if known is None else known
    files = [file for path in paths if path is not None for file in _listed(path)]
    fresh = [(key, file) for file in files if (key := _key(file)) not in known.seen]
    found = _looked_at(fresh, progress)
    plain = [(file, values) for file, kind, values in found if kind == "ids"]
    lossy = [values for _, kind, values in found if kind == "lossy"]
    values = np.unique(np.concatenate([np.array(known.values, int), *(v for _, v in plain)]))
    reading, missing = _decided(values, missing_value, plain, known)
    odd = [set(one.tolist()) - {0, _WHITE} for one in lossy]
    return MaskCoding(
        "auto",
        missing,
        reading,
        _kept(values.tolist()),
        known.n_lossy + len(lossy),
        known.n_rounded + sum(map(bool, odd)),
        tuple(sorted(set(known.rounded).union(*odd))),
        known.seen | {key for key, _ in fresh if key is not None},
    )


def _listed(path):
    return path if isinstance(path, tuple) else (path,)


def _key(file):
    """What tells whether a file was looked at: its name, size and time."""
    try:
        stat = os.stat(os.path.expanduser(file))
    except OSError:
        return None
    name = os.path.basename(file)
    told = repr((name, stat.st_size, stat.st_mtime_ns)).encode(errors="surrogateescape")
    return digest_of(told, 12)


def _looked_at(fresh, progress):
    """(file, kind, its values) of files that can be read; a lossy one that is no mask: refused."""

    def look(file):
        try:
            values, kind = mask_values(file)
        except (FileNotFoundError, ValueError):
            return None  # named when it is read, or by check_pairs, with all others that are bad
        return file, kind, _unique(values), _middle(values) if kind == "lossy" else None

    found, bad = [], []
    with ThreadPoolExecutor(min(_AT_ONCE, os.cpu_count() or 1)) as pool:
        for number, one in enumerate(pool.map(look, [file for _, file in fresh]), start=1):
            if one is not None:
                found.append(one[:3])
                if one[3]:
                    bad.append(str(_bad(one[0], one[3])))
            if progress is not None:
                progress(number, len(fresh))
    if bad:
        more = f" And {len(bad) - 1} more." if len(bad) > 1 else ""
        raise ValueError(bad[0] + more)
    return found


def _unique(values):
    low, high = int(values.min()), int(values.max())
    if high - low < 2**16:  # much faster than sorting
        there = np.zeros(high - low + 1, bool)
        there[values - low if low else values] = True
        return np.flatnonzero(there) + low
    return np.unique(values)


def _decided(values, missing_value, plain, known):
    """Reading and missing value of the values of files that are not lossy."""
    try:
        reading, missing = _meaning(values, missing_value, plain, known)
    except ValueError:
        if known.reading is None:
            raise
        reading = missing = False  # what is new made it ambiguous
    if known.reading is not None and (reading, missing) != (known.reading, known.missing_value):
        if reading == "ids" == known.reading and _WHITE not in known.values:
            return reading, missing  # 255 was not there: what was read stays as it is
        for file, held in plain:
            if known.reading == "binary":
                held = held[~np.isin(held, (0, _WHITE, MISSING))]
            else:
                held = held[held == _WHITE]
            if held.size:
                raise ValueError(contradiction(file, int(held[-1]), known))
    return reading, missing


def _meaning(values, missing_value, plain, known):
    held = set(values.tolist()) - {missing_value, MISSING}
    if _WHITE not in held:
        return ("ids" if held - {0} else None), missing_value
    others = held - {0, _WHITE}
    if not others:
        return "binary", missing_value
    if max(others) > _WHITE:
        return "ids", missing_value  # so many that 255 is one of them
    if others == {1}:
        with_one, white = (_first_with(value, plain) for value in (1, _WHITE))
        holds = (
            f"{white!r} holds 1 and 255"
            if with_one == white
            else (f"{with_one!r} holds 1, {white!r} 255")
        )
        raise ValueError(f"Masks of 0, 1 and 255 may mean two things: {holds}. {_REMEDIES}")
    if missing_value is not None or max(others) >= _MOST_CLASSES:
        value = max(others)
        file = _first_with(value, plain)
        raise ValueError(
            f"{file!r} holds the value {value} where masks hold 255 too, so it is not clear what "
            "they mean. Say mask_mapping='half' (--mask-mapping half) for masks of 0 and 255 with "
            "soft edges, missing_value=255 (--missing-value 255) for classes where 255 is not "
            "annotated, or mask_mapping=None (--mask-mapping none) for ids."
        )
    return "ids", _WHITE


def _first_with(value, plain):
    """The first file that holds a value (in known files it stands too, but they have no names)."""
    return next((str(file) for file, held in plain if value in held), "a file seen before")


def _kept(values):
    """Values that a coding remembers: all of a few, else those that can decide, and the ends."""
    if len(values) <= _KEPT:
        return tuple(values)
    telling = [value for value in values if _MOST_CLASSES <= value < _WHITE][:1]
    kept = {*values[: _KEPT - 3], *telling, values[-1], *({_WHITE} & set(values))}
    return tuple(sorted(kept))


def _middle(values):
    """What is wrong with a lossy file that is no mask of background and foreground, or None."""
    low, high = _MIDDLE
    foreground = np.count_nonzero(values > 127)
    middle = np.count_nonzero((values >= low) & (values <= high))
    if not foreground and values.max() > 0:
        return (
            f"it is lossy (JPEG) and holds no foreground (255), but values up to {values.max()}: "
            "class ids do not survive this"
        )
    if middle > 16 and (middle > 0.1 * values.size or 2 * middle > foreground):
        share = middle / values.size
        return (
            f"it is lossy (JPEG), and {share:.0%} of its pixels are far from 0 (background) and "
            "255 (foreground), so it is no mask of two classes"
        )
    return None


def _bad(path, problem):
    remedy = "Save masks as PNG, or say mask_mapping= (--mask-mapping)."
    return Unreadable(repr(os.fspath(path)), problem, remedy)


def _spans(values):
    """Values in words: a few, or the low and the high ones from to."""
    if len(values) <= 3:
        shown = list(map(str, values[::-1]))
        return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    halves = [v for v in values if v <= 127], [v for v in values if v > 127]
    return " and ".join(
        str(half[0]) if len(half) == 1 else f"{half[0]} to {half[-1]}" for half in halves if half
    )
