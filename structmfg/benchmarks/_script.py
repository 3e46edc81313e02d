"""The frame of the benchmark scripts: options, an output folder, and the JSON file and figures in it."""

import argparse
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from structmfg._files import drop_folder, new_folder, write_bytes, write_json
from structmfg._pages import Picture
from structmfg.benchmarks._machine import machine

FORMAT = 1


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the script's docstring for its help, and the option `--out`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="the folder to write to; a new one under runs/ unless given")
    return parser


@contextlib.contextmanager
def output_folder(out: str | None, name: str) -> Iterator[Path]:
    """The new folder `out`, or runs/`name`; it is removed again where the script fails before it writes anything."""
    folder = new_folder(out, name)
    try:
        yield folder
    except BaseException:
        drop_folder(folder)
        raise
    print(f"written to {folder}")


def write_pictures(folder: Path, pictures: Iterable[Picture]) -> None:
    """Write every picture as NAME.png."""
    for picture in pictures:
        write_bytes(folder / f"{picture.name}.png", picture.png)


def write_results(folder: Path, name: str, **results: Any) -> None:
    """Write NAME.json: the results, with the machine that they were measured on."""
    write_json(folder / f"{name}.json", {"format": FORMAT, "machine": machine(), **results})
