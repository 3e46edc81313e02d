"""Solvers that learn from samples, small enough to compile quickly."""

import structmfg as smfg
from structmfg.solvers import IPPO, RIPPO, MunchausenOMD

SIZES = {"hidden": 4, "width": 4, "depth": 1, "rank": 2}
_PROXIMAL = {"num_populations": 2, "num_agents": 6, "rollout": 8, "num_minibatches": 3}
SMALL = {
    IPPO: _PROXIMAL,
    RIPPO: _PROXIMAL,
    MunchausenOMD: {
        "num_populations": 2, "num_agents": 6, "num_gradients": 3, "steps_per_gradient": 2, "batch_size": 8,
        "agents_per_observation": 2, "replay_size": 60, "replay_start": 30,
    },
}  # fmt: skip


def tiny_solver(kind, game, **settings):
    """A solver of this kind, or of a class derived from it, with small networks."""
    network = smfg.policies.recurrent if kind.recurrent else smfg.policies.memoryless
    small = next(SMALL[base] for base in kind.__mro__ if base in SMALL)
    return kind(network(game, **SIZES), **{**small, **settings})
