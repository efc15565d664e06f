"""The page that shows an annotator which images to annotate, with the masks proposed."""

import io
from html import escape

from alseg.experiment.records import write_text
from alseg.report.page import embedded, page
from alseg.report.pictures import fit_within, outline

_STYLE = """<style>
.questions { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
  gap: 1.1rem; align-items: start; }
.questions .asked { margin: 0; }
.questions img { display: block; width: 100%; height: auto; border-radius: 4px; }
.questions footer { font-size: .82rem; margin-top: .5rem; overflow-wrap: anywhere; }
</style>"""


def write_question(folder, number, queries, images, proposals, state, side=640):
    """Write `index.html` about a round of questions.

    Parameters
    ----------
    folder : Path
        Of the round; proposed masks lie in it.
    number : int
        Of the round.
    queries : list of dict
        ``id``, ``image`` (path), ``label``, ``size`` and ``proposal`` (file name or None).
    images : sequence of ndarray of shape (H, W, C)
    proposals : sequence of ndarray of shape (H, W), int, or None
    state : Path
        The state folder, for the command that takes the answers.
    side : int, default=640
        Longer side of a picture.

    Returns
    -------
    path : Path
    """
    cards = []
    for i, (query, proposal) in enumerate(zip(queries, proposals, strict=True)):
        image = images[i]
        shown = fit_within(image, side) if proposal is None else outline(image, proposal, side)
        cards.append(_card(query, shown))
    count = f"{len(cards)} image{'' if len(cards) == 1 else 's'}"
    body = (
        f"{_STYLE}<h1>Round {number}: {count} to annotate</h1>"
        "<p class=\"soft\">The outline is what the model proposes now. Correct the proposed mask, "
        "or draw one anew: a picture of the image's size and name, 0 for background and 255 (or "
        "the number of the class) inside. Then:</p>"
        f"<pre>alseg add {escape(str(state))} FOLDER_OF_MASKS</pre>\n"
        f'<div class="questions">{"".join(cards)}</div>'
    )
    return write_text(folder / "index.html", page(f"Round {number}", body))


def _card(query, shown):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, format="JPEG", quality=85)
    proposed = " with the proposed outline" if query["proposal"] else ""
    image = embedded(buffer.getvalue(), "jpeg", query["id"] + proposed)
    height, width = query["size"]
    where = f'<div class="soft">{escape(query["image"] or "")}</div>'
    if query["proposal"]:
        name = escape(query["proposal"])
        where = f'<div>proposal: <a href="{name}">{name}</a></div>' + where
    return (
        f'<div class="asked"><header><b>{escape(query["id"])}</b>'
        f'<span class="soft">{escape(str(query["label"]))}</span>'
        f'<span class="soft">{width} × {height} pixels</span></header>'
        f"{image}<footer>{where}</footer></div>"
    )
