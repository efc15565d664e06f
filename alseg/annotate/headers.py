"""What is known of images before their pixels are read: sizes, depths, and which are broken."""

import os

from alseg.images import image_depth


class Headers:
    """Sizes and depths of images, each read once, and the images whose pixels could not be read.

    Parameters
    ----------
    images : sequence of images
        As `alseg.images.as_images` makes it.
    """

    def __init__(self, images):
        self.images = images
        self._sizes, self._depths = {}, {}
        self._broken = {}  # by position: how the file was then, and why it could not be read

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
        """Keep in mind that the pixels of an image could not be read, until its file changes."""
        self._broken[i] = self._stamp(i), str(error)

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
        return found.st_mtime_ns, found.st_size
