"""What all reports share: the style of figures and of pages. A page is one HTML file that needs nothing else.

The colours are those of Okabe and Ito, which colour-blind people can tell apart.
"""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jinja2
import matplotlib as mpl
from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.text import Text

from structmfg._checks import check_name, printable

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))  # told apart without colours
GREY = "#5f6670"
FORMATS = ("png", "svg", "pdf")
STYLE: dict[Any, Any] = {
    "figure.dpi": 130,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#22272e",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


class Picture(NamedTuple):
    """A figure: its file name without suffix, its caption, and the bytes of the PNG.

    `text` says its main numbers, for those who do not see it. `figure` is what it was drawn from, for other formats.
    """

    name: str
    caption: str
    png: bytes
    text: str = ""
    figure: Figure | None = None

    def as_bytes(self, format: str = "png") -> bytes:
        """The figure as "png", or for a paper as "svg" (with text as text) or "pdf"; the same bytes every time.

        Raises:
            ValueError: The format is another, or this figure is known as PNG only.
        """
        check_name("format", format, FORMATS)
        if format == "png":
            return self.png
        if self.figure is None:
            raise ValueError(f"the figure {self.name!r} is known as PNG only")
        buffer = io.BytesIO()
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "structmfg", "pdf.fonttype": 42}):
            undated = {"Date": None} if format == "svg" else {"CreationDate": None}
            self.figure.savefig(buffer, format=format, metadata=undated)
        return buffer.getvalue()


def picture(name: str, caption: str, figure: Figure, text: str = "") -> Picture:
    """Draw a figure off screen; `text` says its main numbers.

    Only the labels of ticks are read as mathematics, as the names that a game gives may hold any character.
    """
    ticks = {id(label) for tick in figure.findobj(Tick) for label in (tick.label1, tick.label2)}
    for label in figure.findobj(Text):
        if id(label) not in ticks:
            label.set_parse_math(False)
            label.set_text(printable(label.get_text(), keep="\n"))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Picture(name, caption, buffer.getvalue(), text, figure)


def page(
    package: str,
    template: str,
    pictures: Sequence[Picture],
    filters: dict[str, Callable[..., str]] | None = None,
    **context: Any,
) -> str:
    """Fill a template, with everything that it is given escaped.

    Args:
        package: The package that holds the template; those in `structmfg` can be used as well.
        template: The file name of the template.
        pictures: The figures, which become part of the page.
        filters: Filters of the template, besides `number`.
        context: The variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(place, ".") for place in (package, "structmfg")]),
        autoescape=True, finalize=_printable, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "sort_keys": True}
    environment.filters.update(number=number, **(filters or {}))
    encoded = [(drawn, base64.b64encode(drawn.png).decode()) for drawn in pictures]
    return environment.get_template(template).render(pictures=encoded, **context)


def _printable(value: Any) -> Any:
    """The value; a text without control characters."""
    return printable(value, keep="\n") if type(value) is str else value


def number(value: Any) -> str:
    """The number in four digits, or a dash for None."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
