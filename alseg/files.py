"""The one door for writing: whole files or none, in folders that are ours, nothing of the user's."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import threading
import time
import unicodedata
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import numpy as np

from alseg.validation import message

try:
    import fcntl
except ImportError:  # Windows has no fcntl: there two commands in one folder are not told apart
    fcntl = None

LEDGER = ".alseg-files"
_TEMPORARY = re.compile(r"\.alseg-[0-9a-f]{12}\.tmp(\.\w{1,16})?")
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


# -- places and errors ----------------------------------------------------------------------------


def check_inside(path, folder):
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
    alseg.files.OutsideFolder: path must be inside 'state', got 'state/../photo.png'.
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
def naming(path, verb="written"):
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
        remedy = _REMEDIES.get(error.errno)
        try:
            named = kind(f"{text} {remedy}" if remedy else text)
        except TypeError:  # a kind with arguments of its own
            named = OSError(f"{text} {remedy}" if remedy else text)
        named.errno = errno.EIO if error.errno is None else error.errno
        raise named from error


def _not_ours(path, remedy="Move it away, or name another place."):
    error = NotOurs(f"{path} is there and alseg did not write it, or it was changed since. {remedy}")
    error.errno = errno.EEXIST
    return error


# -- whole files ----------------------------------------------------------------------------------


def make_folder(path):
    """Make a folder, with those up to it, unless it is there; an error names it."""
    with naming(path):
        Path(path).mkdir(parents=True, exist_ok=True)


@contextmanager
def replacing(path, inside=None, *, marker=None, durable=True):
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
            raise _not_ours(path)
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


def write_bytes(path, data, inside=None, *, marker=None, durable=True):
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
    with replacing(path, inside, marker=marker, durable=durable) as temporary:
        with open(temporary, "wb") as file:
            file.write(data)
    return Path(path)


def write_text(path, text, inside=None, *, marker=None):
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


def write_json(path, value, inside=None, *, marker=None):
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


def write_csv(path, header, rows, inside=None, *, marker=None):
    """Write a table as CSV whose cells no spreadsheet takes for formulas. See `defuse`.

    Parameters
    ----------
    path : str or Path
    header : list
    rows : iterable of list
    inside : str, Path or None, default=None
    marker : str, callable or None, default=None

    Returns
    -------
    path : Path
    """
    return write_text(path, csv_text(header, rows), inside, marker=marker)


def has_marker(path, marker):
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


def is_temporary(name):
    """Whether a file name is one that `replacing` makes up."""
    return bool(_TEMPORARY.fullmatch(name))


def sweep(folder):
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
            _flock(held)
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
            _flock(held)
            if temporary.exists():  # else it was swept before it was locked
                return temporary, held
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return temporary, held  # a file system without locks
        os.close(held)


def remove_tree(path, inside):
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


def files_below(folder):
    """Paths of all files in a folder and its subfolders, relative to it, in order."""
    folder = Path(folder)
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(path.relative_to(folder) for path in found)


def remove_files(folder, names):
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
        _remove_empty(folder)


def _flock(descriptor):
    if fcntl is not None:
        # The system drops the lock when the process ends, however it ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


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


# -- files that grow ------------------------------------------------------------------------------


def lock(file):
    """Lock an open file for this process alone, until it is closed or the process ends.

    Parameters
    ----------
    file : file object

    Raises
    ------
    FolderInUse
        If another process holds the lock.
    """
    try:
        _flock(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return  # a file system without locks
        raise FolderInUse(
            f"{file.name} is in use by another run. Wait for it, end it, or use another output "
            "folder."
        ) from error


class AppendOnly:
    """A file that only grows, locked, and known to be the one that stands at its path.

    Parameters
    ----------
    path : str or Path
        Made if it is not there, with the folders up to it.

    Attributes
    ----------
    path : Path
    size : int
        In bytes, as we know it.

    Raises
    ------
    FolderInUse
        If another process has it open.
    OSError
        If it cannot be written to.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._file, self._torn = None, False
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b", buffering=0)
        try:
            lock(self._file)
            self.size = os.fstat(self._file.fileno()).st_size
            self.check()
        except BaseException:
            self.close()
            raise

    def read(self):
        """All that is in it, as bytes."""
        with naming(self.path, "read"):
            self._file.seek(0)
            return self._file.read()

    def check(self):
        """See that the open file is still the one at the path, and as long as we left it.

        Raises
        ------
        OSError
            If the file or its folder was removed, replaced, or written to by somebody else.
        """
        mine = os.fstat(self._file.fileno())
        try:
            there = os.stat(self.path)
        except OSError:
            there = None
        if there is None:
            what = "was removed while it was being written"
        elif (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            what = "was replaced while it was being written"
        elif mine.st_size != self.size:
            what = (f"was changed while it was being written: {mine.st_size} bytes long, not "
                    f"{self.size}")  # fmt: skip
        else:
            return
        error = OSError(f"{self.path} {what}. What was written since is lost: give the command again.")
        error.errno = errno.ESTALE
        raise error

    def append(self, data, durable=True):
        """Write bytes at the end.

        After an error a part of them may stand there, which the next call takes away.

        Parameters
        ----------
        data : bytes
        durable : bool, default=True
            Whether they are on the disk when this returns.

        Raises
        ------
        OSError
            See `check`, or if they cannot be written.
        """
        if self._torn:
            self.cut(self.size)
        self.check()
        with naming(self.path):
            self._torn = True
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            if durable:
                os.fsync(self._file.fileno())
            self._torn = False
        self.size += len(data)
        self.check()

    def cut(self, size):
        """Take away what stands beyond a number of bytes."""
        with naming(self.path):
            self._file.truncate(size)
            os.fsync(self._file.fileno())
        self.size, self._torn = size, False

    def close(self):
        """Close the file, which unlocks it."""
        if self._file is not None:
            self._file.close()
            self._file = None


# -- folders of ours among the user's files -------------------------------------------------------


class OwnFolder:
    """A folder to write to in which other people's files may lie too, and stay as they are.

    A ledger, `.alseg-files`, says what we wrote: name, size and SHA-256, a line a file, before the
    file takes its place. A file that the ledger does not name, or whose content it does not know,
    is somebody else's: it is never replaced and never deleted.

    Parameters
    ----------
    path : str or Path
        Made if it is not there. Locked against a second command until `close`.

    Attributes
    ----------
    path : Path

    Raises
    ------
    FolderInUse
        If another command writes to it.
    OSError
        If it cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place, OwnFolder(place) as folder:
    ...     first = folder.write("masks/a.txt", b"ours")
    ...     again = folder.write("masks/a.txt", b"ours, newer")
    ...     size = Path(place, "masks/a.txt").write_text("the user's own work")
    ...     gone = folder.remove("masks/a.txt")
    ...     left = Path(place, "masks/a.txt").read_text()
    >>> first, again, gone, left
    (True, True, False, "the user's own work")
    """

    def __init__(self, path):
        self.path = Path(path)
        self._guard = threading.RLock()
        self._known = {}  # name: {(size, sha256), ...}, all contents of ours that it may have
        self._ledger = AppendOnly(self.path / LEDGER)
        try:
            data = self._ledger.read()
            for line in data.split(b"\n"):
                self._learn(line)
            if data and not data.endswith(b"\n"):  # cut by a kill, before its file took its place
                self._ledger.append(b"\n", durable=False)
        except BaseException:
            self.close()
            raise

    def _learn(self, line):
        try:
            entry = json.loads(line)
            name = entry["name"]
            if entry.get("removed"):
                self._known.pop(name, None)
            else:
                self._known.setdefault(name, set()).add((entry["size"], entry["sha256"]))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return  # what cannot be read makes nothing ours

    def _note(self, entry):
        line = json.dumps(entry).encode() + b"\n"
        self._ledger.append(line, durable=False)
        self._learn(line)

    def _target(self, name):
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or Path(name).is_absolute() or parts == (LEDGER,):
            raise OutsideFolder(message("name", f"of a file in {str(self.path)!r}", str(name)))
        return check_inside(self.path / name, self.path)

    def status(self, name):
        """Whose the file of a name is.

        Parameters
        ----------
        name : str
            Path in the folder, with ``/``.

        Returns
        -------
        {"absent", "ours", "foreign"}
            "foreign" if we did not write it, or if it was changed since.
        """
        target = self._target(name)
        with naming(target, "read"):
            try:
                found = os.lstat(target)
            except (FileNotFoundError, NotADirectoryError):
                return "absent"
            known = self._known.get(name, ())
            if not stat.S_ISREG(found.st_mode) or found.st_size not in {size for size, _ in known}:
                return "foreign"
            return "ours" if (found.st_size, file_digest(target)) in known else "foreign"

    def names(self):
        """Names of all that we wrote and did not remove, whatever became of it, in order."""
        return sorted(self._known)

    @contextmanager
    def replacing(self, name):
        """As the function `replacing`, for a file of the folder.

        Parameters
        ----------
        name : str
            Path in the folder, with ``/``.

        Yields
        ------
        temporary : Path

        Raises
        ------
        NotOurs
            If somebody else's file is there, of another content than the new one.
        """
        with self._guard:
            target = self._target(name)
            if self.status(name) == "foreign" and not target.is_file():
                raise _not_ours(target)
            with self._unless_there(target), replacing(target, self.path) as temporary:
                yield temporary
                size, digest = os.stat(temporary).st_size, file_digest(temporary)
                if self._holds(target, size, digest):
                    raise _Identical
                if self.status(name) == "foreign":
                    raise _not_ours(target)
                # First the ledger: a file is never ours without being named there.
                self._note({"name": name, "size": size, "sha256": digest})

    def write(self, name, data):
        """Write a file, unless it is there with this content.

        Parameters
        ----------
        name : str
            Path in the folder, with ``/``.
        data : bytes or str

        Returns
        -------
        written : bool
            False if the content was there already, whoever wrote it.

        Raises
        ------
        NotOurs
            If somebody else's file is there, of another content.
        """
        data = as_utf8(data) if isinstance(data, str) else bytes(data)
        with self._guard:
            target = self._target(name)
            size, digest = len(data), hashlib.sha256(data).hexdigest()
            if self._holds(target, size, digest):
                return False
            if self.status(name) == "foreign":
                raise _not_ours(target)
            with replacing(target, self.path) as temporary:
                with open(temporary, "wb") as file:
                    file.write(data)
                self._note({"name": name, "size": size, "sha256": digest})
            return True

    def write_json(self, name, value):
        """As `write`, of a value as indented JSON. See `jsonable`."""
        return self.write(name, json_text(value, indent=1) + "\n")

    def adopt(self, name):
        """Say that a file as it stands is ours: of an earlier version that kept no ledger.

        Parameters
        ----------
        name : str
            Of a file, or of a folder with all that is in it.
        """
        with self._guard:
            target = self._target(name)
            for path in sorted(target.rglob("*")) if target.is_dir() else [target]:
                if path.is_file() and not path.is_symlink():
                    inner = path.relative_to(self.path).as_posix()
                    if self.status(inner) != "ours":
                        self._note({"name": inner, "size": os.stat(path).st_size,
                                    "sha256": file_digest(path)})  # fmt: skip

    def remove(self, name):
        """Delete a file that we wrote, if nobody has changed it.

        Parameters
        ----------
        name : str
            Of a file; or of a folder, of which the files go that are ours and then each folder that
            is empty.

        Returns
        -------
        gone : bool
            Whether nothing is there any more.
        """
        with self._guard:
            target = self._target(name)
            if target.is_dir() and not target.is_symlink():
                for inner in [n for n in self.names() if n.startswith(f"{name}/")]:
                    self.remove(inner)
                _remove_empty(target)
                return not target.exists()
            status = self.status(name)
            if status == "ours":
                with naming(target, "removed"):
                    os.unlink(target)
            if status != "foreign" and name in self._known:
                self._note({"name": name, "removed": True})
            return status != "foreign"

    def sweep(self):
        """Remove what killed commands have left half written. See the function `sweep`."""
        folders = {str(PurePosixPath(name).parent) for name in self._known}
        for folder in {".", *folders}:
            with suppress(OutsideFolder):
                sweep(self.path if folder == "." else self._target(folder))

    def close(self):
        """Put the ledger on the disk and let the next command in."""
        self._ledger.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    @staticmethod
    def _holds(target, size, digest):
        """Whether a regular file of this content stands there."""
        try:
            found = os.lstat(target)
        except (FileNotFoundError, NotADirectoryError):
            return False
        same_size = stat.S_ISREG(found.st_mode) and found.st_size == size
        return same_size and file_digest(target) == digest

    @staticmethod
    @contextmanager
    def _unless_there(target):
        try:
            yield
        except _Identical:
            return


class _Identical(Exception):
    """What would be written is there already."""


def _remove_empty(folder):
    """Remove a folder and those in it, as far as they are empty."""
    for place, _, _ in os.walk(folder, topdown=False):
        sweep(place)
        with suppress(OSError):  # something of somebody else's is in it
            os.rmdir(place)


# -- names ----------------------------------------------------------------------------------------


_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])(\..*)?", re.IGNORECASE)
_KEPT = set(" ._-+(),=@")  # beside letters, marks and digits: harmless to shells, URLs and Windows


def file_name(identifier, suffix=""):
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
        plain == identifier and plain and len(plain.encode()) <= room
        and not plain.endswith((".", " "))
    )  # fmt: skip
    if unchanged:
        return plain + suffix
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    cut = plain.encode()[: min(room - 13, 100)].decode(errors="ignore").rstrip(". ")
    return f"{_folded(cut)}~{digest}{suffix}"


def file_names(identifiers, suffix=""):
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


# -- contents -------------------------------------------------------------------------------------


def file_digest(path):
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_utf8(text):
    """Text as UTF-8; bytes of file names that are none as their escapes, such as ``\\udcff``."""
    return text.encode("utf-8", "backslashreplace")


def defuse(cell):
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
    return cell if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", cell, re.I | re.A) else f"'{cell}"


def csv_text(header, rows):
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


def json_text(value, indent=None):
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


def read_json(path):
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
    with naming(path, "read"):
        with open(path, "rb") as file:
            data = file.read()
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} must be a JSON file, got one that is damaged: {reason}.") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(value).__name__}.")
    return value


def jsonable(value):
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
