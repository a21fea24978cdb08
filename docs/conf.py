"""Sphinx: the pages of this folder, the examples, and the reference from docstrings.

Builds without a network, and the pages need none either; warnings are errors in the command of
CONTRIBUTING.md.
"""

import inspect
import re
import warnings
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from shutil import copyfile

import numpy as np
import sklearn
from PIL import Image, ImageOps

import skcode

project = "skcode"
author = "The skcode developers"
copyright = "The skcode developers"
version = release = skcode.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_*.md"]
templates_path = ["_templates"]
default_role = "py:obj"

autosummary_generate = True
autodoc_typehints = "none"
# `fit()` beside the page of a class, which bears the name of the class
toc_object_entries_show_parents = "hide"
# members stand in the template of a class, without those that scikit-learn brings
numpydoc_show_class_members = False

# one file, without fonts beside it, so that it also serves pages that are opened from a folder
mathjax_path = "mathjax/tex-svg.js"
# a copy holds what is typed: no prompts, and no output
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_block"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # what practitioners ask before what theorists prove; benchmarks are no gallery
    "subsection_order": ["../examples/practice", "../examples/theory"],
    # "Examples using" on the page of a class, from what the examples import
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skcode",),
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "matplotlib_animations": True,
    # figures for screens with two dots a pixel
    "image_srcset": ["2x"],
    # no output for what a display or a fit returns
    "capture_repr": (),
    # the page of times asks a network for its table
    "write_computation_times": False,
}
# drawing to files is what a build is for
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def inventory(project, names):
    """A file that tells intersphinx where pages of others are: a build asks no network for it."""
    path = Path(__file__).parent / "generated" / f"{project}.inv"
    path.parent.mkdir(exist_ok=True)
    lines = ["# Sphinx inventory version 1", f"# Project: {project}", "# Version: stable"]
    lines += [f"{name} {kind} {page}" for name, (kind, page) in names.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def names_of_sklearn():
    """Public classes and functions of the installed scikit-learn, which have a page each."""
    found = {}
    for package in sklearn.__all__:
        try:
            module = import_module(f"sklearn.{package}")
        except ImportError:
            continue
        for name in getattr(module, "__all__", ()):
            # experimental names raise where they are looked up
            thing, full = vars(module).get(name), f"sklearn.{package}.{name}"
            if callable(thing):
                kind = "class" if inspect.isclass(thing) else "function"
                found[full] = (kind, f"modules/generated/{full}.html")
    return found


SKLEARN = names_of_sklearn()
PARAMETERS = set(inspect.signature(skcode.ControlledODERegressor).parameters)
intersphinx_mapping = {
    "sklearn": ("https://scikit-learn.org/stable", inventory("sklearn", SKLEARN)),
    "numpy": (
        "https://numpy.org/doc/stable",
        inventory(
            "numpy", {"numpy.random.Generator": ("class", "reference/random/generator.html")}
        ),
    ),
}

html_theme = "pydata_sphinx_theme"
html_title = "skcode"
html_static_path = ["_static"]
html_css_files = ["skcode.css"]
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
# pages without others below them
html_sidebars = {"index": [], "getting_started": []}
html_theme_options = {
    "logo": {
        "text": "skcode",
        "alt_text": "skcode, home",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "navbar_align": "left",
    "show_nav_level": 1,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def foreign_references_as_text(app, what, name, obj, options, lines):
    """What inherited docstrings refer to in the guide of scikit-learn is not on these pages."""
    text = "\n".join(lines)
    lines[:] = re.sub(r":(?:ref|term):`([^<`]*?)\s*(?:<[^>`]*>)?`", r"\1", text).split("\n")


def defaults_beside_types(app, what, name, obj, options, lines):
    """Add ``default=...`` to the list of parameters, from the signature, which never lies."""
    try:
        parameters = inspect.signature(obj).parameters
    except (TypeError, ValueError):
        return
    section = None
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1]):
            section = line
        entry = re.fullmatch(r"(\w+) : (.+)", line)
        if section != "Parameters" or entry is None or entry[1] not in parameters:
            continue
        default = parameters[entry[1]].default
        if isinstance(default, str | int | float | tuple | None) and "default" not in line:
            shown = f'"{default}"' if isinstance(default, str) else repr(default)
            lines[i] = f"{line}, default={shown}"


def public_names():
    """Name to its place in the reference, for names that stand for one thing only.

    Names that skcode has not lead to scikit-learn's reference.
    """
    places: dict[str, set[str]] = {}
    for page in Path(__file__).parent.glob("api_*.rst"):
        package = ""
        for line in page.read_text(encoding="utf-8").splitlines():
            if match := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
                package = match[1]
            # words such as `flow` are also words
            elif match := re.fullmatch(r"   ([A-Z]\w+|\w+_\w+)", line):
                places.setdefault(match[1], set()).add(f"{package}.{match[1]}")
    own = set(places)
    for full in SKLEARN:
        name = full.rsplit(".", 1)[1]
        if name not in own and re.fullmatch(r"[A-Z]\w+|\w+_\w+", name):
            places.setdefault(name, set()).add(full)
    return {name: next(iter(found)) for name, found in places.items() if len(found) == 1}


def links_of_pages(app, docname, content):
    """Pages stay plain Markdown: names lead to the reference here, scripts to the gallery.

    A comment ``<!-- figure practice/plot_x 1: title -->`` becomes the first figure of that script.
    """
    if not (Path(app.srcdir) / f"{docname}.md").exists():
        return
    # a parameter is not the function of the same name
    names = {k: v for k, v in public_names().items() if k not in PARAMETERS}

    def name(match):
        target = names.get(match[1])
        return match[0] if target is None else f"{{py:obj}}`{match[1]} <{target}>`"

    # code blocks stay what they are, and so do headings and the texts of links
    parts = re.split(
        r"(^(?:```|:::).*?^(?:```|:::)$|^#.*?$|\[[^\]]*\])", content[0], flags=re.M | re.S
    )
    text = "".join(
        part if k % 2 else re.sub(r"(?<![`{}])`(\w+)`(?!`)", name, part)
        for k, part in enumerate(parts)
    )
    script = r"\[`?([^\]`]*)`?\]\(\.\./examples/((?:practice|theory)/plot_\w+)\.py\)"
    text = re.sub(script, r"{doc}`\1 </auto_examples/\2>`", text)

    def figure(match):
        name = f"sphx_glr_{match[2]}_{int(match[3]):03}_2_00x.png"
        picture = f"auto_examples/{match[1]}/images/{name}"
        # without a run of the gallery there is none
        if not (Path(app.srcdir) / picture).exists():
            return ""
        # the file has two dots a pixel
        with Image.open(Path(app.srcdir) / picture) as image:
            width = image.width // 2
        link = f"{{doc}}`{match[4]} </auto_examples/{match[1]}/{match[2]}>`"
        return f"```{{figure}} /{picture}\n:alt: {match[4]}\n:width: {width}px\n\n{link}\n```"

    comment = r"<!-- figure (\w+)/(plot_\w+) (\d+): (.*?) -->"
    content[0] = re.sub(comment, figure, text)


def first_panel(picture):
    """A wide figure up to the right edge of its first panel; None if that is the only one."""
    n_panels = round(picture.width / picture.height / 1.05)
    # without titles above and legends below, which span the panels
    band = np.asarray(picture.convert("L"))[picture.height // 7 : 3 * picture.height // 4]
    frame, empty = (band < 120).mean(axis=0) > 0.6, band.min(axis=0) > 250
    margin = picture.width // 250
    for x in range(*(int(share * picture.width / n_panels) for share in (0.5, 1.2))):
        if frame[x] and empty[x + 2 : x + 2 + margin].all():
            return picture.crop((0, 0, x + 2 + margin, picture.height))
    return None


def one_panel_thumbnails(app):
    """Thumbnails of wide figures show the first panel: side by side, panels are too small."""
    for thumbnail in Path(app.srcdir).glob("auto_examples/*/images/thumb/sphx_glr_*_thumb.png"):
        figure = thumbnail.parents[1] / thumbnail.name.replace("_thumb", "_001")
        script = thumbnail.parents[2] / thumbnail.name[len("sphx_glr_") : -len("_thumb.png")]
        chosen = "thumbnail_number" in script.with_suffix(".py").read_text(encoding="utf-8")
        if chosen or not figure.exists():
            continue
        with Image.open(figure) as picture:
            if picture.width < 2 * picture.height:
                continue
            panel = first_panel(picture.convert("RGB"))
            if panel is not None:
                ImageOps.pad(panel, (400, 280), color="white").save(thumbnail)


def copy_mathjax(app):
    """The file that pages load, from the package that ships it."""
    target = Path(app.outdir) / "_static" / mathjax_path
    target.parent.mkdir(parents=True, exist_ok=True)
    with as_file(files("sphinx-mathjax-offline") / "static" / mathjax_path) as source:
        copyfile(source, target)


def figures_above_code(app, docname, content):
    """Who opens an example wants to see what it draws, and then how.

    A figure stands above the code that draws it; the only one of a page above all code.
    """
    if not re.match("auto_examples/.*/plot_", docname):
        return
    blocks = re.split(r"(?m)^(?=\.\. GENERATED FROM PYTHON SOURCE LINES)", content[0])
    image = re.compile(r"^\.\. image-sg::.*\n(?:   .*\n)+", re.MULTILINE)
    code = ".. code-block:: Python\n"
    with_code = [k for k, block in enumerate(blocks) if code in block]
    with_image = [k for k, block in enumerate(blocks) if image.search(block)]
    for k in with_image:
        pictures = "\n".join(image.findall(blocks[k]))
        target = with_code[0] if len(with_image) == 1 else k
        blocks[k] = image.sub("", blocks[k])
        blocks[target] = blocks[target].replace(code, f"{pictures}\n{code}", 1)
    content[0] = "".join(blocks)


def icons_from_the_theme(app, docname, content):
    """Animations of matplotlib ask a network for icons that the theme has."""
    if docname.startswith("auto_examples/"):
        link = r'<link rel="stylesheet"\s+href="https://[^"]*font-awesome[^"]*">'
        content[0] = re.sub(link, "", content[0])


def module_of_source(app, module, attribute):
    """The private module that a public class is written in, for its link to the source.

    A class says that its package is its module; the functions in it name the one they are in.
    """
    kind = getattr(import_module(module), attribute, None)
    functions = filter(inspect.isfunction, vars(kind).values()) if inspect.isclass(kind) else ()
    written_in = {function.__module__ for function in functions}
    return written_in.pop() if len(written_in) == 1 else None


def setup(app):
    app.connect("builder-inited", copy_mathjax)
    app.connect("viewcode-follow-imported", module_of_source)
    # after the gallery has run
    app.connect("builder-inited", one_panel_thumbnails, priority=900)
    app.connect("source-read", icons_from_the_theme)
    app.connect("source-read", figures_above_code)
    app.connect("source-read", links_of_pages)
    app.connect("autodoc-process-docstring", foreign_references_as_text)
    # before numpydoc, which rewrites the sections
    app.connect("autodoc-process-docstring", defaults_beside_types, priority=100)
