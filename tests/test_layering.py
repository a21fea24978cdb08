"""Imports point down, stay at the top of modules, and reach few packages."""

import ast
import sys
from pathlib import Path

import pytest

import skcode

ROOT = Path(skcode.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
#: packages of skcode from low to high; those in a row do not see each other
LAYERS = [
    {"utils"},
    {"fields"},
    {"flow", "inputs", "readouts", "losses"},
    {"objective"},
    {"solvers", "geometry"},
    {"estimators"},
    {"plotting", "export"},
    {"__init__"},
]
#: what a package may see of the lower layers, where that is less than all
NARROWED = {
    "inputs": {"utils"},
    "readouts": {"utils"},
    "losses": {"utils"},
    "solvers": {"utils", "objective"},
    "geometry": {"utils", "fields", "flow"},
}
CORE = {"numpy", "scipy", "sklearn", "autograd", "joblib", "threadpoolctl", "skcode"}
#: modules that stand between skcode and the private names of other packages
BEHIND = {"utils/_sklearn.py", "utils/_joblib.py", "export/_skl2onnx.py"}
EXTRA = {"plotting": {"matplotlib"}, "export": {"onnx", "skl2onnx"}}
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


def test_lower_packages_are_listed_whole(rank):
    folders = {package_of(path) for path in MODULES}
    assert {"utils", "fields", "flow", "objective", "solvers", "estimators"} <= folders
    assert len(MODULES) > 30
