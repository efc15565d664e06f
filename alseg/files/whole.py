"""Whole files or none: written beside their place, synced, and moved there."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alseg._types import Function, StrPath
from alseg.files.contents import as_utf8, json_text
from alseg.files.places import check_inside, fcntl, flock, naming, not_ours

_TEMPORARY = re.compile(r"\.alseg-[0-9a-f]{12}\.tmp(\.\w{1,16})?")


def make_folder(path: StrPath) -> None:
    """Make a folder, with those up to it, unless it is there; an error names it."""
    with naming(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(
    path: StrPath,
    inside: StrPath | None = None,
    *,
    marker: Function | str | None = None,
    durable: bool = True,
):
    """A temporary file to write to, which takes the place of `path` at the end, or never.

    A reader sees the old file or the new one, also when this process is killed or the power goes;
    an error inside leaves the old one and nothing else.

    Parameters
    ----------
    path : str or Path
        Folders up to it are made.
    inside : str, Path or None, default=None
        The folder that is ours, which it must lie in. None is the folder of `path`, for a file that
        the user has named.
    marker : str, callable or None, default=None
        How a file that is there already is known to be of alseg: by a text near its start, or by
        ``marker(path)``. Another file is somebody else's and stays.
    durable : bool, default=True
        Whether it is on the disk when this returns. False for what only saves time.

    Yields
    ------
    temporary : Path
        Of the same ending, beside `path`. The block only writes to it.

    Raises
    ------
    OutsideFolder
        If `path` leads out of `inside`.
    NotOurs
        If a folder, or a file without the marker, is at `path`.
    OSError
        If it cannot be written; the file is named.
    """
    path = check_inside(path, Path(path).parent if inside is None else inside)
    with naming(path):
        if path.is_dir() or (os.path.lexists(path) and not has_marker(path, marker)):
            raise not_ours(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if inside is None:  # nobody else sweeps there
            sweep(path.parent)
        temporary, held = _temporary(path)
        try:
            yield temporary
            if durable:
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())  # else a power cut may leave the name on an empty file
            os.replace(temporary, path)
            if durable:
                _sync_folder(path.parent)
        finally:
            try:
                with suppress(OSError):
                    os.unlink(temporary)  # gone already, unless something failed
            finally:
                if held is not None:
                    os.close(held)


def write_bytes(
    path: StrPath,
    data: Any,
    inside: StrPath | None = None,
    *,
    marker: Function | str | None = None,
    durable: bool = True,
) -> Any:
    """Write a whole file or leave the old one. See `replacing`.

    Parameters
    ----------
    path : str or Path
    data : bytes
    inside : str, Path or None, default=None
    marker : str, callable or None, default=None
    durable : bool, default=True

    Returns
    -------
    path : Path
    """
    whole = replacing(path, inside, marker=marker, durable=durable)
    with whole as temporary, open(temporary, "wb") as file:
        file.write(data)
    return Path(path)


def write_text(
    path: StrPath, text: str, inside: StrPath | None = None, *, marker: Function | str | None = None
) -> Any:
    """Write a whole file in UTF-8 or leave the old one. See `replacing`.

    Parameters
    ----------
    path : str or Path
    text : str
        Bytes of file names that are no UTF-8 are written as their escapes.
    inside : str, Path or None, default=None
    marker : str, callable or None, default=None

    Returns
    -------
    path : Path
    """
    return write_bytes(path, as_utf8(text), inside, marker=marker)


def write_json(
    path: StrPath,
    value: Any,
    inside: StrPath | None = None,
    *,
    marker: Function | str | None = None,
) -> Any:
    """Write a value as indented JSON, a whole file or none. See `replacing` and `jsonable`.

    Parameters
    ----------
    path : str or Path
    value : object
    inside : str, Path or None, default=None
    marker : str, callable or None, default=None

    Returns
    -------
    path : Path
    """
    return write_text(path, json_text(value, indent=1) + "\n", inside, marker=marker)


def has_marker(path: StrPath, marker: Function | str | None) -> bool:
    """Whether a file is one of ours: see `replacing`.

    Parameters
    ----------
    path : Path
    marker : str, callable or None
        A text stands in the first 4096 bytes.
    """
    if marker is None or callable(marker):
        return marker is None or marker(path)
    with open(path, "rb") as file:
        return marker.encode() in file.read(4096)


def is_temporary(name: str) -> bool:
    """Whether a file name is one that `replacing` makes up."""
    return bool(_TEMPORARY.fullmatch(name))


def sweep(folder: StrPath) -> None:
    """Remove what killed commands have left half written in a folder, and nothing else.

    What a running command is writing is locked by it and stays. (Windows has no such locks: there
    what is younger than a day stays.)

    Parameters
    ----------
    folder : str or Path
        Its subfolders are not looked at.
    """
    with suppress(OSError):  # leftovers harm nobody
        for entry in list(os.scandir(folder)):
            if is_temporary(entry.name) and entry.is_file(follow_symlinks=False):
                _sweep_one(entry.path)


def _sweep_one(path):
    with suppress(OSError):
        if fcntl is None:
            if time.time() - os.stat(path).st_mtime > 86400:
                os.unlink(path)
            return
        held = os.open(path, os.O_RDWR)
        try:
            flock(held)
            os.unlink(path)
        finally:
            os.close(held)


def _temporary(path):
    """A new file beside `path`, and a descriptor that holds its lock while we live, or None."""
    suffix = path.suffix if re.fullmatch(r"\.\w{1,16}", path.suffix, re.ASCII) else ""
    while True:
        temporary = path.with_name(f".alseg-{secrets.token_hex(6)}.tmp{suffix}")
        held = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if fcntl is None:  # and Windows moves no file that is open
            os.close(held)
            return temporary, None
        try:
            flock(held)
            if temporary.exists():  # else it was swept before it was locked
                return temporary, held
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return temporary, held  # a file system without locks
        os.close(held)


def remove_tree(path: StrPath, inside: StrPath) -> None:
    """Delete a folder or file whose name we made up, and so nobody else's.

    Parameters
    ----------
    path : str or Path
        What is not there is no error.
    inside : str or Path
        The folder that is ours, which it must lie in.

    Raises
    ------
    OutsideFolder
        If `path` leads out of `inside`.
    """
    path = check_inside(path, inside)
    with naming(path, "removed"), suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            os.unlink(path)


def files_below(folder: StrPath) -> Any:
    """Paths of all files in a folder and its subfolders, relative to it, in order."""
    folder = Path(folder)
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(path.relative_to(folder) for path in found)


def remove_files(folder: StrPath, names: Any) -> None:
    """Delete files that we wrote to a folder, by name, and then the folders that are empty.

    Parameters
    ----------
    folder : str or Path
    names : iterable of str or Path
        As `files_below` gave them when we had written them. What else is in the folder stays.
    """
    folder = Path(folder)
    for name in names:
        path = check_inside(folder / name, folder)
        with naming(path, "removed"):
            path.unlink(missing_ok=True)
    if not folder.is_symlink():
        remove_empty(folder)


def _sync_folder(folder):
    """Put a folder's list of names on the disk, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # Windows; a folder that may be written to and not read
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def remove_empty(folder: StrPath) -> None:
    """Remove a folder and those in it, as far as they are empty."""
    for place, _, _ in os.walk(folder, topdown=False):
        sweep(place)
        with suppress(OSError):  # something of somebody else's is in it
            os.rmdir(place)
