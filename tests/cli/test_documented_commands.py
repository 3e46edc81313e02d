"""The commands of the README and of the pages are commands that there are, with options that there are.

They are parsed, but not run.
"""

import contextlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from structmfg.cli.arguments import parse
from structmfg.cli.arguments._options import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PLACEHOLDERS = {"GAME": "left_right", "NAME": "left_right", "RUN": "run", "X": "5"}
OWN = '''
import dataclasses
from structmfg.games import LinearQuadratic

@dataclasses.dataclass(frozen=True)
class {name}(LinearQuadratic):
    """A game of somebody's own."""
'''
OWN_ECONOMY = """
def {name}(*, patience: float = 0.96, points: int = 100):
    pass
"""


def commands(page):
    """The commands of a page, as lists of words: those on indented lines, and those within sentences."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^    (structmfg .+)$", text, re.MULTILINE)
    lines += re.findall(r"`(structmfg [a-z][^`]*)`", text)
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if ">" in words:  # into a file
            words = words[: words.index(">")]
        yield [PLACEHOLDERS.get(word, word) for word in words]


FOUND = {page: list(commands(page)) for page in PAGES}


@pytest.mark.parametrize("page", [page for page in PAGES if FOUND[page]], ids=lambda page: page.stem)
def test_commands_of_the_pages_are_parsed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("runs/macro").mkdir(parents=True)
    Path("runs/tuned").mkdir()
    Path("runs/tuned/best.toml").write_text('[game]\nname = "beach_bar"\n[solver]\nname = "spg"\n')
    Path("runs/macro/run.toml").write_text('[game]\nname = "macro"\n[solver]\nname = "spg"\n')
    for words in FOUND[page]:
        if any("openspiel:" in word for word in words) and not importlib.util.find_spec("open_spiel"):
            continue  # the games of OpenSpiel are known only where it is installed
        for place, name in (word.split(":") for word in words if re.fullmatch(r"[^:=]+:\w+", word)):
            file = Path(place if place.endswith(".py") else f"{place}.py")
            file.parent.mkdir(exist_ok=True)
            file.write_text((OWN_ECONOMY if words[0] == "economy" else OWN).format(name=name))
        if len(words) == 1:  # the name of a command in a sentence
            assert words[0] in COMMANDS
            continue
        with contextlib.suppress(SystemExit):  # where help is asked for, and printed
            assert parse(words).command == words[0]


def test_commands_are_found():
    assert sum(map(len, FOUND.values())) > 60
    assert ["evaluate", "runs/macro", "--players", "10", "100", "1000"] in FOUND[ROOT / "docs" / "command_line.md"]
