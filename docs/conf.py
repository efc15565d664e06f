"""Sphinx configuration. Nothing is fetched from the network.

The examples run at build, unless it is given `-D plot_gallery=0`.
"""

import os
import re
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from alseg._version import __version__

project = "alseg"
author = "The alseg developers"
copyright = "The alseg developers"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**/.*"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
default_role = "literal"  # `name` in a docstring is a name

myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "reset_modules_order": "both",
    "abort_on_example_error": True,
}

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "alseg"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "use_edit_page_button": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {"index": []}
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_title = f"alseg {release}"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Which addresses are looked at by `make links`; those of publishers refuse programs.
linkcheck_ignore = [r"https://doi\.org/.*"]
linkcheck_timeout = 20


def pages_below(page, text):
    """The pages that an index page lists: each row or line that begins with a link.

    So a list reads well where it is not built, and stands once.
    """
    if page.rpartition("/")[2] not in ("index", "start", "about"):
        return []
    found = re.findall(r"^(?:\| |- |)\[[^\]\n]+\]\(([\w/.-]+?)(?:\.md)?\)", text, flags=re.M)
    ours = (
        name for name in dict.fromkeys(found) if name.count("..") == name.count("auto_examples")
    )
    return list(ours)


def add_contents(app, page, source):
    """The contents of an index page, from the list that it shows."""
    below = pages_below(page, source[0])
    if below:
        source[0] += "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(below) + "\n```\n"


def skip_requests(app, what, name, obj, skip, options):
    """Leave out the `set_..._request` that scikit-learn gives to every estimator."""
    return True if re.fullmatch(r"set_\w+_request|get_metadata_routing", name) else None


def describe_value(app, what, name, obj, options, lines):
    """A value is described where it is defined, which may be below the package that offers it."""
    if what != "data" or type(obj).__module__.startswith("alseg."):  # an object of a class of ours
        return
    from sphinx.pycode import ModuleAnalyzer

    lines.clear()  # else that of its type
    short = name.rpartition(".")[2]
    for module in [one for one in sys.modules if one.startswith("alseg.")]:
        if vars(sys.modules[module]).get(short) is obj:
            analyzer = ModuleAnalyzer.for_module(module)
            lines += analyzer.find_attr_docs().get(("", short), [])


def shorten_citations(app, tree, page):
    """In the tables of names a citation is `[1]`, as it is where it leads."""
    from docutils import nodes

    for text in list(tree.findall(nodes.Text)):
        short = re.sub(r"\[R[0-9a-f]{8,}-(\d+)\]", r"[\1]", text)
        if short != text:
            text.parent.replace(text, nodes.Text(short))


def setup(app):
    app.connect("doctree-resolved", shorten_citations)
    app.connect("source-read", add_contents)
    app.connect("autodoc-skip-member", skip_requests)
    app.connect("autodoc-process-docstring", describe_value)
