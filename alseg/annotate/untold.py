"""Asked pixels of which somebody said that nobody can tell, kept so that they are not asked again.

They count nothing: a line of the file says which pixel, and at which revision of its image's marks.
"""

import json

from alseg.annotate.quality import read_lines
from alseg.files import AppendOnly
from alseg.validation import message

UNTOLD = ".alseg-untold.jsonl"
"""File of the state folder that says which asked pixels nobody could tell."""

_MOST = 10**6  # revisions of an image's marks


class Untold:
    """The pixels that nobody could tell, and their file. What it is told is on the disk then.

    Parameters
    ----------
    folder : Path
        The state folder.

    Raises
    ------
    FolderInUse, OSError
        If the file cannot be written to.
    """

    def __init__(self, folder):
        self._file = AppendOnly(folder / UNTOLD)
        self._known = {}  # by name, then by row and column: the revision
        try:
            self._file.end_line()
            for line in read_lines(self._file.read()):
                self._take(line)
        except BaseException:
            self.close()
            raise

    def close(self):
        """Let another process write to the file."""
        self._file.close()

    def of(self, name):
        """(row, column) of the pixels of an image, and the revision at which each was said."""
        return dict(self._known.get(name, {}))

    def say(self, name, size, revision, row, column, told):
        """Note that nobody can tell a pixel, or take that back.

        Parameters
        ----------
        name : str
            Of the image.
        size : (int, int)
            Its height and width.
        revision : int
            Of its marks that the page has read.
        row, column : int
        told : bool
            True takes it back.

        Raises
        ------
        ValueError
            If the image has no such pixel, or a value is of another kind.
        """
        whole = {"revision": (revision, _MOST), "row": (row, size[0]), "column": (column, size[1])}
        for what, (value, most) in whole.items():
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < most:
                raise ValueError(message(what, f"an integer in [0, {most - 1}]", value))
        if not isinstance(told, bool):
            raise ValueError(message("told", "true or false", told))
        if told and (row, column) not in self._known.get(name, {}):
            return
        line = {"image": name, "revision": revision, "at": [row, column], "told": told}
        self._file.append(json.dumps(line).encode() + b"\n")
        self._take(line)

    def _take(self, line):
        name, at, revision = line.get("image"), line.get("at"), line.get("revision")
        is_pixel = isinstance(at, list) and len(at) == 2 and all(isinstance(n, int) for n in at)
        if not isinstance(name, str) or not is_pixel or not isinstance(revision, int):
            return  # damaged: the pixel is asked once more
        known = self._known.setdefault(name, {})
        if line.get("told") is False:
            known[tuple(at)] = revision
        else:
            known.pop(tuple(at), None)
