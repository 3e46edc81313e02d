"""Figures of one's own game: what the game tells about itself, and a figure from the trajectories.

python examples/own_figure.py
"""

import jax.numpy as jnp
import matplotlib.figure
import numpy as np
from own_game import Swimmers

import structmfg as smfg
from structmfg import reports


class ShownSwimmers(Swimmers):
    """Every report of `structmfg` draws what these five methods return."""

    def quantities(self, aggregate):
        return {"largest crowd": aggregate.mean_field.max(), "swimmers at sea": aggregate.mean_field[10:].sum()}

    def state_axis(self):
        return "distance from the shore (m)", 5.0 * jnp.arange(self.num_states)

    def action_axis(self):
        return "mean displacement (m per step)", 5.0 * np.array([-1, 0, 1])

    def noise_label(self, noise):
        return f"storm from step {int(np.argmax(noise > 0))}" if np.any(noise > 0) else "calm"

    def captions(self):
        return {"mean_field": "Look at how many are still at sea when a storm begins."}


def draw(game, policy):
    """The quantities of the game over time, a panel each, a line for every noise path."""
    shown = reports.trajectories(game, policy)
    figure = matplotlib.figure.Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, len(shown.quantities))
    for axes, (name, values) in zip(panels, shown.quantities.items(), strict=True):
        for label, line in zip(shown.labels, values, strict=True):
            axes.plot(line, label=label)
        axes.set(title=name, xlabel="time (steps)")
    panels[0].legend()
    return figure


if __name__ == "__main__":
    game = ShownSwimmers()
    policy = smfg.policies.uniform(game)
    draw(game, policy).savefig("own_quantities.png")
    reports.draw_mean_fields(game, {"uniform": reports.trajectories(game, policy)}).savefig("own_mean_fields.png")
