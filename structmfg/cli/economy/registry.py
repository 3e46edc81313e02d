"""The economies of `structmfg economy` by name: their parameters, and how each is made; or one of a user's own."""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import docstring_parser

from structmfg._checks import check_integer, check_positive
from structmfg._import import import_object
from structmfg._text import check_name
from structmfg.economies import Aiyagari, AiyagariCalibration, Economy, Huggett, Income, stationary_equilibrium
from structmfg.economies.sequence_space import (
    BondEconomy,
    CapitalEconomy,
    OneAssetHANK,
    PermanentTypes,
    SequenceSteadyState,
    in_sequence_space,
    one_asset_hank,
    permanent_types,
)

_TEXTS = {
    "discount": "beta, by which utility a period later counts",
    "interest": "r, in the steady state",
    "output": "Y, in the steady state",
    "risk_aversion": "sigma, the inverse of the elasticity of substitution over time",
    "capital_share": "alpha, the exponent of capital in production",
    "depreciation": "delta, the share of capital that is lost a period",
    "productivity": "Z, in the steady state",
    "bond_supply": "B per household, in the steady state",
    "borrowing_limit": "b, the least assets: 0, or negative",
    "num_incomes": "states of income",
    "income_persistence": "autocorrelation of log income",
    "income_deviation": "standard deviation of log income",
    "num_assets": "points of the asset grid",
    "max_assets": "its last point; it is extended where households reach it",
    "pivot": "of the grid: the larger, the more even it is",
}


class Parameter(NamedTuple):
    """A parameter of an economy: its type, its default, and what it is."""

    kind: Any
    default: Any
    text: str


class NamedEconomy(NamedTuple):
    """An economy that has a name.

    Attributes:
        name: The name.
        about: One line about it.
        shocks: Its exogenous paths, the one that is shocked by default first; none where they are not known before it
            is made.
        parameters: Its parameters, by name.
        make: The function from parameters to the steady state.
        shares: The share of each of its households in the population, where it has several.
    """

    name: str
    about: str
    shocks: tuple[str, ...]
    parameters: dict[str, Parameter]
    make: Callable[..., SequenceSteadyState]
    shares: Callable[[Any], dict[str, float]] | None = None

    def steady_state(self, given: Mapping[str, Any]) -> SequenceSteadyState:
        """The steady state with these parameters, and the default of every other.

        Raises:
            ValueError: A parameter is out of range, or no steady state is possible with them.
            RuntimeError: No steady state was found.
        """
        values = {name: parameter.default for name, parameter in self.parameters.items()} | dict(given)
        steady: Any = self.make(**values)
        if not isinstance(steady, SequenceSteadyState):
            raise ValueError(f"{self.name} must return a SequenceSteadyState, but returns a {type(steady).__name__}")
        return steady


def _parameters(source: Callable[..., Any], **defaults: Any) -> dict[str, Parameter]:
    """The parameters of a class or function, of those that a command line can hold; with other defaults."""
    texts = {each.arg_name: each.description or "" for each in docstring_parser.parse(source.__doc__ or "").params}
    hints = typing.get_type_hints(source)
    found = {}
    for name, parameter in inspect.signature(source).parameters.items():
        if hints.get(name) in (int, float, str, bool) and parameter.default is not inspect.Parameter.empty:
            text = " ".join(texts.get(name, "").split()).partition(". ")[0].removesuffix(".")
            default = defaults.get(name, parameter.default)
            found[name] = Parameter(hints[name], default, text or _TEXTS.get(name, ""))
    return found


def _income(number: int, persistence: float, deviation: float) -> dict[str, Parameter]:
    values = {"num_incomes": number, "income_persistence": persistence, "income_deviation": deviation}
    return {name: Parameter(type(value), value, _TEXTS[name]) for name, value in values.items()}


def _with_income(values: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the chain of income in the place of its three parameters."""
    number, persistence, deviation = (values.pop(f) for f in ("num_incomes", "income_persistence", "income_deviation"))
    check_integer("num_incomes", number, at_least=2)
    check_positive("income_deviation", deviation)
    if not -1 < persistence < 1:
        raise ValueError(f"income_persistence must be above -1 and below 1, but is {persistence}")
    return values | {"income": Income.rouwenhorst(number, persistence, deviation)}


def _stationary(kind: Callable[..., Economy]) -> Callable[..., SequenceSteadyState]:
    """The function that makes the stationary equilibrium of economies of this class, in sequence space."""

    def make(**parameters: Any) -> SequenceSteadyState:
        economy = kind(**_with_income(parameters))
        return in_sequence_space(economy, stationary_equilibrium(economy))

    return make


def _permanent_types(*, impatient_discount: float, patient_share: float, **calibration: Any) -> SequenceSteadyState:
    calibrated = AiyagariCalibration(**_with_income(calibration))
    return permanent_types(calibrated, impatient_discount=impatient_discount, patient_share=patient_share)


_ALL = [
    NamedEconomy(
        "krusell_smith",
        "capital and firms; the discount factor is found at which the interest rate is the one wanted",
        CapitalEconomy.exogenous,
        _parameters(AiyagariCalibration) | _income(7, 0.966, 0.5),
        _stationary(AiyagariCalibration),
    ),
    NamedEconomy(
        "aiyagari",
        "capital and firms; the interest rate clears the market of capital",
        CapitalEconomy.exogenous,
        _parameters(Aiyagari) | _income(7, 0.6, 0.2),
        _stationary(Aiyagari),
    ),
    NamedEconomy(
        "huggett",
        "a bond in small supply; the interest rate clears its market",
        ("income", *(name for name in BondEconomy.exogenous if name != "income")),
        # At Huggett's own supply and income risk no path returns after a shock; see `BondEconomy`.
        _parameters(Huggett, bond_supply=1.0) | _income(3, 0.6, 0.2),
        _stationary(Huggett),
    ),
    NamedEconomy(
        "hank",
        "households who work, sticky prices, and a central bank that sets the interest rate by inflation",
        ("monetary", *(name for name in OneAssetHANK.exogenous if name != "monetary")),
        _parameters(one_asset_hank) | _income(7, 0.966, 0.5),
        lambda **parameters: one_asset_hank(**_with_income(parameters)),
    ),
    NamedEconomy(
        "permanent_types",
        "capital and firms; some households are more patient than the others for ever",
        PermanentTypes.exogenous,
        _parameters(permanent_types) | _parameters(AiyagariCalibration) | _income(7, 0.966, 0.5),
        _permanent_types,
        lambda economy: {"patient": economy.patient_share, "impatient": 1 - economy.patient_share},
    ),
]
ECONOMIES = {economy.name: economy for economy in _ALL}


def named_economy(name: str) -> NamedEconomy:
    """An economy of the package by its name, or a user's own, module:function or file.py:function.

    A user's function takes parameters by keyword, each with a default, and returns a `SequenceSteadyState`.

    Raises:
        ValueError: There is no such economy, it cannot be imported, or is no function.
    """
    if ":" not in name:
        check_name("economy", name, ECONOMIES)
        return ECONOMIES[name]
    function = import_object(name, "an economy of your own")
    if not inspect.isroutine(function):
        raise ValueError(f"{name} must be a function that returns a SequenceSteadyState, but is {function!r:.80}")
    about = inspect.cleandoc(function.__doc__ or "").partition("\n")[0]
    return NamedEconomy(name, about, (), _parameters(function), function)
