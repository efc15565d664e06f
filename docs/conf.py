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

html_theme = "alabaster"
html_static_path = ["_static"]
html_theme_options = {
    "description": "Active learning for joint image classification and segmentation",
    "fixed_sidebar": True,
    "page_width": "1240px",
    "sidebar_width": "250px",
    "show_powered_by": False,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_title = f"alseg {release}"


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


def setup(app):
    app.connect("autodoc-skip-member", skip_requests)
    app.connect("autodoc-process-docstring", describe_value)
