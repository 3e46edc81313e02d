"""The frame of the benchmark scripts: options, and the JSON file and figures in the output folder."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from structmfg._files import write_bytes, write_json
from structmfg._pages import Picture
from structmfg.benchmarks._machine import machine

FORMAT = 1


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the script's docstring for its help, and the option `--out`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="the folder to write to; a new one under runs/ unless given")
    return parser


def write_pictures(folder: Path, pictures: Iterable[Picture]) -> None:
    """Write every picture as NAME.png."""
    for picture in pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)


def write_results(folder: Path, name: str, **results: Any) -> None:
    """Write NAME.json, the results with the machine that they were measured on, and print where they are."""
    write_json(folder / f"{name}.json", {"format": FORMAT, "machine": machine(), **results})
    print(f"written to {folder}")
