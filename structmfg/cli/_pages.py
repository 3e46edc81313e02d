"""`structmfg open`: show the report of a run in the browser; `structmfg report`: several runs in one page."""

import os
import shutil
import webbrowser
from pathlib import Path

from structmfg.cli._output import console, print_json
from structmfg.cli.arguments import Arguments


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
