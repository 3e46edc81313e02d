"""Figures of comparative statics: steady states and responses over a parameter."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np

from structmfg._pages import COLOURS, GREY, STYLE, Picture, picture
from structmfg.economies.sequence_space import ImpulseResponse
from structmfg.reports.economies._responses import moving, panels, shown_periods, unit_of


def draw_statics(parameter: str, values: Sequence[Any], quantities: Mapping[str, Sequence[float | None]]) -> Picture:
    """Small multiples of quantities of the steady state over a parameter, of those that are not always the same."""
    numeric = all(isinstance(value, int | float) for value in values)
    x = np.array(values, float) if numeric else np.arange(len(values))
    known = {name: np.array(each, float) for name, each in quantities.items()}
    moving = {name: each for name, each in known.items() if np.nanmax(each) > np.nanmin(each)}
    with mpl.rc_context(STYLE):
        figure, axes = panels(max(len(moving), 1))
        for panel, (name, each) in zip(axes, moving.items(), strict=False):
            panel.plot(x, each, marker="o", color=COLOURS[0])
            panel.set_title(name.replace("_", " "), fontsize=10)
            panel.set_xlabel(parameter, fontsize=8)
            panel.grid(color="#e3e6ea", linewidth=0.8)
            if not numeric:
                panel.set_xticks(x, [str(value) for value in values])
        caption = f"The steady state over {parameter}. Quantities that stay the same are left out."
        return picture("statics", caption, figure)


def draw_swept_responses(parameter: str, responses: Sequence[tuple[Any, ImpulseResponse]], shock: str) -> Picture:
    """Small multiples of the linear responses, a line for each value of a parameter."""
    first = responses[0][1]
    names = moving(first)
    periods = max(shown_periods(response) for _, response in responses)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(responses)))
    labelled = {0, len(responses) // 2, len(responses) - 1} if len(responses) > 6 else set(range(len(responses)))
    with mpl.rc_context(STYLE):
        figure, axes = panels(max(len(names), 1))
        for panel, name in zip(axes, names, strict=False):
            for i, (value, response) in enumerate(responses):
                unit = unit_of(name, response.steady[name])
                label = f"{value:g}" if isinstance(value, float) else str(value)
                panel.plot(
                    unit.scale * response.paths[name][:periods],
                    color=colours[i],
                    label=label if i in labelled else None,
                )
            panel.axhline(0, color=GREY, linewidth=0.8)
            panel.set_title(name.replace("_", " "), fontsize=10)
            panel.set_ylabel(unit_of(name, first.steady[name]).name, fontsize=8)
            panel.set_xlabel("periods", fontsize=8)
        axes[0].legend(fontsize=8, title=parameter, title_fontsize=8)
        caption = f"Linear responses to {shock} for each value of {parameter}, from dark to light."
        return picture("responses", caption, figure)
