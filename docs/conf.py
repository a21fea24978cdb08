"""Sphinx: the pages of this folder, the examples, and the reference from docstrings.

Builds without a network; warnings are errors in the command of CONTRIBUTING.md.
"""

import re
import warnings

import skcode

project = "skcode"
author = "The skcode developers"
copyright = "The skcode developers"
version = release = skcode.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"

autosummary_generate = True
autodoc_typehints = "none"
# `fit()` beside the page of a class, which bears the name of the class
toc_object_entries_show_parents = "hide"
# members stand in the template of a class, without those that scikit-learn brings
numpydoc_show_class_members = False

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "matplotlib_animations": True,
    # no output for what a display or a fit returns
    "capture_repr": (),
}
# drawing to files is what a build is for
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

html_theme = "pydata_sphinx_theme"
html_title = "skcode"
html_static_path = ["_static"]
html_css_files = ["skcode.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skcode"},
    "navbar_align": "left",
    "show_nav_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def foreign_references_as_text(app, what, name, obj, options, lines):
    """What inherited docstrings refer to in the guide of scikit-learn is not on these pages."""
    text = "\n".join(lines)
    lines[:] = re.sub(r":(?:ref|term):`([^<`]*?)\s*(?:<[^>`]*>)?`", r"\1", text).split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", foreign_references_as_text)
