"""Small sizes of every named game, at which its noise, its walls and its last step all matter; and a noise chain."""

import jax.numpy as jnp
import numpy as np

from structmfg.games import NoiseChain

SMALL = {
    "bank_run": {"horizon": 3, "discount": 0.9},
    "electricity_storage": {"num_levels": 3, "horizon": 5, "discount": 0.9, "wear": 0.2},
    "botnet": {"horizon": 5, "discount": 0.9},
    "garnet": {"num_states": 6, "num_actions": 3, "branching": 2, "horizon": 3, "discount": 0.9},
    "equilibrium_price": {"elasticity": 0.7, "max_order": 1, "horizon": 3, "discount": 0.9},
    "susceptible_infected": {"horizon": 5, "discount": 0.9},
    "building_evacuation": {"floors": 2, "length": 3, "width": 2, "discount": 0.9},
    "crowd_modelling_2d": {
        "layout": ("....", ".#..", "..#."),
        "horizon": 4,
        "attraction": 0.7,
        "noise": 0.6,
        "discount": 0.9,
    },
    "routing": {"time_step": 0.5, "horizon": 8, "incident_link": "C->D", "rounding": "lottery"},
    "linear_quadratic": {"num_states": 11, "horizon": 6, "first": 2, "last": 3, "push": 4.0},
    "beach_bar": {"num_states": 9, "max_action": 2, "horizon": 6},
    "macro": {"num_wealth": 6, "num_income": 3, "num_actions": 4, "horizon": 5, "max_wealth": 20.0},
    "beach_bar_crowded": {"num_states": 9, "max_action": 2, "horizon": 6, "crowd_aversion": 0.7},
    "carmona_fouque_sun": {"num_steps": 4, "terminal_weight": 0.6, "reach": 1.0, "mean_reversion": 0.4},
    "crowd_modelling": {"num_states": 7, "horizon": 4, "discount": 0.9},
    "huggett_shocks": {"num_assets": 5, "num_actions": 3, "horizon": 4, "max_assets": 25.0, "min_share": 0.1},
    "krusell_smith": {"num_assets": 5, "num_actions": 3, "horizon": 4, "max_assets": 40.0, "min_share": 0.05},
    "left_right": {},
    "predator_prey": {"size": 3, "horizon": 3, "noise": 0.5, "attraction": 2.0, "discount": 0.9},
    "epidemic": {"num_levels": 3, "horizon": 5},
    "trade_crowding": {"num_states": 11, "max_action": 2, "horizon": 5},
}

CHAIN = NoiseChain(
    np.array([-1.0, 0.0, 2.0]), np.array([0.0, 0.4, 0.6]), np.array([[1, 0, 0], [0.2, 0, 0.8], [0.1, 0.6, 0.3]])
)


def acted(game, aggregate):
    """The aggregate state after the population has acted by the uniform policy, where the game declares more for it."""
    table = jnp.full((game.num_states, game.num_actions), 1 / game.num_actions)
    return game.decide(aggregate, lambda _: (table, None))[0]
