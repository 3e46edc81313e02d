"""The files of versions and licences say what pyproject.toml promises."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from structmfg import __version__

ROOT = Path(__file__).parents[2]


def promised() -> dict[str, str]:
    """The lowest version of every direct dependency, those of the tests among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    found = [re.fullmatch(r"([\w-]+)>=([\d.]+)", line) for line in lines]
    assert all(found), lines
    return {match[1]: match[2] for match in found if match}


def pinned(name: str) -> list[tuple[str, str]]:
    """The pins of a file; a package may have several, by Python version."""
    lines = (line.partition(";")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [(line.partition("==")[0], line.partition("==")[2]) for line in lines if line and not line.startswith("#")]


def parts(version: str) -> list[int]:
    """Three numbers at least: 9.0 is 9.0.0."""
    numbers = [int(part) for part in version.split(".")]
    return numbers + [0] * (3 - len(numbers))


def test_the_lowest_are_those_promised() -> None:
    lowest = dict(pinned("constraints-lowest.txt"))
    assert lowest.keys() == promised().keys()
    for name, least in promised().items():
        assert parts(lowest[name]) == parts(least), name


def test_the_newest_are_allowed() -> None:
    newest = pinned("constraints.txt")
    assert promised().keys() <= {name for name, _ in newest}
    for name, version in newest:
        if name in promised():
            assert parts(version) >= parts(promised()[name]), name


def test_notice_lists_every_dependency() -> None:
    listed = re.findall(r"^    ([\w-]+) +\S", (ROOT / "NOTICE").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {line.partition(">=")[0] for line in project["dependencies"]} <= set(listed)


@pytest.mark.parametrize(
    ("tag", "message"),
    [(f"v{__version__}x", "_version.py has"), ("", "the tag is missing"), (f"v{__version__}", None)],
)
def test_a_release_is_tagged_with_its_version(tag: str, message: str | None) -> None:
    ran = subprocess.run([ROOT / ".ci" / "tag", tag], capture_output=True, text=True)
    if message is None:  # the changelog has its section once the version is no development version
        message = "CHANGELOG.md has no section" if "dev" in __version__ else ""
    assert message in ran.stderr
    assert (ran.returncode == 0) == (not message)
