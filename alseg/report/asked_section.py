"""The section of a comparison's report that shows what was asked first."""

import io
from html import escape

import numpy as np

from alseg.report.page import embedded, note, section
from alseg.report.pictures import fit_within, outline

_MOST_THUMBS = 12


def asked_section(comparison, images=None):
    """What each row asked first, with pictures where the images are at hand."""
    masks, without = None, without_data(comparison)
    if images is False:
        images = None
    elif images is not None:
        without = ""
    elif comparison.train is not None:
        images, masks = comparison.train.images, comparison.train.masks
    seed = comparison.seeds[0]
    chains = {
        name: {
            r["round"]: r for r in comparison.records if r["strategy"] == name and r["seed"] == seed
        }
        for name in comparison.names
    }
    parts = []
    starts = [chain[0] for chain in chains.values() if 0 in chain]
    if starts:
        title = f"Seed {seed} starts from"
        parts.append(_asked_group(title, starts[0], images, masks))
    for name, chain in chains.items():
        if 1 in chain:
            parts.append(_asked_group(f"{name} asks", chain[1], images, masks))
    return (
        section(
            "What was asked first",
            note(
                f"The first questions of each row, with seed {seed}. Rows with one estimator and "
                "augmenter asked the same model."
                + (" Outlined: the expert's answer." if masks is not None else "")
            ),
            note(without) if without else "",
            f'<div class="groups">{"".join(parts)}</div>',
        )
        if parts
        else []
    )


def without_data(comparison):
    """Why there are no pictures and no patients, where the data are not at hand."""
    if not (comparison.train is None and comparison.test is None):
        return ""
    return (
        "Pictures and intervals for other patients are missing, because this page was written "
        "without the data: alseg report FOLDER --data DATA, or read_comparison(folder, data)."
    )


def _asked_group(title, record, images, masks):
    asked = record.get("asked") or [
        {"sample_id": i, "id": str(i)} for i in record.get("sample_ids", [])
    ]
    cards = []
    for item in asked[:_MOST_THUMBS]:
        name, label = str(item.get("id", item["sample_id"])), item.get("label")
        text = name if label is None else f"{name} · {label}"
        shown = ""
        if images is not None:
            shown = _thumbnail(item["sample_id"], text, images, masks)
        cards.append(f"<figure>{shown}<figcaption>{escape(text)}</figcaption></figure>")
    left = len(asked) - _MOST_THUMBS
    more = f'<p class="soft note">and {left} more</p>' if left > 0 else ""
    return (
        f'<section><h3>{escape(title)}</h3><div class="thumbs">{"".join(cards)}</div>{more}'
        "</section>"
    )


def _thumbnail(sample_id, name, images, masks, side=200):
    from PIL import Image

    image = images(sample_id) if callable(images) else images[sample_id]
    mask = None if masks is None else masks[sample_id]
    picture = fit_within(image, side) if mask is None else outline(image, mask, side)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(
        buffer, format="JPEG", quality=80, optimize=True
    )
    return embedded(buffer.getvalue(), "jpeg", name)
