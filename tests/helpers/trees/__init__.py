"""A mean field game as a tree of nodes with the methods of OpenSpiel's states, written without that library."""

import copy
import math
from types import SimpleNamespace

import numpy as np

CELLS, STEPS = 6, 3


class FerryGame:
    """Cells in a row, between which a ferry goes to the right at even times and to the left at odd times.

    Actions: 0 stays, 1 goes right and is allowed at even times, 2 goes left and is allowed at odd times. A move fails
    with probability 1/4. The `twist` changes what the tests need.
    """

    def __init__(self, twist="", players=1, dynamics="Dynamics.MEAN_FIELD"):
        self.twist, self.players, self.dynamics = twist, players, dynamics

    def get_type(self):
        return SimpleNamespace(short_name="ferry", dynamics=self.dynamics)

    def num_players(self):
        return self.players

    def new_initial_state(self):
        return FerryState(self.twist)


class FerryState:
    def __init__(self, twist):
        self.twist, self.kind, self.cell, self.time, self.paid = twist, "chance", None, 0, 0.0
        self.wanted, self.distribution, self.lame = 0, [1 / CELLS] * CELLS, False

    # Who moves.

    def is_terminal(self):
        early = self.twist == "ends early" and self.cell == 0 and self.kind == "mean field"
        return self.kind == "end" or early

    def is_chance_node(self):
        return self.kind == "chance"

    def is_mean_field_node(self):
        return self.kind == "mean field"

    def is_simultaneous_node(self):
        return self.twist == "simultaneous" and self.kind == "decision"

    def current_player(self):
        return 0

    def observation_string(self, player):
        return f"({self.cell}, {self.time}) {self.kind}"

    # Moves.

    def clone(self):
        return copy.deepcopy(self)

    def chance_outcomes(self):
        if self.cell is None:
            return [(cell, (cell + 1) / 21) for cell in range(CELLS)]
        return [(0, 0.25), (1, 0.75)]

    def legal_actions(self):
        full = self.twist == "rounding" and int(3 * self.distribution[self.cell]) >= 2
        return [0] if full or self.lame else [0, 1 + self.time % 2]

    def child(self, action):
        new = self.clone()
        if self.cell is None:
            new.cell, new.kind = action, "decision"
        elif self.kind == "decision":
            new.wanted, new.kind, new.paid = action, "chance", 0.0
        else:
            step = {0: 0, 1: 1, 2: -1}[self.wanted] if action else 0
            new.cell = min(max(self.cell + step, 0), CELLS - 1)
            new.lame = self.twist == "memory" and self.wanted == 1 and not action
            new.time += 1
            new.kind = "mean field"
        return new

    def distribution_support(self):
        return [f"({cell}, {self.time}) mean field" for cell in range(CELLS)]

    def update_distribution(self, distribution):
        numbers = list(map(float, distribution)) if self.twist.startswith("floats") else list(distribution)
        self.distribution = numbers
        self.kind = "end" if self.time == STEPS else "chance" if self.twist == "late chance" else "decision"

    def rewards(self):
        if self.kind not in ("decision", "end") or self.cell is None:
            return [0.0]
        mass, cost = self.distribution[self.cell], 0.3 * (self.wanted > 0)
        mean = sum(cell * share for cell, share in enumerate(self.distribution))
        if self.twist == "floats, odd":
            return [math.sin(7 * mass) - cost]
        if self.twist.startswith("floats"):
            return [-math.log(mass + 1e-9) - cost]
        return [-np.log(mass + 1e-3) - cost * (1 + mass) - 0.1 * abs(mean - self.cell) ** 2]


def return_of(game, probabilities):
    """The return of a policy, by adding up over all histories, no two of which are taken for one.

    `probabilities(node, mean_field)` is the policy at the decision after a mean-field node, or at the first decision.
    """
    histories, total = [(1.0, game.new_initial_state())], 0.0
    while histories:
        if histories[0][1].is_chance_node():
            histories = [(p * q, node.child(a)) for p, node in histories for a, q in node.chance_outcomes()]
            continue
        total += sum(p * node.rewards()[0] for p, node in histories)
        if histories[0][1].is_terminal():
            return total
        if histories[0][1].is_mean_field_node():
            shares = {}
            for p, node in histories:
                name = node.observation_string(0)
                shares[name] = shares.get(name, 0.0) + p
            for _, node in histories:
                node.update_distribution([shares.get(name, 0.0) for name in node.distribution_support()])
            continue
        histories = [(p * q, node.child(a)) for p, node in histories for a, q in probabilities(node).items()]
    return total
