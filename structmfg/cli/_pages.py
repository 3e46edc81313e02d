"""`structmfg open`: show the report of a run in the browser; `structmfg report`: several runs in one page."""

import os
import shutil
import sys
import webbrowser
from pathlib import Path

from structmfg._files import output_folder, write_bytes
from structmfg._text import printable
from structmfg.cli._output import console, print_json
from structmfg.cli.arguments import Arguments
from structmfg.cli.arguments.fields import import_own
from structmfg.runs import load, side_by_side


def report(arguments: Arguments) -> int:
    """Write a page with the runs beside each other; that of a sweep or of several seeds stands for all."""
    import_own(arguments)
    folders: dict[Path, Path] = {}  # as they were named, by where they are
    for folder in (folder for run in arguments.runs for folder in _runs_within(Path(run))):
        if folder.resolve() in folders:
            print(f"structmfg: {printable(str(folder))} was named before, and is shown once", file=sys.stderr)
        else:
            folders[folder.resolve()] = folder
    if len(folders) < 2:
        raise ValueError("name two RUNs or more, or the folder of several (see structmfg report --help)")
    loaded = [load(folder) for folder in folders.values()]
    for run in loaded:
        if not run.result:
            name = printable(str(run.path))
            hint = f"structmfg solve --resume {name} writes its report"
            print(f"structmfg: {name} is not finished, and is shown without results: {hint}", file=sys.stderr)
    with output_folder(arguments.out, "report") as folder:
        path = folder / "report.html"
        write_bytes(path, side_by_side(loaded).encode())
    console(arguments).print(f"{len(loaded)} runs; report: {path}", soft_wrap=True)
    if arguments.json:
        print_json({"runs": [str(run.path) for run in loaded], "out": str(folder), "report": str(path)})
    return 0


def _runs_within(folder: Path) -> list[Path]:
    """The folder of a run itself, or the runs that lie in it."""
    if (folder / "settings.json").is_file() or not folder.is_dir():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/settings.json"))
    return found or [folder]


def open_report(arguments: Arguments) -> int:
    """Exit code 0; where there is no browser, the path of the report is all that is printed."""
    if arguments.run is None:
        raise ValueError("name a RUN, a folder that a command wrote (see structmfg open --help)")
    report = Path(arguments.run, "report.html")
    if not report.is_file():
        raise ValueError(f"{arguments.run} has no report.html: it is not the folder of a run, or the run has not ended")
    # Without a display a browser in the terminal would be started, which shows no figure.
    shown = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or shutil.which("open"))
    shown = shown and webbrowser.open(report.resolve().as_uri())
    console(arguments).print(f"report: {report}" + ("" if shown else " (no browser here: open the file in one)"))
    if arguments.json:
        print_json({"report": str(report), "opened": shown})
    return 0
