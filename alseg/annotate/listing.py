"""The gallery's list: which images there are to see, in which order, and how many of each state."""

import re
from collections import Counter, defaultdict

from alseg.validation import message

STATES = ("open", "asked", "marked", "done", "skipped", "check", "unreadable")
"""What an image may be in the gallery. A check is one of the others, too."""

SORTS = ("name", "asked", "uncertainty", "newest")


def natural(name):
    """What names are sorted by, so that "a10" comes after "a9", whatever the case of letters.

    Examples
    --------
    >>> sorted(["b1", "A10", "a9", "a"], key=natural)
    ['a', 'a9', 'A10', 'b1']
    """
    parts = re.split("([0-9]+)", name.casefold())
    return [(int(part), part) if k % 2 else (0, part) for k, part in enumerate(parts)], name


def folders_apart(names):
    """The folders that tell an image from others with the same last part of the name.

    Parameters
    ----------
    names : sequence of str
        Unique; "/" stands between their parts.

    Returns
    -------
    list of str
        As many of the last folders as are needed, "" where no other name ends alike.

    Examples
    --------
    >>> folders_apart(["a/1", "b/1", "b/2", "x/p1/left/7", "x/p2/left/7"])
    ['a', 'b', '', 'p1/left', 'p2/left']
    """
    parts = [name.split("/") for name in names]
    found, left, n_parts = [""] * len(parts), range(len(parts)), 1
    while left:
        alike = defaultdict(list)
        for i in left:
            alike["/".join(parts[i][-n_parts:])].append(i)
            found[i] = "/".join(parts[i][-n_parts:-1])
        groups = [group for group in alike.values() if len(group) > 1]
        left = [i for group in groups for i in group if len(parts[i]) > n_parts]
        n_parts += 1
    return found


class Listing:
    """Images by state, class label and name, in one of some orders. No file is read for it, but
    headers of those images that are on the page.

    Parameters
    ----------
    marks : Marks
    uncertainty : callable, default=None of all
        Of an image's position: a number in [0, 1], or None where it is not known.
    check : callable, default=None of all
        Of an image's position: None, "open" or "counted".
    older : callable, default=none
        Gives the positions of images whose uncertainty is that of an older model, a set.
    """

    def __init__(self, marks, uncertainty=lambda i: None, check=lambda i: None, older=set):
        self.marks, self.uncertainty, self.check = marks, uncertainty, check
        self.older = older
        self._errors = {}  # by position: why an image could not be read when last looked at
        self._by_name = sorted(range(len(marks.names)), key=lambda i: natural(marks.names[i]))
        self._folded = [name.casefold() for name in marks.names]
        self._folders = folders_apart(marks.names)

    def page(self, offset=0, limit=200, sort="name", state=None, label=None, find="", around=None):
        """A part of the list.

        Parameters
        ----------
        offset, limit : int
        sort : {"name", "asked", "uncertainty", "newest"}, default="name"
            "asked" has those that were asked for first, in that order; "uncertainty" the largest
            first, and those of older models, which are less sure of everything, behind those of the
            newest ones; "newest" those first whose marks were changed last. Others follow by name.
        state : str of `STATES`, or None, default=None
        label : str or None, default=None
            "" is those without a class label.
        find : str, default=""
            A part of the name, whatever the case of letters.
        around : int or None, default=None
            Position of an image whose place in the list is told.

        Returns
        -------
        page : dict
            ``images`` of this part; ``total`` of the list; ``counts`` by state, and ``all``, of
            those that `label` and `find` leave; ``at``, the place of `around` or None; ``looked``,
            how many of the list the "newest" models have looked at, "older" ones, and "none".

        Raises
        ------
        ValueError
            If `sort` or `state` is none.
        """
        if sort not in SORTS:
            raise ValueError(message("sort", f"one of {list(SORTS)}", sort))
        if state is not None and state not in STATES:
            raise ValueError(message("state", f"one of {list(STATES)}", state))
        if state == "unreadable":
            for i in range(len(self.marks.names)):
                self._look_at(i)
        statuses = self.marks.statuses()
        broken = self.marks.headers.broken()
        for i in {*self._errors, *broken}:
            statuses[i] = "unreadable"
        find, older = find.casefold(), self.older()
        order = [i for i in self._sorted(sort, older) if self._is_wanted(i, label, find)]
        counts = Counter(statuses[i] for i in order)
        counts["check"] = sum(self.check(i) is not None for i in order)
        if state == "check":
            chosen = [i for i in order if self.check(i) is not None]
        else:
            chosen = [i for i in order if state in (None, statuses[i])]
        part = chosen[offset : offset + limit]
        return {
            "total": len(chosen),
            "all": len(order),
            "counts": {name: counts[name] for name in STATES},
            "at": chosen.index(around) if around in chosen else None,
            "looked": self._looked(chosen, older),
            "images": [self._entry(i, statuses[i], broken.get(i), i in older) for i in part],
        }

    def _looked(self, chosen, older):
        n_older = sum(i in older for i in chosen)
        n_known = sum(self.uncertainty(i) is not None for i in chosen)
        return {
            "newest": max(0, n_known - n_older),
            "older": n_older,
            "none": len(chosen) - n_known,
        }

    def _is_wanted(self, i, label, find):
        return find in self._folded[i] and label in (None, self.marks.label(i) or "")

    def _sorted(self, sort, older):
        order = self._by_name
        if sort == "asked":
            place = {i: k for k, i in enumerate(self.marks.asked())}
            return sorted(order, key=lambda i: place.get(i, len(place)))
        if sort == "newest":
            newest = self.marks.changes()
            return sorted(order, key=lambda i: -newest.get(i, -1))
        if sort == "uncertainty":
            known = {i: self.uncertainty(i) for i in order}
            return sorted(order, key=lambda i: (known[i] is None, i in older, -(known[i] or 0)))
        return order

    def _look_at(self, i):
        """The size of an image; (0, 0) of one that cannot be read, which is noted."""
        try:
            size = self.marks.size(i)
        except (OSError, ValueError) as error:
            self._errors[i] = str(error)
            return 0, 0
        self._errors.pop(i, None)
        return size

    def _entry(self, i, status, error, is_older):
        height, width = self._look_at(i)
        error = self._errors.get(i, error)
        found = {
            "id": i,
            "name": self.marks.names[i],
            "folder": self._folders[i],
            "label": self.marks.label(i),
            "width": width,
            "height": height,
            "revision": self.marks.revision(i),
            "state": status,
            "ruled": self.marks.is_ruled(i),
            "uncertainty": self.uncertainty(i),
            "older": is_older,
            "check": self.check(i),
        }
        if error is not None:
            found |= {"state": "unreadable", "error": error}
        elif status == "unreadable":  # it is there again
            found["state"] = self.marks.status(i)
        return found
