"""Folders where alseg writes among a user's files: a ledger says which files are alseg's."""

from __future__ import annotations

import json
import os
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from alseg._types import StrPath
from alseg.files.contents import as_utf8, json_text
from alseg.files.digests import digest_of, file_digest
from alseg.files.growing import AppendOnly
from alseg.files.places import OutsideFolder, check_inside, naming, not_ours
from alseg.files.whole import remove_empty, replacing, sweep
from alseg.validation import message

LEDGER = ".alseg-files"


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

    def __init__(self, path: StrPath) -> None:
        self.path = Path(path)
        self._guard = threading.RLock()
        self._known = {}  # name: {(size, sha256), ...}, all contents of ours that it may have
        self._ledger = AppendOnly(self.path / LEDGER)
        try:
            for line in self._ledger.read().split(b"\n"):
                self._learn(line)
            self._ledger.end_line()  # of a file that did not take its place
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

    def status(self, name: str) -> Any:
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

    def names(self) -> Any:
        """Names of all that we wrote and did not remove, whatever became of it, in order."""
        return sorted(self._known)

    @contextmanager
    def replacing(self, name: str):
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
                raise not_ours(target)
            with self._unless_there(target), replacing(target, self.path) as temporary:
                yield temporary
                size, digest = os.stat(temporary).st_size, file_digest(temporary)
                if self._holds(target, size, digest):
                    raise _Identical
                if self.status(name) == "foreign":
                    raise not_ours(target)
                # First the ledger: a file is never ours without being named there.
                self._note({"name": name, "size": size, "sha256": digest})

    def write(self, name: str, data: Any) -> bool:
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
            size, digest = len(data), digest_of(data)
            if self._holds(target, size, digest):
                return False
            if self.status(name) == "foreign":
                raise not_ours(target)
            with replacing(target, self.path) as temporary:
                with open(temporary, "wb") as file:
                    file.write(data)
                self._note({"name": name, "size": size, "sha256": digest})
            return True

    def write_json(self, name: str, value: Any) -> Any:
        """As `write`, of a value as indented JSON. See `jsonable`."""
        return self.write(name, json_text(value, indent=1) + "\n")

    def adopt(self, name: str) -> None:
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
                        self._note(
                            {
                                "name": inner,
                                "size": os.stat(path).st_size,
                                "sha256": file_digest(path),
                            }
                        )

    def remove(self, name: str) -> bool:
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
                remove_empty(target)
                return not target.exists()
            status = self.status(name)
            if status == "ours":
                with naming(target, "removed"):
                    os.unlink(target)
            if status != "foreign" and name in self._known:
                self._note({"name": name, "removed": True})
            return status != "foreign"

    def sweep(self) -> None:
        """Remove what killed commands have left half written. See the function `sweep`."""
        folders = {str(PurePosixPath(name).parent) for name in self._known}
        for folder in {".", *folders}:
            with suppress(OutsideFolder):
                sweep(self.path if folder == "." else self._target(folder))

    def close(self) -> None:
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
