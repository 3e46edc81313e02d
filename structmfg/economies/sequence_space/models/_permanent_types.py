"""`PermanentTypes`: the economy of capital with two kinds of households for ever, of which one is more patient."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Array
from typing_extensions import override

from structmfg._checks import check_between
from structmfg.economies._aiyagari import AiyagariCalibration
from structmfg.economies._economy import Economy, Household
from structmfg.economies._stationary_equilibrium import stationary_equilibrium
from structmfg.economies.sequence_space._block import HouseholdBlock, household_steady_state
from structmfg.economies.sequence_space._capital import CapitalEconomy
from structmfg.economies.sequence_space._economy import (
    Equations,
    HouseholdFunction,
    SequenceSteadyState,
    steady_state,
)
from structmfg.economies.sequence_space._paths import Paths
from structmfg.economies.sequence_space._saving import SavingBlock


class PermanentTypes(CapitalEconomy):
    """The economy of capital where a share of all households, the patient, has the discount factor `discount`.

    The others, the impatient, have `impatient_discount`; all else they have in common. Who is patient stays so.

    Attributes:
        patient_share: The share of the patient.
    """

    patient_share: float = 0.5

    exogenous: ClassVar[tuple[str, ...]] = ("productivity", "discount", "impatient_discount")

    @property
    @override
    def households(self) -> dict[str, HouseholdBlock]:
        return {"patient": self.household, "impatient": self.household}

    @override
    def residuals(self, paths: Paths, households: Mapping[str, HouseholdFunction]) -> Equations:
        share = self.patient_share

        def mean(**inputs: Any) -> dict[str, Array]:
            patient = households["patient"](**inputs)
            impatient = households["impatient"](**{**inputs, "discount": paths["impatient_discount"]})
            return {name: share * patient[name] + (1 - share) * impatient[name] for name in patient}

        return super().residuals(paths, {"household": mean})


def permanent_types(
    calibration: AiyagariCalibration | None = None, *, impatient_discount: float = 0.98, patient_share: float = 0.5
) -> SequenceSteadyState:
    """Return the steady state of `PermanentTypes` that has the interest rate and output of a calibration.

    The discount factor of the patient is found at which all households together hold the capital of firms.

    Args:
        calibration: Interest rate, output, technology, income and grid; by default `AiyagariCalibration()`.
        impatient_discount: The discount factor of the impatient.
        patient_share: The share of the patient, above 0.

    Raises:
        ValueError: If a parameter is out of range, or no discount factor of the patient will do: for example where the
            impatient alone would hold more than the capital.
        RuntimeError: If no steady state is found.
    """
    check_between("patient_share", patient_share, 0, 1, open_low=True)
    check_between("impatient_discount", impatient_discount, 0, 1, open_low=True)
    known = AiyagariCalibration() if calibration is None else calibration
    at = known.quantities(impatient_discount)
    impatient = SavingBlock.of(known.household(impatient_discount), at["wage"])
    inputs = {"interest": known.interest, "wage": at["wage"], "transfer": 0.0, "discount": impatient_discount}
    held = (1 - patient_share) * household_steady_state(impatient, inputs).outputs["savings"]
    found = stationary_equilibrium(_Patient(known, (at["capital"] - held) / patient_share))
    economy = PermanentTypes(
        SavingBlock.of(found.household, at["wage"]), known.capital_share, known.depreciation, known.income.mean,
        patient_share,
    )  # fmt: skip
    values = {
        "productivity": at["productivity"], "discount": found.unknown, "impatient_discount": impatient_discount,
        "capital": at["capital"],
    }  # fmt: skip
    return steady_state(economy, values, tolerance=1e-7)


class _Patient(Economy):
    """A calibration where the assets that each patient household must hold are known."""

    unknown = "discount of the patient"

    def __init__(self, calibration: AiyagariCalibration, assets: float) -> None:
        self.calibration, self.assets = calibration, assets

    @override
    def bracket(self) -> tuple[float, float]:
        return self.calibration.bracket()

    @override
    def household(self, x: float) -> Household:
        return self.calibration.household(x)

    @override
    def supply(self, x: float) -> float:
        return self.assets
