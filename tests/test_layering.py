"""Imports point down, stay at the top of modules, reach few packages, and none that is private."""

import ast
import re
import sys
from pathlib import Path

import pytest

import skcode

ROOT = Path(skcode.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
EXAMPLES = Path(__file__).parents[1] / "examples"
#: packages of skcode from low to high; those in a row do not see each other
LAYERS = [
    {"utils"},
    {"fields"},
    {"flow", "inputs", "images", "readouts", "losses", "gaussian_process"},
    {"columns"},
    {"model"},
    {"objective"},
    {"solvers", "geometry"},
    {"training"},
    {"estimators"},
    {"plotting", "export"},
    {"__init__"},
]
#: what a package may see of the lower layers, where that is less than all
NARROWED = {
    "inputs": {"utils"},
    "images": {"utils"},
    "readouts": {"utils"},
    "columns": {"utils", "inputs"},
    "losses": {"utils"},
    "gaussian_process": {"utils"},
    "solvers": {"utils", "losses", "model", "objective"},
    "geometry": {"utils", "fields", "flow"},
    # the fitted model has a public face: what shows it or translates it needs nothing that trains
    "plotting": {"utils", "fields", "flow", "inputs", "readouts", "model", "geometry"},
    "export": {
        "utils",
        "fields",
        "flow",
        "inputs",
        "images",
        "columns",
        "readouts",
        "gaussian_process",
        "model",
        "estimators",
    },
}
#: modules of utils are shared by all, and are private to skcode as a whole
SHARED = "utils"
CORE = {"numpy", "scipy", "sklearn", "autograd", "joblib", "threadpoolctl", "skcode"}
#: modules that stand between skcode and the private names of other packages
BEHIND = {"utils/_sklearn.py", "utils/_joblib.py", "export/_skl2onnx.py"}
EXTRA = {"plotting": {"matplotlib"}, "export": {"onnx", "skl2onnx"}}
#: examples that measure what has no public name: the sweeps of an objective on given threads, and
#: the first one puts compiled code in place of NumPy's
INTERNALS = {"benchmarks/compiled.py", "benchmarks/flow.py", "benchmarks/scaling.py"}
every_module = pytest.mark.parametrize(
    "path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES]
)


def package_of(path):
    """The package of skcode that a file belongs to: its first folder, or its own name."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(tree):
    """Dotted names of all that a module imports, and the nodes that import it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "skcode imports by absolute names"
            if node.module == "skcode":
                yield from ((f"skcode.{alias.name}", node) for alias in node.names)
            else:
                yield node.module, node


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rank():
    return {package: k for k, layer in enumerate(LAYERS) for package in layer}


@every_module
def test_imports_point_down(path, rank):
    package = package_of(path)
    assert package in rank, f"{package} has no layer yet"
    lower = {name for name in rank if rank[name] < rank[package]}
    allowed = {package} | NARROWED.get(package, lower)
    ours = {name.split(".")[1] for name, _ in imports_of(parse(path)) if name.startswith("skcode.")}
    # the version is the one name of the top that is no package
    assert ours - {"__version__"} <= allowed


def private_imports(home, tree):
    """What a file in the package `home`, "" outside of skcode, imports that is private elsewhere.

    A name with an underscore belongs to the package that holds it, and to the packages therein.
    """
    for name, node in imports_of(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else [""]
        for parts in (f"{name}.{each}".split(".") for each in names):
            private = [k for k, part in enumerate(parts) if re.match("_[^_]", part)]
            if parts[0] != "skcode" or not private:
                continue
            owner = "skcode" if parts[1] == SHARED else ".".join(parts[: private[0]])
            if not f"{home}.".startswith(f"{owner}."):
                yield name


@every_module
def test_nothing_private_of_another_package_is_imported(path):
    home = ".".join(path.relative_to(ROOT.parent).parent.parts)
    assert list(private_imports(home, parse(path))) == []


@pytest.mark.parametrize(
    ("home", "line", "found"),
    [
        ("solvers", "from skcode.fields._linear import DrawnAffine", ["skcode.fields._linear"]),
        ("solvers", "import skcode.fields._linear", ["skcode.fields._linear"]),
        ("solvers", "from skcode.fields import _linear", ["skcode.fields"]),
        ("solvers", "from skcode.fields import DrawnFields", []),
        ("solvers", "from skcode.utils._typing import Array", []),
        ("solvers", "from skcode.solvers._base import Solver", []),
        ("solvers", "from skcode import __version__, fields", []),
        (
            "geometry.interpolation",
            "from skcode.geometry.brackets._rank import lie_algebra_rank",
            ["skcode.geometry.brackets._rank"],
        ),
        ("geometry.interpolation", "from skcode.geometry.brackets import vector_fields", []),
        ("geometry.interpolation", "from skcode.geometry.interpolation._paths import Path", []),
    ],
)
def test_private_imports_are_seen(home, line, found):
    assert list(private_imports(f"skcode.{home}", ast.parse(line))) == found


def test_examples_import_public_names_alone():
    private = {
        path.relative_to(EXAMPLES).as_posix()
        for path in EXAMPLES.rglob("*.py")
        if list(private_imports("", parse(path)))
    }
    assert private == INTERNALS


@every_module
def test_imports_stand_at_the_top(path):
    tree = parse(path)
    functions = [
        node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    inside = [name for function in functions for name, _ in imports_of(function)]
    assert [
        name for name in inside if name.split(".")[0] not in EXTRA.get(package_of(path), ())
    ] == []


@every_module
def test_the_core_imports_few_packages(path):
    allowed = CORE | EXTRA.get(package_of(path), set()) | sys.stdlib_module_names
    assert {name.split(".")[0] for name, _ in imports_of(parse(path))} <= allowed


@every_module
def test_private_names_of_other_packages_stay_behind_one_module(path):
    private = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] != "skcode"
        for alias in node.names
        if any(part.startswith("_") for part in f"{node.module}.{alias.name}".split("."))
        and node.module != "__future__"
    ]
    assert not private or path.relative_to(ROOT).as_posix() in BEHIND


def test_packages_are_listed_whole(rank):
    assert {package_of(path) for path in MODULES} == set(rank)
    assert len(MODULES) > 30
