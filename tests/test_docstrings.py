"""Public docstrings are numpydoc, whole, and listed in the reference."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import skcode
from skcode.fields import NeuralFields
from skcode.solvers import Adam
from skcode.utils._doc_link import ADDRESS, DocLinkMixin

ROOT = Path(__file__).parents[1]
PACKAGES = [
    "skcode",
    "skcode.columns",
    "skcode.export",
    "skcode.fields",
    "skcode.flow",
    "skcode.gaussian_process",
    "skcode.geometry",
    "skcode.images",
    "skcode.losses",
    "skcode.model",
    "skcode.plotting",
    "skcode.readouts",
    "skcode.solvers",
]
#: packages whose classes are for users; the methods of others are contracts of one line
FOR_USERS = ("skcode", "skcode.images", "skcode.plotting")
#: checks that do not apply: the place of the first line, extended summaries, "see also", verbs
#: that are nouns in the plural, and capitals of formulas
LEFT_OUT = {"GL01", "ES01", "SA01", "SS05", "SS02"}


def public_objects():
    """Name and object of every public class and function, each once."""
    seen = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and thing not in seen:
                seen.add(thing)
                yield f"{package}.{name}", thing


OBJECTS = dict(public_objects())
CLASSES = {name: thing for name, thing in OBJECTS.items() if inspect.isclass(thing)}


def own_methods(kind):
    """Public methods that are written in skcode."""
    for name in dir(kind):
        method = getattr(kind, name, None)
        module = getattr(method, "__module__", None) or ""
        if not name.startswith("_") and callable(method) and module.startswith("skcode"):
            yield name, method


def errors(name, left_out=()):
    return [
        f"{code}: {text}"
        for code, text in validate(name)["errors"]
        if code not in LEFT_OUT and code not in left_out
    ]


@pytest.mark.parametrize("name", OBJECTS)
def test_public_docstrings_are_numpydoc_with_an_example(name):
    thing = OBJECTS[name]
    # results have attributes, which their makers fill; protocols and the primitive have no
    # signature that numpydoc can read
    protocol = getattr(thing, "_is_protocol", False)
    unreadable = dataclasses.is_dataclass(thing) or protocol or name.endswith(".sweep_flow")
    assert errors(name, {"PR01", "PR02"} if unreadable else ()) == []


@pytest.mark.parametrize(
    "name", [name for name, kind in CLASSES.items() if dataclasses.is_dataclass(kind)]
)
def test_fields_of_results_are_described(name):
    doc = get_doc_object(CLASSES[name])
    described = {entry.name for section in ("Parameters", "Attributes") for entry in doc[section]}
    assert {field.name for field in dataclasses.fields(CLASSES[name])} <= described


@pytest.mark.parametrize("name", CLASSES)
def test_methods_are_documented(name):
    for method, function in own_methods(CLASSES[name]):
        if name.rpartition(".")[0] in FOR_USERS:
            # an example of a class is in its docstring
            assert errors(f"{name}.{method}", {"EX01"}) == [], method
        else:
            # an override has the docstring of the contract
            assert inspect.getdoc(function), method


def written_functions():
    """Public functions, constructors that check, and methods for users."""
    for name, thing in OBJECTS.items():
        if not inspect.isclass(thing):
            yield name, thing, inspect.unwrap(thing)
            continue
        maker = "__post_init__" if dataclasses.is_dataclass(thing) else "__init__"
        if maker in vars(thing) and not getattr(thing, "_is_protocol", False):
            yield name, thing, vars(thing)[maker]
        if name.rpartition(".")[0] in FOR_USERS:
            yield from ((f"{name}.{key}", m, inspect.unwrap(m)) for key, m in own_methods(thing))


@pytest.mark.parametrize(
    ("documented", "function"),
    [pytest.param(thing, function, id=name) for name, thing, function in written_functions()],
)
def test_errors_that_are_raised_in_place_are_described(documented, function):
    code = inspect.getsource(function).replace(function.__doc__ or "", "")
    if re.search(r"^\s+raise (ValueError|TypeError)", code, re.MULTILINE):
        assert get_doc_object(documented)["Raises"]


def test_the_reference_lists_every_public_name():
    listed, package = [], None
    for page in sorted((ROOT / "docs").glob("api_*.rst")):
        for line in page.read_text(encoding="utf-8").splitlines():
            if match := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
                package = match[1]
            elif match := re.fullmatch(r"   (\w+)", line):
                listed.append(f"{package}.{match[1]}")
    assert sorted(listed) == sorted(OBJECTS)


@pytest.mark.parametrize(
    "name",
    [name for name, kind in CLASSES.items() if issubclass(kind, DocLinkMixin)],
)
def test_html_views_link_to_the_page_of_the_class(name, monkeypatch):
    monkeypatch.setenv(ADDRESS, "file:///pages/")
    kind = CLASSES[name]
    concrete = type(kind.__name__, (kind,), {"__module__": kind.__module__})
    concrete.__abstractmethods__ = frozenset()
    # sphinx names the pages of the reference like this
    assert object.__new__(concrete)._get_doc_link() == f"file:///pages/generated/{name}.html"


def test_the_html_view_of_a_fitted_model_holds_the_link(monkeypatch):
    X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1]
    model = skcode.ControlledODEClassifier(n_fields=2, n_members=1, random_state=0).fit(X, y)
    monkeypatch.delenv(ADDRESS, raising=False)
    # without a name for the place of the pages nobody claims to know it
    assert "generated/skcode" not in model._repr_html_()
    monkeypatch.setenv(ADDRESS, "file:///pages")
    assert 'href="file:///pages/generated/skcode.ControlledODEClassifier.html"' in (
        model._repr_html_()
    )
    for part in (NeuralFields(), Adam()):
        module = type(part).__module__
        assert f"file:///pages/generated/{module}." in part._repr_html_()


def test_classes_of_others_have_no_page():
    class Mine(NeuralFields):
        pass

    assert Mine()._get_doc_link() == ""
