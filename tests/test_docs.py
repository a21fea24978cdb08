"""The code of README and user guide runs, and what they state agrees with the project's files."""

import doctest
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from skcode.fields import DrawnFields, FieldKernel
from skcode.losses import Loss
from skcode.readouts import Readout
from skcode.solvers import Solver

ROOT = Path(__file__).parents[1]
# names with a first underscore are parts that other pages include
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def code_blocks(page):
    """Line number and text of each block of Python."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start()) + 1, match[1]


def run(block, names, page, line):
    if not block.lstrip().startswith(">>>"):
        # the empty lines make the line numbers of a traceback those of the page
        exec(compile("\n" * line + block, str(page), "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), line)
    report = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    failed = runner.run(test, out=report.append, clear_globs=False).failed
    names.update(test.globs)
    assert not failed, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_blocks_run(page):
    names = {"__name__": "__docs__"}
    for line, block in code_blocks(page):
        run(block, names, page, line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    prose = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$",
        "",
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    for target in re.findall(r"\]\(([^)#:]+)\)", prose):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("contract", [DrawnFields, FieldKernel, Solver, Readout, Loss])
def test_tables_of_contracts_hold_all_public_names(contract):
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    heading = rf"^\| `{contract.__name__}` \| \|\n((?:\|.*\n)+)"
    rows = "".join(re.findall(heading, page, re.MULTILINE)).splitlines()
    # a call of the class itself is its constructor
    named = {name for row in rows for name in re.findall(r"`(\w+)", row.split("|")[1])}
    public = {name for name in [*vars(contract), *contract.__annotations__] if name[0] != "_"}
    assert named - {contract.__name__} == public


def test_every_page_is_in_a_table_of_contents():
    listed = {"index"}
    for page in PAGES[1:]:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            listed |= {word for word in block.split() if not word.startswith(":")}
    assert {page.stem for page in PAGES[1:]} <= listed


def rows_of(text):
    """Cells of each line of a table, by the name in its first cell."""
    lines = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


def recorded_ranks():
    """Ranks of each learner on tables of numbers, and on raw ones, of the defaults page."""
    page = (ROOT / "docs" / "defaults.md").read_text(encoding="utf-8")
    section = re.search(
        r"^## Results on tables that chose nothing\n(.*?)^## ", page, re.MULTILINE | re.DOTALL
    )[1]
    of_numbers, raw = section.split("\n31 raw tables")
    ranks = {}
    for part, title in ((of_numbers, "Regression"), (raw, "Numbers")):
        classes, numbers = part.split(f"\n{title}:\n")
        # the tables of sizes come after those of ranks
        r2 = rows_of(numbers.split("\n| mean rank by")[0])
        for learner, cells in rows_of(classes).items():
            if learner in r2 and learner != "learner" and not learner.startswith("---"):
                ranks.setdefault(learner, []).extend([cells[1], cells[3], r2[learner][1]])
    return {learner: np.array(numbers, float) for learner, numbers in ranks.items()}


def test_the_front_pages_state_what_the_defaults_page_records():
    front = (ROOT / "docs" / "_comparison.md").read_text(encoding="utf-8")
    assert front in (ROOT / "README.md").read_text(encoding="utf-8")
    names = {
        "skcode": "skcode",
        "CatBoost": "catboost",
        "`HistGradientBoosting`": "hist_boosting",
        "LightGBM": "lightgbm",
        "support vector machine": "svm",
        "random forest": "forest",
        "multi-layer perceptron": "mlp",
        "linear": "linear",
    }
    shown, recorded = rows_of(front), recorded_ranks()
    assert set(names) < set(shown)
    for name, learner in names.items():
        # one digit less, either way where the last one is a five
        assert np.abs(np.array(shown[name], float) - recorded[learner]).max() < 0.0501


def stated(pattern, page):
    """The numbers that a page states, by the groups of a pattern that spans its lines."""
    text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    match = re.search(pattern, text)
    assert match, f"{page} does not say {pattern}"
    return [float(group) for group in match.groups()]


def test_the_front_pages_state_the_recorded_times_and_coverage():
    front = stated(r"([\d.]+) times CatBoost's time for classes", "_comparison.md")
    front += stated(r"([\d.]+) times as long for numbers .*; (\d+) times at most", "_comparison.md")
    front += stated(r"and ([\d.]+) times as long as the perceptron's for classes", "_comparison.md")
    front += stated(r"Intervals of 90 % cover (\d+) %", "_comparison.md")
    classes, most, numbers, most_of_numbers = stated(
        r"on those tables: ([\d.]+) in classification \(([\d.]+) at most\) and ([\d.]+) in"
        r" regression \(([\d.]+) at most\)",
        "defaults.md",
    )
    recorded = [classes, numbers, round(max(most, most_of_numbers))]
    recorded += stated(r"ratio to the perceptron is ([\d.]+) in classification", "defaults.md")
    recorded += [100 * stated(r"cover ([\d.]+) in the median", "defaults.md")[0]]
    assert front[:-1] == recorded[:-1]
    assert abs(front[-1] - recorded[-1]) < 1


def test_the_alternatives_are_those_that_the_defaults_page_records():
    page, ranks = "alternatives.md", recorded_ranks()
    ours = stated(r"rank ([\d.]+) of eleven in R2 \(CatBoost ([\d.]+)\)", page)
    ours += stated(r"rank ([\d.]+) in log-loss \(CatBoost ([\d.]+)\)", page)
    ours += stated(r"rank ([\d.]+) of nine in accuracy, ([\d.]+) in log-loss, ([\d.]+) in R2", page)
    ours += stated(r"RealMLP had rank ([\d.]+) and ours ([\d.]+)", page)
    recorded = [ranks[learner][k] for k in (2, 1) for learner in ("skcode", "catboost")]
    recorded += [*ranks["skcode"][3:]]
    recorded += stated(r"it has rank ([\d.]+) there and skcode ([\d.]+)", "defaults.md")
    assert np.abs(np.array(ours) - recorded).max() < 0.0501
    # above 3,000 rows CatBoost is ahead
    above = stated(
        r"rank in accuracy is ([\d.]+), ours ([\d.]+); in log-loss ours is ([\d.]+), CatBoost's"
        r" ([\d.]+)",
        page,
    )
    rows = [
        stated(
            rf"\| {learner} \| [\d.]+ / [\d.]+ / ([\d.]+) \| [\d.]+ / [\d.]+ / ([\d.]+)",
            "defaults.md",
        )
        for learner in ("catboost", "skcode")
    ]
    assert above == [rows[0][0], rows[1][0], rows[1][1], rows[0][1]]


def test_the_moons_have_as_many_trained_numbers_as_the_front_pages_say():
    script = (ROOT / "examples" / "flow.py").read_text(encoding="utf-8")
    fields, intervals, states = (
        int(re.search(rf"{name}=(\d+)", script)[1])
        for name in ("n_fields", "n_intervals", "n_states")
    )
    # controls, and a line of the readout
    number = fields * intervals + states + 1
    for page in (ROOT / "README.md", ROOT / "docs" / "index.md"):
        assert f"divides them: {number} trained numbers" in page.read_text(encoding="utf-8")


def test_the_page_of_what_is_cited_is_the_one_of_the_readme():
    entries = [
        re.search(r"^```bibtex\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)[1]
        for page in (ROOT / "README.md", ROOT / "docs" / "citing.md")
    ]
    assert entries[0] == entries[1]


def lower_bounds():
    extras = PYPROJECT["project"]["optional-dependencies"]
    requirements = list(PYPROJECT["project"]["dependencies"])
    for extra in ("plot", "onnx", "skops", "test"):
        requirements += extras[extra]
    pairs = [re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement) for requirement in requirements]
    return {pair[1]: pair[2] for pair in pairs if pair}


def oldest_pins():
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_oldest_versions_are_the_lower_bounds():
    pins = oldest_pins()
    for name, bound in lower_bounds().items():
        parts = len(bound.split("."))
        assert ".".join(pins[name].split(".")[:parts]) == bound, name


def test_readme_states_the_oldest_versions():
    readme, pins = (ROOT / "README.md").read_text(encoding="utf-8"), oldest_pins()
    for requirement in PYPROJECT["project"]["dependencies"]:
        name = requirement.split(">=")[0]
        assert f"{name} {pins[name]}" in readme


def test_ci_finds_the_test_command_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len([block for block in blocks if "pytest" in block]) == 1
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
