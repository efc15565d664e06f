"""The page that shows an annotator which images to annotate, with the masks proposed."""

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from alseg.report.page import embedded, page
from alseg.report.pictures import OUTLINE_COLOURS, fit_within, outline, picture_bytes
from alseg.validation import in_shell, printable

_STYLE = """<style>
.questions { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1.1rem; align-items: start; }
.questions .asked { margin: 0; }
.questions img { display: block; width: 100%; height: auto; border-radius: 4px; }
.questions footer { font-size: .82rem; margin-top: .5rem; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: 0 0 1rem; padding: 0;
  list-style: none; font-size: .9rem; }
.legend i { display: inline-block; width: .85em; height: .85em; border-radius: 3px;
  border: 1px solid #12121c; margin-right: .4em; vertical-align: -.08em; }
</style>"""


def ask_folder(number):
    """Where the question of a round stands in a state folder.

    Examples
    --------
    >>> ask_folder(7)
    'ask/round_007'
    """
    return f"ask/round_{number:03d}"


def question_page(number, queries, images, proposals, state, class_names, side=640):
    """The page about a round of questions, one HTML file with its pictures inside.

    Parameters
    ----------
    number : int
        Of the round.
    queries : list of dict
        ``id``, ``image`` (path), ``label``, ``size`` and ``proposal`` (file name or None).
    images : sequence of ndarray of shape (H, W, C)
    proposals : sequence of ndarray of shape (H, W), int, or None
    state : Path
        The state folder, for the command that takes the answers; the page stands in
        ``ask/round_<number>`` of it.
    class_names : list of str
        Of pixel classes 1, 2, ...
    side : int, default=640
        Longer side of a picture.

    Returns
    -------
    html : str
    """
    folder = Path(state) / ask_folder(number)
    proposed = any(proposal is not None for proposal in proposals)
    cards = []
    for i, (query, proposal) in enumerate(zip(queries, proposals, strict=True)):
        image = images[i]
        shown = fit_within(image, side) if proposal is None else outline(image, proposal, side)
        cards.append(_card(query, shown, folder))
    count = f"{len(cards)} image{'' if len(cards) == 1 else 's'}"
    body = (
        f"{_STYLE}<h1>Round {number}: {count} to annotate</h1>"
        f'<p class="soft">{_how(proposed, class_names)} Then:</p>'
        f"<pre>alseg add {escape(in_shell(state))} FOLDER_OF_MASKS</pre>\n"
        f"{_legend(class_names)}"
        f'<div class="questions">{"".join(cards)}</div>'
    )
    return page(f"Round {number}", body)


def _how(proposed, class_names):
    """How a mask has to look."""
    start = "Draw a mask of each: "
    if proposed:
        start = (
            "The outline is what the model proposes now. Correct the proposed mask, or draw one "
            "anew: "
        )
    start += "a picture of the image's size and name (PNG), 0 for background"
    if len(class_names) == 1:
        return f"{start} and 255 inside, or ink of any colour on a transparent layer."
    numbers = (f"{k} for {escape(name)}" for k, name in enumerate(class_names, 1))
    return f"{start}, {', '.join(numbers)}."


def _legend(class_names):
    """Colours and numbers of the classes, where there is something to tell."""
    items = []
    for k, name in enumerate(class_names, 1):
        colour = "#{:02x}{:02x}{:02x}".format(*OUTLINE_COLOURS[(k - 1) % len(OUTLINE_COLOURS)])
        value = f" = {k}" if len(class_names) > 1 else ""
        items.append(f'<li><i style="background:{colour}"></i>{escape(name)}{value}</li>')
    return f'<ul class="legend">{"".join(items)}</ul>'


def _card(query, shown, folder):
    proposed = " with the proposed outline" if query["proposal"] else ""
    name = printable(query["id"])
    image = embedded(picture_bytes(shown, "JPEG", quality=85), "jpeg", name + proposed)
    height, width = query["size"]
    label = "" if query["label"] is None else printable(str(query["label"]))
    where = f'<div class="soft">{_link(query["image"], folder)}</div>'
    if query["proposal"]:
        file = query["proposal"]
        where = f'<div>proposal: <a href="{quote(file)}">{escape(file)}</a></div>' + where
    return (
        f'<div class="asked"><header><b>{escape(name)}</b>'
        f'<span class="soft">{escape(label)}</span>'
        f'<span class="soft">{width} × {height} pixels</span></header>'
        f"{image}<footer>{where}</footer></div>"
    )


def _link(path, folder):
    """A path as a link to the image itself, relative where that is possible."""
    if not path:
        return ""
    try:
        target = os.path.relpath(path, folder)
    except ValueError:  # another drive
        target = path
    address = quote(os.fsencode(target.replace(os.sep, "/")))
    return f'<a href="{address}">{escape(printable(path))}</a>'
