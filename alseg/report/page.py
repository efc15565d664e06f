"""Parts of an HTML page that loads nothing from elsewhere: style, pictures, figures, facts."""

import base64
import io
import json
import re
from html import escape
from pathlib import Path

from alseg.files import as_utf8, digest_of, write_text
from alseg.threads import warnings_ignored

STYLE = """
:root { color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --ink: #1b1d22; --soft: #626874; --line: #e3e4e1;
  --c1: #1f5fbf; --c2: #b4531a; --c3: #00735a; --c4: #97408a; --c5: #7d6100; --c6: #17749a;
  --c7: #a8324c; }
@media (prefers-color-scheme: dark) { :root {
  --page: #14161a; --card: #1c1f25; --ink: #e8e9ec; --soft: #9da4b1; --line: #31353e;
  --c1: #7fb0ff; --c2: #f0a36b; --c3: #4fc9a4; --c4: #dd9bd3; --c5: #dcbd55; --c6: #8ed4ee;
  --c7: #f58ea2; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #ccc;
  --c1: #1f5fbf; --c2: #b4531a; --c3: #00735a; --c4: #97408a; --c5: #7d6100; --c6: #17749a;
  --c7: #a8324c; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 650; letter-spacing: -.01em;
  margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; line-height: 1.3; font-weight: 650; margin: 3rem 0 .75rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 2rem 0 .5rem; }
p { margin: 0 0 .75rem; max-width: 42rem; }
.soft, caption, figcaption, summary { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr));
  margin: 2rem 0 0; padding: 0; border-top: 1px solid var(--line); }
.facts div { padding: .9rem 1rem .2rem 0; }
.facts dt { color: var(--soft); font-size: .82rem; white-space: nowrap; }
.facts dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.facts small { font-size: .82rem; font-weight: 400; color: var(--soft); }
figure { margin: 0; }
.curve svg { display: block; width: 100%; height: auto; }
.curve .narrow { display: none; }
.curve figcaption { font-size: .85rem; margin-top: .5rem; max-width: 42rem; }
.wide-table { overflow-x: auto; }
table.small { width: auto; min-width: min(100%, 26rem); }
table { border-collapse: collapse; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); vertical-align: bottom; line-height: 1.25; }
th, td { text-align: right; padding: .42rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.asked { margin: 0 0 1.1rem; padding: .8rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; break-inside: avoid; }
.asked header { display: flex; flex-wrap: wrap; gap: .1rem .9rem; align-items: baseline;
  font-size: .88rem; margin-bottom: .6rem; }
.asked header b { font-weight: 600; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: .6rem; }
.seed { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr));
  gap: .8rem; }
.seed .asked { margin: 0; }
.seed .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.tiles img { display: block; width: 100%; height: auto; border-radius: 4px; }
.tiles figcaption { font-size: .76rem; line-height: 1.3; margin-top: .25rem; }
details { margin-top: 1rem; font-size: .88rem; }
summary { cursor: pointer; }
pre { overflow-x: auto; padding: .9rem 1rem; background: var(--card); font-size: .8rem;
  line-height: 1.45; border: 1px solid var(--line); border-radius: 8px; }
a { color: var(--c1); }
@media (max-width: 36rem) {
  main { padding: 1.75rem 1rem 3rem; }
  h1 { font-size: 1.45rem; }
  .facts { grid-template-columns: repeat(2, 1fr); }
  .round .tiles { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .curve .wide { display: none; } .curve .narrow { display: block; }
}
@media print {
  body { font-size: 11pt; } main { max-width: none; padding: 0; }
  .wide-table { overflow: visible; } th, td { padding: .25rem .3rem; font-size: 8pt; }
  h2, h3 { break-after: avoid; }
}
"""

_GENERATOR = '<meta name="generator" content="alseg">'
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""What a browser may load for a page, and run: nothing from elsewhere, and no script at all."""

# Colours that stand for CSS variables while matplotlib draws, so that one figure serves all modes.
_VARIABLES = ("ink", "soft", "line", "card", "c1", "c2", "c3", "c4", "c5", "c6", "c7")
STAND_INS = {name: f"#0102{number:02x}" for number, name in enumerate(_VARIABLES, 1)}
"""By name of the variable: what to give matplotlib as a colour inside `figure_style`."""

ROW_COLOURS = tuple(STAND_INS[f"c{number}"] for number in range(1, 8))


def page(title, body):
    """A whole HTML page around `body`, with this module's style and nothing from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{_GENERATOR}\n"
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def write_page(path, html):
    """Write a page where there is none, or one that alseg wrote and nobody has changed since.

    Parameters
    ----------
    path : str or Path
    html : str
        What `page` made. The file holds a digest of it, by which it is known again.

    Returns
    -------
    path : Path

    Raises
    ------
    NotOurs
        If another file is at `path`.
    OSError
        If it cannot be written.
    """
    digest = digest_of(as_utf8(html), 16)
    signed = _GENERATOR.replace('"alseg"', f'"alseg {digest}"')
    return write_text(path, html.replace(_GENERATOR, signed, 1), marker=_is_our_page)


def _is_our_page(path):
    data = path.read_bytes()
    found = re.search(rb'<meta name="generator" content="alseg ([0-9a-f]{16})">', data[:1000])
    if found is None:  # earlier versions had the policy alone
        return f'content="{POLICY}">'.encode() in data[:1000]
    html = data.replace(found[0], _GENERATOR.encode(), 1)
    return digest_of(html, 16) == found[1].decode()


def section(title, *parts):
    """A heading and what follows it, as a list of HTML; nothing if all parts are empty."""
    parts = [part for part in parts if part]
    return [f"<h2>{escape(title)}</h2>", *parts] if parts else []


def note(text):
    """A paragraph in small, soft letters."""
    return f'<p class="soft note">{unbroken(escape(text))}</p>'


def unbroken(html):
    """Text where no line ends between a number and its per cent.

    Examples
    --------
    >>> unbroken("95 % of it")
    '95&nbsp;% of it'
    """
    return html.replace(" %", "&nbsp;%")


def picture(path, alt):
    """An `img` element that holds the file itself."""
    path = Path(path)
    kind = "png" if path.suffix.lower() == ".png" else "jpeg"
    return embedded(path.read_bytes(), kind, alt)


def embedded(data, kind, alt):
    """An `img` element that holds the bytes of a "jpeg" or "png" file."""
    data = base64.b64encode(data).decode("ascii")
    return f'<img alt="{escape(alt)}" loading="lazy" src="data:image/{kind};base64,{data}">'


def facts(items):
    """A list of (name, value, what follows the value in small) as large numbers in a row."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in items
    )
    return f'<dl class="facts">{items}</dl>'


def details(title, content):
    """A value as JSON, folded away until a reader opens it; nothing if it is empty."""
    if not content:
        return ""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"


def duration(seconds):
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def figure_style(salt):
    """Settings for matplotlib (``rc_context``) under which `as_svg` can put CSS colours in.

    Parameters
    ----------
    salt : str
        Another one for each figure of a page: names in one SVG must not meet those in another.

    Returns
    -------
    dict of str -> value
    """
    soft, line = STAND_INS["soft"], STAND_INS["line"]
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.size": 10.5,
        "text.color": STAND_INS["ink"],
        "axes.labelcolor": soft,
        "xtick.color": soft,
        "ytick.color": soft,
        "axes.edgecolor": line,
        "grid.color": line,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
    }


def as_svg(figure, alt):
    """A figure drawn with `figure_style` as an SVG element, its colours those of the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        What it shows, for those who do not see it.

    Returns
    -------
    str
    """
    buffer, layout = io.StringIO(), figure.get_layout_engine()
    # Text stays text, so a script that matplotlib's font lacks is the reader's font's matter.
    with warnings_ignored("Glyph .* missing from", UserWarning):
        if layout is not None:
            # Once; savefig would do it twice, and layout is most of the work of a small figure.
            layout.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    # Inside tags only (text has no bare < or >): a row may be named like a piece of a style.
    font = r"(<\w+ [^<>]*?style=\"[^\"<>]*?font(?:-family)?:[^;\"'<>]*?)'[^;\"<>]*"
    svg = re.sub(font, r"\1system-ui, sans-serif", svg)
    for name, colour in STAND_INS.items():
        svg = svg.replace(colour, f"var(--{name})")
    used = set(re.findall(r"#([\w-]+)[\")]", svg))
    svg = re.sub(r'(<\w+[^<>]*?) id="([^"<>]*)"', lambda m: m[0] if m[2] in used else m[1], svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
