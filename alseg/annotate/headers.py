"""What is known of images before their pixels are read: sizes, depths, and which are broken."""

import json
import os
import threading
from contextlib import suppress

from alseg.files import NotOurs
from alseg.images import image_depth

UNREADABLE = "unreadable.json"
"""File of the state folder: images that could not be decoded, and how their files were then."""


class Headers:
    """Sizes and depths of images, each read once, and the images whose pixels could not be read.

    Parameters
    ----------
    images : sequence of images
        As `alseg.images.as_images` makes it.
    names : list of str, default=()
        Of the images.
    files : OwnFolder or None, default=None
        Where it is kept which of them cannot be decoded; None forgets it with the process.
    """

    def __init__(self, images, names=(), files=None):
        self.images, self._names, self._files = images, names, files
        self._sizes, self._depths = {}, {}
        self._broken = {}  # by position: how the file was then, and why it could not be read
        self._passing = (
            set()
        )  # those of them that may be read again without a change of their files
        self._lock = threading.Lock()
        if files is not None:
            self._read_notes(files.path / UNREADABLE)

    def _read_notes(self, path):
        at = {name: i for i, name in enumerate(self._names)}
        try:
            notes = json.loads(path.read_text(encoding="utf-8"))
            for name, (stamp, why) in notes.items():
                if name in at:
                    self._broken[at[name]] = tuple(stamp), str(why)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            self._broken.clear()  # found out again: it only saves time

    def size(self, i):
        """(height, width) of an image.

        Raises
        ------
        FileNotFoundError, ValueError
            If it cannot be read.
        """
        if i not in self._sizes:
            self._sizes[i] = tuple(map(int, self.images.size(i)))
        return self._sizes[i]

    def depth(self, i):
        """(channels, bits) of an image; see `alseg.images.image_depth`.

        Raises
        ------
        FileNotFoundError, ValueError
            If it cannot be read.
        """
        if i not in self._depths:
            path = self.images.path(i)
            if path is None:
                image = self.images[i]
                found = image.shape[2], 8 * image.dtype.itemsize
            else:
                found = image_depth(path)
            self._depths[i] = found
        return self._depths[i]

    def note_broken(self, i, error):
        """Keep in mind that the pixels of an image could not be read, until its file changes.

        Parameters
        ----------
        i : int
        error : Exception or str
            Why. After an error of the file system the next process tries again.
        """
        with self._lock:
            note = self._stamp(i), str(error)
            news = self._broken.get(i) != note
            self._broken[i] = note
            if isinstance(error, OSError) or note[0] is None:
                self._passing.add(i)
                return
            self._passing.discard(i)
            if news and self._files is not None:
                lasting = {k: one for k, one in self._broken.items() if k not in self._passing}
                notes = {self._names[k]: one for k, one in lasting.items()}
                with suppress(OSError, NotOurs):  # it is known here
                    self._files.write_json(UNREADABLE, notes)

    def broken(self):
        """Why images could not be read, by position."""
        for i, (stamp, _) in list(self._broken.items()):
            if self._stamp(i) != stamp:  # it is another file now
                for known in (self._broken, self._sizes, self._depths):
                    known.pop(i, None)
        return {i: why for i, (_, why) in list(self._broken.items())}

    def is_readable(self, i):
        """Whether an image can be read, as far as its header shows and is known of its pixels."""
        if i in self.broken():
            return False
        try:
            self.size(i)
        except (OSError, ValueError):
            return False
        return True

    def _stamp(self, i):
        try:
            found = os.stat(self.images.path(i))
        except (OSError, TypeError):  # gone, or no file
            return None
        # Who may read a file is none of its content, and changes its ctime alone.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size
