"""`structmfg open`: show the report of a run in the browser; `structmfg report`: several runs in one page."""

import os
import shutil
import webbrowser
from pathlib import Path

from structmfg._files import output_folder, write_bytes
from structmfg.cli._output import console, print_json
from structmfg.cli.arguments import Arguments
from structmfg.cli.arguments.fields import import_own
from structmfg.runs import load, side_by_side


def report(arguments: Arguments) -> int:
    """Write a page with the runs beside each other; that of a sweep or of several seeds stands for all."""
    import_own(arguments)
    folders = [path for run in arguments.runs for path in _runs_within(Path(run))]
    if len(folders) < 2:
        raise ValueError("name two RUNs or more, or the folder of several (see structmfg report --help)")
    loaded = [load(folder) for folder in folders]
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
