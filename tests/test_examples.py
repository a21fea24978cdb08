"""The gallery scripts have the form that sphinx-gallery reads, and the guide leads to each.

`.ci/run` runs them; they assert what they draw.
"""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "examples").glob("*/plot_*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_has_a_title_and_asserts_what_it_says(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    title, underline, blank, *_ = ast.get_docstring(tree).splitlines()
    assert underline == "=" * len(title)
    assert blank == ""
    assert any(isinstance(node, ast.Assert) for node in ast.walk(tree))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_leads_to_a_page(path):
    pages = re.findall(r":doc:`/(\w+)`", path.read_text(encoding="utf-8"))
    assert pages
    assert all((ROOT / "docs" / f"{page}.md").exists() for page in pages)


def test_guide_links_to_every_script():
    guide = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    links = [f"(../{path.relative_to(ROOT).as_posix()})" for path in SCRIPTS]
    assert [link for link in links if link not in guide] == []
    assert len(SCRIPTS) >= 23


def test_a_curve_of_images_goes_on_from_what_its_file_holds(tmp_path):
    spec = importlib.util.spec_from_file_location("mnist", ROOT / "examples" / "mnist.py")
    mnist = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mnist)
    measured = [mnist.Measured("a learner, its name", 3000, 0.91, 2705, 1705, 2.5, 2.25)]
    mnist.write_results(measured, tmp_path / "curve.csv")
    assert mnist.read_results(tmp_path / "curve.csv") == measured
    assert mnist.read_results(tmp_path / "none.csv") == []
