"""Figures as files: PDF and SVG whose text is text, the same bytes for the same figure."""

import io
from pathlib import Path

from alseg.files import write_bytes
from alseg.validation import message

_MADE_BY = "alseg figure"
_METADATA = {
    ".pdf": {"Creator": _MADE_BY, "Producer": None, "CreationDate": None},
    ".svg": {"Creator": _MADE_BY, "Date": None},
    ".png": {"Software": _MADE_BY},
}
# Fonts are embedded as they are, and letters stay letters: they can be searched, and edited.
_STYLE = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "alseg"}


def save_figure(figure, path):
    """Write a figure as PDF, SVG or PNG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure or matplotlib.axes.Axes
        Of axes the whole figure.
    path : str or Path
        Ends in ``.pdf``, ``.svg`` or ``.png``: where no file is, or a figure that this has written.

    Returns
    -------
    path : Path
        Text stays text, and no date is in it: the same figure gives the same bytes.

    Raises
    ------
    ValueError
        If the path ends otherwise.
    NotOurs
        If another file is at `path`.
    """
    import matplotlib

    kind = Path(path).suffix.lower()
    if kind not in _METADATA:
        raise ValueError(message("path", f"a file that ends in {', '.join(_METADATA)}", str(path)))
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure = getattr(figure, "figure", figure)
        figure.savefig(buffer, format=kind[1:], metadata=_METADATA[kind], dpi=200)
    return write_bytes(path, buffer.getvalue(), marker=_is_ours)


def _is_ours(path):
    return _MADE_BY.encode() in Path(path).read_bytes()
