"""Which page has seen the newest draft of an image: two pages may draw on one at once."""

from collections import defaultdict


class Drawing:
    """Counts the drafts of each image, and what each page has seen of them.

    Nothing of it is kept: drafts of before are seen by whoever reads them.

    Examples
    --------
    >>> drawing = Drawing()
    >>> for page in ("a", "b"):
    ...     drawing.seen(page, 7, revision=0)
    >>> drawing.may_write("a", 7, revision=0)
    True
    >>> drawing.wrote("a", 7, revision=0)
    >>> drawing.may_write("a", 7, revision=0), drawing.may_write("b", 7, revision=0)
    (True, False)
    >>> drawing.seen("b", 7, revision=0)  # it looks, and takes over
    >>> drawing.wrote("b", 7, revision=0)
    >>> drawing.may_write("a", 7, revision=0)
    False
    """

    def __init__(self):
        self._drafts = defaultdict(int)  # how many of an image at a revision
        self._seen = {}  # by page and image: revision, and how many drafts there were

    def seen(self, page, i, revision):
        """A page has got the marks of an image."""
        self._seen[page, i] = revision, self._drafts[i, revision]

    def may_write(self, page, i, revision):
        """Whether no other page has drawn since this one looked; None says not who it is."""
        n = self._drafts[i, revision]
        return page is None or not n or self._seen.get((page, i)) == (revision, n)

    def wrote(self, page, i, revision):
        """A page has written a draft."""
        self._drafts[i, revision] += 1
        self.seen(page, i, revision)
