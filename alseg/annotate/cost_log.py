"""What answers cost: a line for each time that somebody spent on an image."""

from alseg.validation import message

COSTS = ".alseg-costs.jsonl"
"""File of the state folder that has a line for each time that somebody spent on an image."""

_MOST = 1e9  # seconds, strokes, clicks or points on one image
_ANSWERS = ("marks", "all", "nothing", "skip", "later")


def checked_costs(seconds, strokes, clicks, points, answer):
    """What one image cost, as a line of the file holds it.

    Parameters
    ----------
    seconds : float
    strokes, clicks, points : int
    answer : str or None

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If one is no number from 0, strokes, clicks or points are not whole, or the answer is none.
    """
    if answer is not None and answer not in _ANSWERS:
        raise ValueError(message("answer", f"one of {list(_ANSWERS)}", answer))
    costs = {"seconds": seconds, "strokes": strokes, "clicks": clicks, "points": points}
    for name, value in costs.items():
        kinds = (int, float) if name == "seconds" else int
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= _MOST:
            what = "number" if name == "seconds" else "integer"
            raise ValueError(message(name, f"a finite {what} >= 0", value))
    return {**costs, "answer": answer}


def minutes_spent(line):
    """Active minutes of a line of costs; 0 where it does not say.

    Examples
    --------
    >>> minutes_spent({"seconds": 90}), minutes_spent({"seconds": None})
    (1.5, 0.0)
    """
    value = line.get("seconds")
    fine = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST
    return value / 60 if fine else 0.0
