"""What households do and what they own in a steady state: policies, the distribution of wealth, its inequality."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from structmfg._files import file_name
from structmfg._pages import COLOURS, GREY, LINES, STYLE, Picture, picture
from structmfg.economies import LorenzCurve, lorenz_curve
from structmfg.economies.sequence_space import HouseholdSteadyState

_SHOWN_MASS = 0.995  # of households, whose assets the figures show
_BINS = 40
_MAX_INCOMES = 5  # that have a line or a colour of their own


class OnAssets(NamedTuple):
    """A steady state of households whose state is (asset, income), on the grid.

    Attributes:
        assets: a (n,).
        mass: The share of households (n, m) in each state.
        outcomes: What a household in each state chooses (n, m), by name: savings, consumption, ...
        borrowing_limit: The least assets that are allowed.
    """

    assets: Float[np.ndarray, " assets"]
    mass: Float[np.ndarray, "assets incomes"]
    outcomes: dict[str, Float[np.ndarray, "assets incomes"]]
    borrowing_limit: float

    @property
    def wealth(self) -> Float[np.ndarray, " assets"]:
        """The share of households (n,) with each level of assets."""
        return self.mass.sum(axis=1)

    @property
    def lorenz(self) -> LorenzCurve | None:
        """The Lorenz curve of wealth; None where the total is not above zero, so that there are no shares of it."""
        return _lorenz(self.assets, self.wealth)

    def inequality(self) -> dict[str, float | None]:
        """Gini coefficients and shares, None where a total is not above zero."""
        curve, wealth = self.lorenz, self.wealth
        told: dict[str, float | None] = {
            "mean_assets": float(self.assets @ wealth),
            "gini": None if curve is None else curve.gini,
            "share_of_top_1_percent": None if curve is None else curve.top(0.01),
            "share_of_top_10_percent": None if curve is None else curve.top(0.1),
            "share_of_bottom_50_percent": None if curve is None else curve.bottom(0.5),
            "at_the_borrowing_limit": float(wealth[self.assets <= self.borrowing_limit].sum()),
            "with_debt": float(wealth[self.assets < 0].sum()),
        }
        if "consumption" in self.outcomes:
            consumed = _lorenz(self.outcomes["consumption"], self.mass)
            told["gini_of_consumption"] = None if consumed is None else consumed.gini
        return told


def _lorenz(values: Any, mass: Any) -> LorenzCurve | None:
    try:
        return lorenz_curve(values, np.maximum(mass, 0))
    except ValueError:
        return None


def on_assets(steady: HouseholdSteadyState) -> OnAssets | None:
    """The steady state on its grid of assets; None where the block has no `assets`, or states of another kind."""
    with jax.enable_x64(True):
        assets = getattr(steady.block, "assets", None)
        if assets is None or not np.size(assets) or steady.mean_field.size % np.size(assets):
            return None
        points = np.asarray(assets, float)
        shape = (len(points), -1)
        outcomes = steady.block.outcomes(jax.tree.map(jnp.asarray, steady.choice), dict(steady.inputs))
        on_grid = {name: np.asarray(values, float).reshape(shape) for name, values in outcomes.items()}
    return OnAssets(points, np.asarray(steady.mean_field, float).reshape(shape), on_grid, float(points[0]))


def pooled_lorenz(households: Mapping[str, OnAssets], shares: Mapping[str, float]) -> LorenzCurve | None:
    """The Lorenz curve of wealth of several kinds of households together, of which each has a share of the population.

    None where the total is not above zero, or not all kinds have a grid of assets.
    """
    if set(shares) - set(households):
        return None
    assets = np.concatenate([households[name].assets for name in shares])
    return _lorenz(assets, np.concatenate([share * households[name].wealth for name, share in shares.items()]))


def _shown_incomes(number: int) -> list[int]:
    """The income states that are drawn: all of a few, else some from the least to the largest."""
    return sorted(set(np.linspace(0, number - 1, min(number, _MAX_INCOMES)).round().astype(int).tolist()))


def _colours(number: int) -> Any:
    return mpl.colormaps["viridis"](np.linspace(0, 0.9, number))


def _top(households: OnAssets) -> float:
    """The assets that `_SHOWN_MASS` of all households do not exceed."""
    place = int(np.searchsorted(np.cumsum(households.wealth), _SHOWN_MASS))
    return float(households.assets[min(max(place, 1), len(households.assets) - 1)])


def draw_policies(name: str, households: OnAssets) -> Picture:
    """Consumption and savings over assets, a line for each of some income states."""
    top, number = _top(households), households.mass.shape[1]
    shown = households.assets <= top
    with mpl.rc_context(STYLE):
        panels = [outcome for outcome in households.outcomes if outcome != "savings"]
        figure = Figure(figsize=(4.6 * (len(panels) + 1), 3.6), layout="constrained")
        axes = figure.subplots(1, len(panels) + 1, squeeze=False)[0]
        chosen = _shown_incomes(number)
        colours = _colours(len(chosen))
        for i, income in enumerate(chosen):
            line = {"color": colours[i], "linestyle": LINES[i % len(LINES)]}
            for panel, outcome in zip(axes, panels, strict=False):
                values = households.outcomes[outcome][shown, income]
                panel.plot(households.assets[shown], values, label=f"income {income + 1} of {number}", **line)
            if "savings" in households.outcomes:
                change = households.outcomes["savings"][:, income] - households.assets
                axes[-1].plot(households.assets[shown], change[shown], label=f"income {income + 1} of {number}", **line)
        for panel, outcome in zip(axes, [*panels, "savings less assets"], strict=True):
            panel.set_title(outcome)
            panel.set_xlabel("assets")
            panel.grid(color="#e3e6ea", linewidth=0.8)
        axes[-1].axhline(0, color=GREY, linewidth=0.8)
        axes[0].legend(fontsize=8)
        caption = (
            f"What households ({name}) choose over their assets, from the least income to the largest, up to the "
            f"assets that {_SHOWN_MASS:.1%} of them do not exceed. Where savings exceed assets, a household grows "
            "richer."
        )
        return picture(f"policies-{file_name(name)}", caption, figure)


def draw_wealth(name: str, households: OnAssets) -> Picture:
    """The distribution of wealth: households by assets, stacked by income, and the share that has at most so much."""
    top, (_, number) = _top(households), households.mass.shape
    low = float(households.assets[0])
    edges = np.linspace(low, top, _BINS + 1)
    groups = np.array_split(np.arange(number), min(number, _MAX_INCOMES))
    colours = _colours(len(groups))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        below = np.zeros(_BINS)
        for i, group in enumerate(groups):
            mass = households.mass[:, group].sum(axis=1)
            states = f"income {group[0] + 1}" + (f" to {group[-1] + 1}" if len(group) > 1 else "")
            shares = _in_bins(households.assets, mass, edges)
            left.bar(
                edges[:-1], shares, np.diff(edges), below, align="edge", color=colours[i],
                label=f"{states} of {number}",
            )  # fmt: skip
            below += shares
            right.step(
                households.assets, np.cumsum(mass) / max(mass.sum(), 1e-300), where="post", color=colours[i],
                linestyle=LINES[i % len(LINES)],
            )  # fmt: skip
        right.step(households.assets, np.cumsum(households.wealth), where="post", color="black", label="all")
        right.set_xlim(low, top)
        left.set_title("share of households")
        right.set_title("share with at most these assets")
        for panel in (left, right):
            panel.set_xlabel("assets")
            panel.legend(fontsize=8)
        at_limit = float(households.wealth[0])
        caption = (
            f"Wealth of households ({name}) by income, up to the assets that {_SHOWN_MASS:.1%} of them do not exceed. "
            f"{at_limit:.1%} are at the borrowing limit, {households.borrowing_limit:g}."
        )
        return picture(f"wealth-{file_name(name)}", caption, figure)


def _in_bins(
    assets: Float[np.ndarray, " assets"], mass: Float[np.ndarray, " assets"], edges: Float[np.ndarray, " edges"]
) -> Float[np.ndarray, " bins"]:
    """The mass in each bin, where that of a point is spread evenly to the point before it; the first has its own."""
    cumulative = np.interp(edges, assets, np.cumsum(mass))
    cumulative[0] = 0.0
    return np.diff(cumulative)


def draw_lorenz(curves: Mapping[str, LorenzCurve]) -> Picture:
    """The Lorenz curves of wealth, with their Gini coefficients."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 4.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, label="all have the same")
        for i, (name, curve) in enumerate(curves.items()):
            axes.plot(
                curve.population, curve.share, color=COLOURS[i % len(COLOURS)], linestyle=LINES[i % len(LINES)],
                label=f"{name}: Gini {curve.gini:.3f}",
            )  # fmt: skip
        axes.set_xlabel("share of households, the poorest first")
        axes.set_ylabel("their share of total wealth")
        axes.legend(fontsize=9)
        caption = (
            "Lorenz curve of wealth. The Gini coefficient is the area between the diagonal and the curve over the area "
            "below the diagonal. Where households have debt, the curve falls below zero."
        )
        text = "; ".join(f"{name}: Gini {curve.gini:.4f}" for name, curve in curves.items())
        return picture("lorenz", caption, figure, text)


def draw_households(households: Mapping[str, OnAssets], pooled: LorenzCurve | None = None) -> Sequence[Picture]:
    """Policies and wealth of all households on a grid of assets, and their Lorenz curves, with that of all together."""
    curves = {name: each.lorenz for name, each in households.items()} | ({"all together": pooled} if pooled else {})
    known = {name: curve for name, curve in curves.items() if curve is not None}
    pictures = [draw(name, each) for name, each in households.items() for draw in (draw_policies, draw_wealth)]
    return [*pictures, draw_lorenz(known)] if known else pictures
