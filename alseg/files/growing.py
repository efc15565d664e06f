"""Files that are only appended to: locked, and checked to be still the ones at their paths."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from alseg._types import StrPath
from alseg.files.places import FolderInUse, check_inside, flock, naming


def lock(file: Any) -> None:
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
        flock(file.fileno())
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return  # a file system without locks
        raise FolderInUse(
            f"{file.name} is in use by another run: a command, or a page of alseg annotate, is at "
            f"work in {os.path.dirname(file.name) or '.'}. Wait for it, end it, or use another "
            "output folder."
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
    OutsideFolder
        If it is a link that leads out of its folder.
    OSError
        If it cannot be written to.
    """

    def __init__(self, path: StrPath) -> None:
        self.path = check_inside(path, Path(path).parent)  # a link could lead to anybody's file
        self._file: Any = None
        self._torn = False
        with naming(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (see `close`)
        try:
            lock(self._file)
            self.size = os.fstat(self._file.fileno()).st_size
            self.check()
        except BaseException:
            self.close()
            raise

    def read(self) -> Any:
        """All that is in it, as bytes."""
        with naming(self.path, "read"):
            self._file.seek(0)
            return self._file.read()

    def check(self) -> None:
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
            what = (
                f"was changed while it was being written: {mine.st_size} bytes long, not "
                f"{self.size}"
            )
        else:
            return
        error = OSError(
            f"{self.path} {what}. What was written since is lost: give the command again."
        )
        error.errno = errno.ESTALE
        raise error

    def append(self, data: Any, durable: bool = True) -> None:
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

    def end_line(self) -> None:
        """End a last line that a kill has cut, so that the next one stands apart."""
        if self.size and not self.read().endswith(b"\n"):
            self.append(b"\n", durable=False)

    def cut(self, size: Any) -> None:
        """Take away what stands beyond a number of bytes."""
        with naming(self.path):
            self._file.truncate(size)
            os.fsync(self._file.fileno())
        self.size, self._torn = size, False

    def close(self) -> None:
        """Close the file, which unlocks it."""
        if self._file is not None:
            self._file.close()
            self._file = None
