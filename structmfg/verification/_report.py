"""What `verify` found, as text, HTML or JSON."""

import html
import json
import math
import os
from pathlib import Path
from typing import NamedTuple

from structmfg.verification._check import CheckResult

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; }}
th, td {{ text-align: left; padding: .25em .9em .25em 0; border-bottom: 1px solid #ddd; vertical-align: top; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.failed {{ color: #b00020; font-weight: bold; }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
<table>
<tr><th></th><th>check</th><th class="number">value</th><th class="number">bound</th><th>meaning</th></tr>
{rows}
</table>
</html>
"""


class Report(NamedTuple):
    """The checks of one game, which `game` describes."""

    game: str
    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(result.passed for result in self.results)

    @property
    def summary(self) -> str:
        """How many passed."""
        return f"{sum(result.passed for result in self.results)} of {len(self.results)} checks passed"

    def __str__(self) -> str:
        width = max(len(result.name) for result in self.results)
        lines = [f"{self.game}: {self.summary}"]
        for name, value, bound, passed, meaning, where in self.results:
            lines.append(f"  {'ok    ' if passed else 'FAILED'}  {name:<{width}}  {value:9.2e}  (bound {bound:.2e})")
            if not passed:
                lines.append(f"          {meaning}; {where}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained .html, or .json (NaN as null). `ValueError` on any other suffix."""
        path = Path(path)
        writers = {".html": self._html, ".json": self._json}
        if path.suffix not in writers:
            raise ValueError(f"a report is saved as .html or .json, but the path is {str(path)!r}")
        path.write_text(writers[path.suffix](), encoding="utf-8")

    def _json(self) -> str:
        def plain(x: float) -> float | None:
            return x if math.isfinite(x) else None

        results = [{**r._asdict(), "value": plain(r.value), "bound": plain(r.bound)} for r in self.results]
        return json.dumps({"game": self.game, "passed": self.passed, "results": results}, indent=2) + "\n"

    def _html(self) -> str:
        rows = [
            f'<tr><td class="{"passed" if passed else "failed"}">{"ok" if passed else "FAILED"}</td>'
            f'<td>{html.escape(name)}</td><td class="number">{value:.2e}</td><td class="number">{bound:.2e}</td>'
            f"<td>{html.escape(meaning)} {html.escape(where)}</td></tr>"
            for name, value, bound, passed, meaning, where in self.results
        ]
        title = html.escape(f"Verification of {self.game}")
        return _PAGE.format(title=title, summary=html.escape(self.summary), rows="\n".join(rows))
