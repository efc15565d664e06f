"""Where alseg may write, and errors that name the file that stands in the way."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alseg._types import StrPath
from alseg.validation import message

try:
    import fcntl
except ImportError:  # Windows has no fcntl: there two commands in one folder are not told apart
    fcntl = None  # type: ignore[assignment]

_REMEDIES = {
    errno.ENOSPC: "Make room on the disk.",
    errno.EDQUOT: "Make room in your quota.",
    errno.EMFILE: "Close some, or raise `ulimit -n`.",
    errno.ENFILE: "Close some programs.",
    errno.EROFS: "Name another folder.",
    errno.EACCES: "Name another folder, or change its permissions.",
    errno.EPERM: "Name another folder, or change its permissions.",
    errno.ENAMETOOLONG: "Name a folder with a shorter path.",
}


class NotOurs(FileExistsError):
    """A file is in the way that alseg did not write, or that somebody has changed since."""


class OutsideFolder(ValueError):
    """A path leads out of the folder that it must lie in."""


class RecordsError(ValueError):
    """A file of ours that cannot be read or continued as asked."""


class FolderInUse(RecordsError):
    """Another run or command is writing to the same folder."""


def check_inside(path: StrPath, folder: StrPath) -> Any:
    """Return `path` as a Path if it lies in `folder` once every link is followed.

    All writing asks this first, so that no name, however it came about, leads elsewhere.

    Parameters
    ----------
    path : str or Path
        Need not exist.
    folder : str or Path

    Raises
    ------
    OutsideFolder
        If it is the folder itself, or lies elsewhere by ``..``, as an absolute path or by a link.

    Examples
    --------
    >>> check_inside("state/masks/a.png", "state").name
    'a.png'
    >>> check_inside("state/../photo.png", "state")
    Traceback (most recent call last):
        ...
    alseg.files.places.OutsideFolder: path must be inside 'state', got 'state/../photo.png'.
    """
    path = Path(path)
    try:
        root, parent = Path(folder).resolve(), path.parent.resolve()
        # A link that stands at the place itself would be followed by a later reader or writer.
        ends = [parent / path.name, path.resolve()]
    except (RuntimeError, OSError, ValueError) as error:  # a loop of links, a name with NUL
        raise OutsideFolder(
            message("path", f"inside {str(folder)!r}", str(path), f"{error}.")
        ) from error
    within = all(end != root and end.is_relative_to(root) for end in ends)
    if path.name in ("", "..") or not within:
        real = "" if ends[1] == path.absolute() or ".." in path.parts else f"It leads to {ends[1]}."
        raise OutsideFolder(message("path", f"inside {str(folder)!r}", str(path), real))
    return path


@contextmanager
def naming(path: StrPath, verb: str = "written"):
    """Whatever the system refuses inside, as one error of the same kind that names the file.

    Parameters
    ----------
    path : str or Path
    verb : str, default="written"
        What could not be done to it.

    Raises
    ------
    OSError
        With its number, the path, the reason and a remedy.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.strerror is None:
            raise  # it is named already
        kind = OSError if isinstance(error, NotOurs) else type(error)
        reason = (error.strerror or str(error) or kind.__name__).rstrip(".")
        text = f"{path} could not be {verb}: {reason}."
        remedy = _REMEDIES.get(error.errno or 0)
        try:
            named = kind(f"{text} {remedy}" if remedy else text)
        except TypeError:  # a kind with arguments of its own
            named = OSError(f"{text} {remedy}" if remedy else text)
        named.errno = errno.EIO if error.errno is None else error.errno
        raise named from error


def not_ours(path: StrPath, remedy: Any = "Move it away, or name another place.") -> Any:
    """The error about somebody else's file, to be raised."""
    error = NotOurs(
        f"{path} is there and alseg did not write it, or it was changed since. {remedy}"
    )
    error.errno = errno.EEXIST
    return error


def flock(descriptor: Any) -> None:
    """Lock a file for this process alone, or raise OSError at once."""
    if fcntl is not None:
        # The system drops the lock when the process ends, however it ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
