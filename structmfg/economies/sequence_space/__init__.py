"""Sequence space: Jacobians, impulse responses and transition paths of economies with heterogeneous households."""

from structmfg.economies.sequence_space._block import HouseholdBlock, HouseholdSteadyState, household_steady_state
from structmfg.economies.sequence_space._capital import BondEconomy, CapitalEconomy, in_sequence_space
from structmfg.economies.sequence_space._determinacy import winding_number
from structmfg.economies.sequence_space._economy import SequenceEconomy, SequenceSteadyState, steady_state
from structmfg.economies.sequence_space._game import GameBlock, GameEconomy, game_steady_state
from structmfg.economies.sequence_space._household_path import HouseholdPath, follow
from structmfg.economies.sequence_space._impulse_response import ImpulseResponse, impulse_response, jacobian
from structmfg.economies.sequence_space._linear import LinearEconomy, household_jacobians, linearise
from structmfg.economies.sequence_space._linearisation import (
    ResponseOfCapital,
    response_of_capital,
    without_aggregate_shocks,
)
from structmfg.economies.sequence_space._logit import LogitBlock
from structmfg.economies.sequence_space._paths import Paths, autoregressive
from structmfg.economies.sequence_space._saving import SavingBlock
from structmfg.economies.sequence_space._transition_path import TransitionPath, transition_path
from structmfg.economies.sequence_space.estimation import (
    MovingAverage,
    PosteriorMode,
    SecondMoments,
    log_likelihood,
    posterior_mode,
    second_moments,
    simulate,
)
from structmfg.economies.sequence_space.models import (
    OneAssetHANK,
    PermanentTypes,
    Work,
    WorkingBlock,
    one_asset_hank,
    permanent_types,
)

__all__ = [
    "BondEconomy",
    "CapitalEconomy",
    "GameBlock",
    "GameEconomy",
    "HouseholdBlock",
    "HouseholdPath",
    "HouseholdSteadyState",
    "ImpulseResponse",
    "LinearEconomy",
    "LogitBlock",
    "MovingAverage",
    "OneAssetHANK",
    "Paths",
    "PermanentTypes",
    "PosteriorMode",
    "ResponseOfCapital",
    "SavingBlock",
    "SecondMoments",
    "SequenceEconomy",
    "SequenceSteadyState",
    "TransitionPath",
    "Work",
    "WorkingBlock",
    "autoregressive",
    "follow",
    "game_steady_state",
    "household_jacobians",
    "household_steady_state",
    "impulse_response",
    "in_sequence_space",
    "jacobian",
    "linearise",
    "log_likelihood",
    "one_asset_hank",
    "permanent_types",
    "posterior_mode",
    "response_of_capital",
    "second_moments",
    "simulate",
    "steady_state",
    "transition_path",
    "winding_number",
    "without_aggregate_shocks",
]
