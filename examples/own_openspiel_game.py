"""A mean field game of one's own, written for OpenSpiel: three times the choice between two roads.

    structmfg solve openspiel:examples/own_openspiel_game.py:own_toll_road --solver exact --precision float64

The file registers the game under its short name. OpenSpiel copies states, so a state holds numbers, and not the game.
"""

import numpy as np
import pyspiel

_PARAMETERS = {"toll": 1.0}
_TYPE = pyspiel.GameType(
    short_name="own_toll_road",
    long_name="Toll road",
    dynamics=pyspiel.GameType.Dynamics.MEAN_FIELD,
    chance_mode=pyspiel.GameType.ChanceMode.EXPLICIT_STOCHASTIC,
    information=pyspiel.GameType.Information.PERFECT_INFORMATION,
    utility=pyspiel.GameType.Utility.GENERAL_SUM,
    reward_model=pyspiel.GameType.RewardModel.REWARDS,
    max_num_players=1,
    min_num_players=1,
    provides_information_state_string=True,
    provides_information_state_tensor=False,
    provides_observation_string=True,
    provides_observation_tensor=False,
    parameter_specification=_PARAMETERS,
)


class TollRoad(pyspiel.Game):
    """At the second time the toll road is closed to those who were on it."""

    def __init__(self, params=None):
        self.toll = (params or _PARAMETERS)["toll"]
        info = pyspiel.GameInfo(
            num_distinct_actions=2,
            max_chance_outcomes=2,
            num_players=1,
            min_utility=-100.0,
            max_utility=100.0,
            utility_sum=0.0,
            max_game_length=3,
        )
        super().__init__(_TYPE, info, params or _PARAMETERS)

    def new_initial_state(self):
        return Road(self)

    def make_py_observer(self, iig_obs_type=None, params=None):
        return Observer()


class Road(pyspiel.State):
    """Chance puts an agent on a road; then the population moves and the agent chooses, in turns."""

    def __init__(self, game):
        super().__init__(game)
        self.toll, self.road, self.time, self.player = game.toll, None, 0, pyspiel.PlayerId.CHANCE
        self.shares = [0.5, 0.5]

    def current_player(self):
        return pyspiel.PlayerId.TERMINAL if self.is_terminal() else self.player

    def is_terminal(self):
        return self.time == 3 and self.player == pyspiel.PlayerId.DEFAULT_PLAYER_ID

    def chance_outcomes(self):
        return [(0, 0.5), (1, 0.5)]

    def _legal_actions(self, player):
        return [0] if self.time == 1 and self.road == 1 else [0, 1]

    def _apply_action(self, action):
        self.road = action
        if self.player == pyspiel.PlayerId.CHANCE:
            self.player = pyspiel.PlayerId.DEFAULT_PLAYER_ID
        else:
            self.time += 1
            self.player = pyspiel.PlayerId.MEAN_FIELD

    def distribution_support(self):
        return [f"{road} at {self.time} before" for road in range(2)]

    def update_distribution(self, distribution):
        self.shares, self.player = list(distribution), pyspiel.PlayerId.DEFAULT_PLAYER_ID

    def rewards(self):
        if self.player != pyspiel.PlayerId.DEFAULT_PLAYER_ID:
            return [0.0]
        return [-np.exp(self.shares[self.road]) - self.toll * self.road]

    def returns(self):
        return self.rewards()

    def _action_to_string(self, player, action):
        return str(action)

    def __str__(self):
        return f"{self.road} at {self.time}" + (" before" if self.player == pyspiel.PlayerId.MEAN_FIELD else "")


class Observer:
    """Agents see their state's text, which must tell all that may follow."""

    def __init__(self):
        self.tensor, self.dict = None, {}

    def set_from(self, state, player):
        pass

    def string_from(self, state, player):
        return str(state)


pyspiel.register_game(_TYPE, TollRoad)
