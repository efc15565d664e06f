"""A CSV that names images, and their masks, labels, parts and groups."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from alseg._types import StrPath
from alseg.datasets._names import LISTED, safe_ids, same_form
from alseg.validation import did_you_mean, message

_KNOWN = ("image", "mask", "label", "split", "group", "patient", "fold")
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_ENCODINGS = ("cp1252", "latin-1")  # tried where it is not UTF-8, and kept if the files are there


def read_manifest(path: StrPath) -> Any:
    """A manifest as a dict of columns, each an (n,) object array of str.

    `image` and `mask` become paths (or None) beside the manifest; `id`, `label`, `split` and
    `group` are always there (`group` may be None, and a label that is not given is). Commas, or
    semicolons or tabs where the header has those; UTF-8, or the western European encodings of 8
    bits where that makes all files found.

    Raises
    ------
    FileNotFoundError, ValueError
        If a column or a file is missing, a row has more or fewer fields than the header, or an
        image stands twice. Every message names the file, and the line.
    """
    path = Path(path)
    texts = list(_decoded(path.read_bytes()))
    for k, text in enumerate(texts):
        try:
            return _table(path, text)
        except FileNotFoundError as error:
            if len(texts) == 1:
                raise
            if k == len(texts) - 1:
                remedy = "It is not in UTF-8, which may be why: save it as 'CSV UTF-8'."
                raise FileNotFoundError(f"{error} {remedy}") from None


def _decoded(raw):
    """The texts that bytes may stand for, the likeliest first."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        yield raw.decode("utf-16", errors="replace")
        return
    try:
        yield raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        for encoding in _ENCODINGS:
            with contextlib.suppress(UnicodeDecodeError):
                yield raw.decode(encoding)


def _table(path, text):
    header, rows, lines = _rows(path, text)
    where = repr(str(path))
    table = {}
    for k, column in enumerate(header):
        if column and column != "instances":  # a name of ours for what loaders add
            table[column] = np.array([row[k] for row in rows], dtype=object)
    named = [given.replace("\\", "/") for given in table["image"]]
    for k, given in enumerate(named):
        if not given:
            raise ValueError(
                f"{where} names no image in line {lines[k]}. Name one, or delete the line."
            )
    table["id"] = np.array(safe_ids(named), dtype=object)
    masks = [given.replace("\\", "/") for given in table.get("mask", [])]
    table.update(_found(path, {"image": named, "mask": masks}, lines))
    _check_once(where, table, named, lines)
    if "label" not in table:
        table["label"] = np.full(len(rows), None, dtype=object)
    table["label"][table["label"] == ""] = None
    table.setdefault("split", np.full(len(rows), "", dtype=object))
    table["group"] = table.get("group", table.get("patient"))
    if table["group"] is not None:  # whose patient is not known is nobody else's
        table["group"] = np.where(table["group"] == "", table["id"], table["group"])
    return table


def _found(path, columns, lines):
    """Columns of files, each None or where it is; all that are missing are told at once."""
    find = _Finder(path.parent)
    found, missing = {}, []
    for column, names in columns.items():
        found[column] = np.full(len(lines), None, dtype=object)
        for k, given in enumerate(names):
            if given:
                found[column][k] = find(given)
                if not os.path.isfile(found[column][k]):
                    missing.append(f"{found[column][k]!r} (line {lines[k]})")
    if missing:
        shown = ", ".join(missing[:LISTED])
        raise FileNotFoundError(
            f"{str(path)!r} names {len(missing)} files that do not exist: {shown}. Relative paths "
            "start at the manifest's folder."
        )
    return found


def _rows(path, text):
    """Header, rows as long as it, and the line of the file in which each starts."""
    where = repr(str(path))
    if "\0" in text:
        line = len((text[: text.index("\0")] + ".").splitlines())
        raise ValueError(f"{where} cannot be read as CSV: line {line} holds a NUL byte.")
    separator = _separator(text)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    header, rows, lines, start = None, [], [], 1
    try:
        for row in reader:
            row = [cell.strip() for cell in row]
            if any(row):
                if header is None:
                    header = _checked_header(where, row, start)
                elif len(row) != len(header):
                    remedy = "Put quotes around a name that holds the separator."
                    raise ValueError(
                        f"{where} has {len(row)} fields in line {start} and {len(header)} in its "
                        f"header. {remedy}"
                    )
                else:
                    rows.append(row)
                    lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{where} cannot be read as CSV: line {start}: {error}.") from None
    if header is None:
        raise ValueError(f"{where} cannot be read as CSV: it is empty.")
    if not rows:
        raise ValueError(f"{where} has no rows. Write one an image below its header.")
    return header, rows, lines


def _separator(text):
    """Commas, or what else the header is made with."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    if "," not in header:
        for separator in _SEPARATORS:
            if "image" in (cell.strip().strip('"') for cell in header.split(separator)):
                return separator
    return ","


def _checked_header(where, header, line):
    for column in header:
        if column and header.count(column) > 1:
            raise ValueError(f"{where} has the column {column!r} twice in line {line}. Rename one.")
    for column in header:
        meant = column.casefold()
        meant = meant if meant in _KNOWN or meant.startswith("fold") else meant.removesuffix("s")
        if column not in _KNOWN and meant in _KNOWN and meant not in header:
            rule = f"named as one of {list(_KNOWN)}"
            remedy = f"Did you mean {meant!r}?"
            raise ValueError(message(f"The columns of {where}", rule, column, remedy))
    if "image" not in header:
        remedy = did_you_mean("image", header)
        remedy = f"Rename {remedy[13:-1]}." if remedy else "Its first line names the columns."
        raise ValueError(message(where, "a CSV with a column 'image'", header, remedy))
    return header


def _check_once(where, table, named, lines):
    """Refuse an image that stands twice, however it is written, or that is its own mask."""
    folders, first = {}, {}
    for k, file in enumerate(table["image"]):
        key = _identity(file, folders)
        if key in first:
            other = first[key]
            written = [repr(named[i]) for i in (other, k)]
            shown = written[0] if written[0] == written[1] else " and ".join(written)
            raise ValueError(
                f"{where} names one image more than once, in lines {lines[other]} and {lines[k]}: "
                f"{shown}. Keep one of the lines."
            )
        first[key] = k
    for k, mask in enumerate(table["mask"]):
        if mask is not None and _identity(mask, folders) == _identity(table["image"][k], folders):
            raise ValueError(f"{where} names one file as image and mask in line {lines[k]}.")


def _identity(file, folders):
    """The file that a path leads to, links followed; `folders` keeps what was found of folders."""
    if os.path.islink(file):
        return os.path.realpath(file)
    folder, name = os.path.split(file)
    if folder not in folders:
        folders[folder] = os.path.realpath(folder)
    return os.path.join(folders[folder], name)


class _Finder:
    """Paths as a manifest writes them to files: beside it, in whatever Unicode form."""

    def __init__(self, folder):
        self.folder = str(folder)
        self._listed = {}

    def __call__(self, given):
        # joining keeps what is absolute; a user that there is not is a name like another
        path = os.path.join(self.folder, os.path.expanduser(given))
        if os.path.exists(path):
            return path
        whole = os.sep if os.path.isabs(path) else ""
        for part in path.split(os.sep):
            exact = os.path.join(whole, part)
            whole = exact if os.path.exists(exact) else self._in_other_form(whole, part)
            if whole is None:
                return path
        return whole

    def _in_other_form(self, folder, part):
        if folder not in self._listed:
            try:
                names = os.listdir(folder or ".")
            except OSError:
                names = []
            self._listed[folder] = {}
            for name in names:
                self._listed[folder].setdefault(same_form(name), []).append(name)
        fits = self._listed[folder].get(same_form(part), [])
        if len(fits) > 1:
            both = " and ".join(ascii(os.path.join(folder, name)) for name in fits)
            raise ValueError(
                f"Two files differ in the Unicode form of their names alone: {both}. Rename one."
            )
        return os.path.join(folder, fits[0]) if fits else None
