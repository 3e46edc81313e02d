"""The package sequence-jacobian (Auclert, Bardoczy, Rognlie & Straub 2021): its economies at our calibrations.

Its names of inputs, outputs and equations are those of its modules `examples.krusell_smith` and `examples.hank`.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

CURE = "pip install '.[sequence]' in a copy of the repository"
_HOUSEHOLD = "hh"  # its household, in every economy
_INPUTS = {"interest": "r", "wage": "w", "transfer": "Div", "discount": "beta", "disutility": "vphi"}
_OUTPUTS = {"savings": "A", "consumption": "C", "labour": "NE"}
_PATHS = {
    "productivity": "Z", "monetary": "rstar", "capital": "K", "wage": "w", "output": "Y", "inflation": "pi",
    "consumption": "C", "interest": "r",
}  # fmt: skip
_TIGHT = {_HOUSEHOLD: {"backward_tol": 1e-12, "backward_maxit": 100_000, "forward_tol": 1e-14, "forward_maxit": 10**6}}


class PeerEconomy(NamedTuple):
    """An economy of sequence-jacobian at its steady state.

    Attributes:
        model: The economy.
        steady: Its steady state.
        unknowns: Names of its unknown paths.
        targets: Names of its equations.
    """

    model: Any
    steady: Any
    unknowns: list[str]
    targets: list[str]

    @property
    def mean_field(self) -> np.ndarray:
        """(n * m,), in our order of states."""
        return np.asarray(self.steady.internals[_HOUSEHOLD]["D"]).T.reshape(-1)

    @property
    def savings(self) -> np.ndarray:
        """a'(a, e) (n, m)."""
        return np.asarray(self.steady.internals[_HOUSEHOLD]["a"]).T

    def household_jacobian(
        self, inputs: tuple[str, ...], outputs: tuple[str, ...], horizon: int, **differences: Any
    ) -> dict[str, dict[str, np.ndarray]]:
        """J[output][input] (T, T), by our names; `differences` has its `h` and `twosided`."""
        (household,) = (block for block in self.model.blocks if block.name == _HOUSEHOLD)
        names, wanted = [_INPUTS[name] for name in inputs], [_OUTPUTS[name] for name in outputs]
        found = household.jacobian(self.steady, names, wanted, T=horizon, **differences)
        return {o: {i: np.asarray(found[_OUTPUTS[o]][_INPUTS[i]]) for i in inputs} for o in outputs}

    def response(self, shocks: Mapping[str, Any], *, linear: bool, **differences: Any) -> dict[str, np.ndarray]:
        """The response to shocks, by our names."""
        solve = self.model.solve_impulse_linear if linear else self.model.solve_impulse_nonlinear
        changes = {_PATHS[name]: np.asarray(path) for name, path in shocks.items()}
        quiet = {} if linear else {"verbose": False, "tol": 1e-9}
        found = solve(
            self.steady, self.unknowns, self.targets, changes, options={_HOUSEHOLD: differences}, **quiet
        )  # fmt: skip
        return {ours: np.asarray(found[theirs]) for ours, theirs in _PATHS.items() if theirs in found}


def log_likelihood(responses: np.ndarray, data: np.ndarray) -> float:
    """The log density, with its constant, of data (N, series); `responses` (T, series, shocks) are to unit shocks."""
    estimation = importlib.import_module("sequence_jacobian.estimation")
    covariances = estimation.all_covariances(responses, np.ones(responses.shape[2]))
    return float(estimation.log_likelihood(data, covariances)) - data.size / 2 * np.log(2 * np.pi)


def version() -> str | None:
    """The version that is installed, or None."""
    try:
        importlib.import_module("sequence_jacobian")
        return importlib.metadata.version("sequence-jacobian")
    except ImportError:
        return None


def krusell_smith(num_assets: int) -> PeerEconomy:
    """The calibration of `AiyagariCalibration`, at which it finds the discount factor."""
    example = importlib.import_module("sequence_jacobian.examples.krusell_smith")
    calibrated, _, model, unknowns, equations, _ = example.dag()
    values = {
        "eis": 1.0, "delta": 0.025, "alpha": 0.11, "rho": 0.966, "sigma": 0.5, "Y": 1.0, "L": 1.0, "nS": 7,
        "nA": num_assets, "amax": 200, "r": 0.01,
    }  # fmt: skip
    start = {"beta": (0.98 / 1.01, 0.999 / 1.01)}
    found = calibrated.solve_steady_state(values, start, {"asset_mkt": 0.0}, solver="brentq", options=_TIGHT)
    return PeerEconomy(model, model.steady_state(found, options=_TIGHT), unknowns, equations)


def one_asset_hank(num_assets: int) -> PeerEconomy:
    """The calibration of our `one_asset_hank`, at which it finds the discount factor and the disutility of labour."""
    example = importlib.import_module("sequence_jacobian.examples.hank")
    calibrated, _, model, unknowns, equations, _ = example.dag()
    values = {
        "r": 0.005, "rstar": 0.005, "eis": 0.5, "frisch": 0.5, "B": 5.6, "mu": 1.2, "rho_s": 0.966, "sigma_s": 0.5,
        "kappa": 0.1, "phi": 1.5, "Y": 1.0, "Z": 1.0, "pi": 0.0, "nS": 7, "amax": 150, "nA": num_assets,
    }  # fmt: skip
    start = {"beta": 0.982, "vphi": 0.786}
    targets = {"asset_mkt": 0.0, "NE": 1.0}
    found = calibrated.solve_steady_state(values, start, targets, solver="hybr", options=_TIGHT)
    return PeerEconomy(model, model.steady_state(found, options=_TIGHT), unknowns, equations)
