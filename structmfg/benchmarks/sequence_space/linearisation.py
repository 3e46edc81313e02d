"""The response of capital to productivity, linear and in an equilibrium with common noise, by the size of the shock.

For Krusell and Smith's economy with unemployment that does not depend on the phase, this prints for each of `--sizes`
the response of capital to the phase, for each unit of log productivity, with the mean of capital, and writes
linearisation.json and linearisation.png. See `structmfg.economies.sequence_space.response_of_capital`.

    python -m structmfg.benchmarks.sequence_space.linearisation --out runs/linearisation
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from structmfg._files import output_folder
from structmfg._pages import STYLE, Picture, picture
from structmfg.benchmarks._script import script_parser, write_pictures, write_results
from structmfg.benchmarks._tables import table
from structmfg.economies import KrusellSmith, forecasting_equilibrium
from structmfg.economies.sequence_space import ResponseOfCapital, response_of_capital

SIZES = (0.01, 0.1, 0.2)
_SHOWN = (1, 5, 10, 20, 39)
_WITHOUT_RISK_OF_PHASES: dict[str, Any] = {
    "unemployment": (0.07, 0.07), "unemployment_duration": (2.0, 2.0), "unemployed_on_change": (1.0, 1.0),
    "benefit": 0.05,
}  # fmt: skip
_HORIZON = 40


def response(size: float, *, num_assets: int, periods: int, num_paths: int) -> ResponseOfCapital:
    """Both responses, where productivity is 1 - size or 1 + size."""
    productivity = (1 - size, 1 + size)
    economy = KrusellSmith(productivity=productivity, num_assets=num_assets, **_WITHOUT_RISK_OF_PHASES)
    found = forecasting_equilibrium(economy, periods=periods, dropped=periods // 5)
    return response_of_capital(found, horizon=_HORIZON, num_paths=num_paths)


def rows(found: dict[float, ResponseOfCapital]) -> list[dict[str, Any]]:
    """The table: the linear response, and that of every size."""
    first = next(iter(found.values()))
    shown = [{"economy": "linear", "mean": first.steady_capital, **{f"t{t}": float(first.linear[t]) for t in _SHOWN}}]
    for size, one in found.items():
        values = {f"t{t}": f"{one.equilibrium[t]:.4f} +- {one.standard_error[t]:.4f}" for t in _SHOWN}
        shown.append({"economy": f"1 +- {size:g}", "mean": one.mean_capital, **values})
    return shown


def draw(found: dict[float, ResponseOfCapital]) -> Picture:
    """The responses, and how far mean capital is from that of the linear economy."""
    figure = Figure(figsize=(10.2, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    first = next(iter(found.values()))
    left.plot(first.linear, color="black", label="linear")
    for size, one in found.items():
        (line,) = left.plot(one.equilibrium, "--", label=f"common noise, productivity 1 ± {size:g}")
        band = 2 * one.standard_error
        left.fill_between(
            np.arange(_HORIZON), one.equilibrium - band, one.equilibrium + band, alpha=0.2, color=line.get_color()
        )
    left.set(xlabel="quarters after the phase is known", ylabel="capital per unit of log productivity")
    left.set_title("E[K | good phase] - E[K | bad phase]")
    left.legend(frameon=False)
    sizes = [f"± {size:g}" for size in found]
    right.bar(sizes, [100 * (one.mean_capital / one.steady_capital - 1) for one in found.values()])
    right.set(xlabel="shocks to productivity", ylabel="per cent of capital without shocks")
    right.set_title("More capital on average")
    text = "; ".join(f"1 ± {size:g}: largest response {one.equilibrium.max():.3f}" for size, one in found.items())
    return picture("linearisation", "The response of capital, linear and with common noise.", figure, text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = script_parser(__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES, help="of the shocks to productivity")
    parser.add_argument("--assets", type=int, default=100, help="points of the asset grid")
    parser.add_argument("--periods", type=int, default=5000, help="of the path to which the rule is fitted")
    parser.add_argument("--paths", type=int, default=256, help="paths of phases")
    chosen = parser.parse_args(arguments)
    settings = {"num_assets": chosen.assets, "periods": chosen.periods, "num_paths": chosen.paths}
    with output_folder(chosen.out, "linearisation") as folder:
        found = {size: response(size, **settings) for size in chosen.sizes}
        shown = rows(found)
        columns = {"economy": "productivity", **{f"t{t}": f"t = {t}" for t in _SHOWN}, "mean": "mean K"}
        print(table("response of capital to the phase, per unit of log productivity", columns, shown))
        with mpl.rc_context(STYLE):
            write_pictures(folder, [draw(found)])
        results = {
            str(size): {k: np.asarray(v).tolist() for k, v in one._asdict().items()} for size, one in found.items()
        }
        write_results(folder, "linearisation", settings=settings, responses=results)


if __name__ == "__main__":
    main()
