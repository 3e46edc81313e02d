"""The documentation is about the package as it is: its messages, its code blocks, its notebooks."""

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
QUICK = ("scipy_operators",)
COVERED = ("operators", "linear", "games", "policies", "economies", "evaluation", "solvers", "verification")
COVERED += ("_checks", "_text", "_import")
FENCE = re.compile(r"^( *)```(\w*).*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def template(node):
    """The text of a message in the sources, with "…" for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return "…"


def collapsed(text):
    """A message in which what is put in is one "…"."""
    return re.sub("…+", "…", " ".join(text.split()))


@functools.cache
def raised():
    """The room and the message of every error that the package raises, where the message stands in the call."""
    found = set()
    for file in (ROOT / "structmfg").rglob("*.py"):
        room = file.relative_to(ROOT / "structmfg").parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                kind, message = ast.unparse(node.exc.func), collapsed(template(node.exc.args[0]))
                if kind in ("ValueError", "FileExistsError", "OSError") and re.search("[a-z]{4}", message):
                    found.add((room, message))
    return found


def listed():
    """The messages that the page on troubleshooting quotes."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    return {collapsed(message) for row in rows for message in re.findall(r"`([^`]+)`", row)}


def test_quoted_messages_are_those_of_the_package():
    assert listed() - {message for _, message in raised()} == set()


def test_every_message_has_a_cure():
    assert {(room, message) for room, message in raised() if room in COVERED and message not in listed()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_blocks_are_examples_that_run(page):
    """A block of Python is a doctest, so that it is run; commands of a shell are indented, or marked as such."""
    for _, language, code in FENCE.findall(page.read_text()):
        assert language in ("python", "text"), f"{page.name}: a block of {language or 'no language'}"
        if language == "python":
            assert code.lstrip().startswith(">>>"), f"{page.name}: {code[:60]!r} is not run"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page):
    """Readers of the repository follow them too; mkdocs checks those of the site, with their anchors."""
    for link in re.findall(r"\]\(([^)#\s]+)", FENCE.sub("", page.read_text())):
        assert "://" in link or link.startswith("mailto:") or (page.parent / link).exists(), f"{page.name}: {link}"


def run(notebook):
    """Run the cells of a notebook in a process of its own: the process."""
    cells = json.loads(notebook.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    program = (
        "import matplotlib; matplotlib.use('agg')\nname = {'__name__': '__main__'}\nfor cell in %r: exec(cell, name)\n"
    )
    return subprocess.run([sys.executable, "-c", program % code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_notebooks_are_kept_as_executed(notebook):
    """In order, with what they print, without an error, and with an assertion on what they teach."""
    cells = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output["output_type"] != "error" for cell in cells for output in cell["outputs"])
    assert "assert" in "".join("".join(cell["source"]) for cell in cells)
    assert notebook.stat().st_size < 200_000


@pytest.mark.parametrize(
    "notebook",
    [pytest.param(each, marks=() if each.stem in QUICK else pytest.mark.slow, id=each.stem) for each in NOTEBOOKS],
)
def test_notebooks_run(notebook):
    finished = run(notebook)
    assert finished.returncode == 0, finished.stderr[-2000:]
