"""Sections of a comparison's page on how it came about: questions, time, machines, versions."""

from html import escape

from alseg.files import jsonable
from alseg.report import plots
from alseg.report.page import STAND_INS, details, embedded, note, section
from alseg.report.pictures import fit_within, outline, picture_bytes
from alseg.report.row_table import seconds_and_memory
from alseg.report.shown_rows import config_of, plural, wide_and_narrow
from alseg.report.tables import lookup

_MOST_THUMBS = 12


def asked_section(shown, images):
    """The images that each row asked for first, with one seed.

    Parameters
    ----------
    shown : ShownRows
    images : sequence, callable, None or False
        See `alseg.report.write_comparison_report`.

    Returns
    -------
    list of str
        HTML; empty where no round has ended.
    """
    comparison = shown.comparison
    masks, without = None, _without_data(comparison)
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


def _without_data(comparison):
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
    image = images(sample_id) if callable(images) else images[sample_id]
    mask = None if masks is None else masks[sample_id]
    picture = fit_within(image, side) if mask is None else outline(image, mask, side)
    return embedded(picture_bytes(picture, "JPEG", quality=80, optimize=True), "jpeg", name)


def time_section(shown):
    """Seconds and memory of each row.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    seconds, memory = {}, {}
    for name in shown.comparison.names:
        rows = [r for r in shown.comparison.records if r["strategy"] == name]
        seconds[name], memory[name] = seconds_and_memory(rows)
    if not any(seconds.values()):
        return []
    colours = {"fit": STAND_INS["c1"], "query": STAND_INS["c2"]}
    height, figures = 1.0 + 0.5 * len(seconds), []
    for what, values, unit, label in (
        ("Seconds a round", seconds, "s", "seconds"),
        ("Peak memory", memory, "MiB", "MiB"),
    ):
        if not any(values.values()):
            continue
        alt = f"{what}: " + "; ".join(
            f"{name} " + ", ".join(f"{part} {value:.3g} {unit}" for part, value in row.items())
            for name, row in values.items()
        )
        drawn = wide_and_narrow(
            shown,
            what.split()[0].lower(),
            alt,
            height,
            lambda ax, values=values, label=label: plots.bars(
                values, ax, x_label=label, colours=colours
            ),
        )
        figures.append(f'<figure class="figure"><h3>{what}</h3>{drawn}</figure>')
    return section("Time and memory", *figures)


def provenance_section(shown):
    """Seeds, data, commands, machines and versions.

    Parameters
    ----------
    shown : ShownRows

    Returns
    -------
    list of str
        HTML; empty where there is nothing to say.
    """
    comparison = shown.comparison
    config = config_of(comparison)
    places = {}
    for record in comparison.records:
        if record.get("environment"):
            key = tuple(sorted((str(k), v) for k, v in record["environment"].items()))
            places[key] = places.get(key, 0) + 1
    data = lookup(config, ("data",)) or {}
    terms = [("seeds", ", ".join(map(str, comparison.seeds)))]
    if data:
        n_train, n_test = data.get("n_train", "?"), data.get("n_test", "?")
        sizes = f"{n_train} images to train on, {n_test} to test on"
        terms.append(("data", f"{data.get('name') or 'images'}: {sizes}"))
        if "train" in data:
            terms.append(("digests of the data", f"{data['train']}, {data.get('test', '')}"))
    for one in config.get("ran", ()):
        packages = ", ".join(f"{k} {v}" for k, v in one.get("versions", {}).items())
        terms.append(("run by", f"{one['command']} ({packages})" if packages else one["command"]))
    for key, n in places.items():
        place = dict(key)
        words = [f"alseg {place['alseg']}"] if "alseg" in place else []
        words += [f"{name} {place[name]}" for name in ("python", "torch", "numpy") if name in place]
        words += [str(place[name]) for name in ("device", "gpu", "processor") if place.get(name)]
        if "torch_threads" in place:
            words.append(plural(place["torch_threads"], "thread"))
        terms.append((plural(n, "record"), ", ".join(words)))
    items = "".join(f"<dt>{escape(a)}</dt><dd>{escape(str(b))}</dd>" for a, b in terms)
    return section(
        "How this was run",
        f'<dl class="terms">{items}</dl>',
        details("Rows, estimator and data", jsonable(config)),
        *(
            details(f"Machine and versions of {plural(n, 'record')}", dict(key))
            for key, n in places.items()
        ),
    )
