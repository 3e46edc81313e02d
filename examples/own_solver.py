"""Two solvers of one's own, one of either kind: one that trains a network, and one on the tree of the noise.

`solve` gives them all that the package's own solvers have: time limits, snapshots, a step back where numbers are not
finite, and for the second one a certificate. See `structmfg.solvers.Solver` for what a solver has to define.

    python examples/own_solver.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import structmfg as smfg
from structmfg.evaluation import soft
from structmfg.solvers import Metrics, TrainingSolver, TreeSolver


class GradientAscent(TrainingSolver):
    """Gradient ascent at a constant rate, along one noise path a step, drawn at random."""

    policy: smfg.policies.NetworkPolicy
    learning_rate: float = 0.1

    def init(self, game, key):
        parameter_key, key = jax.random.split(key)
        return self.policy.initialised(parameter_key).parameters, key

    def policy_at(self, game, state):
        return self.policy.with_parameters(state[0])

    def step(self, game, state, max_steps):
        parameters, key = state
        key, noise_key = jax.random.split(key)
        paths = smfg.games.noise_paths(game, key=noise_key, num_paths=1, sampling="iid")
        trajectory = smfg.solvers.rollout(game, self.policy_at(game, state), jax.tree.map(lambda z: z[0], paths.noise))

        def logits_of(parameters):
            return self.policy.with_parameters(parameters).unroll(trajectory.observations)

        logits, chain_rule = jax.vjp(logits_of, parameters)
        no_bonus = jnp.zeros(())
        mean_return, _, in_logits = smfg.solvers.policy_gradient(game, trajectory.aggregates, logits, no_bonus)
        (gradient,) = chain_rule(in_logits)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
        parameters = jax.tree.map(lambda x, slope: x + self.learning_rate * slope, parameters, gradient)
        return (parameters, key), Metrics(mean_return, norm)


class SoftResponses(TreeSolver):
    """Soft best responses to the average of all mean fields so far, at a temperature that falls like 1 / step."""

    temperature: float = 1.0
    tolerance: float = 1e-3
    information: str = eqx.field(static=True, default="full")

    def init(self, problem):
        policy = problem.uniform()
        return policy, problem.push(policy), jnp.ones(())

    def step(self, problem, state):
        _, expected, count = state

        def choose(_, action_values):
            policy, value = soft(action_values, (self.temperature / count)[None])
            return policy, value, policy

        _, policy = problem.backward(expected, choose, None)
        expected = expected + (problem.push(policy) - expected) / (count + 1)
        return policy, expected, count + 1

    def certify(self, problem, state):
        policy, flow = problem.settled(state[0])
        return state, problem.certify(flow, policy)

    def policy_at(self, problem, state):
        return state[0]


def main(game=None, max_steps=300):
    """Solve a game in both ways: the two solutions."""
    game = game or smfg.games.make("left_right")
    training = GradientAscent(smfg.policies.memoryless(game))
    trained = smfg.solvers.solve(game, training, key=jax.random.key(0), max_steps=max_steps)
    exact = smfg.solvers.solve(game, SoftResponses(), max_steps=max_steps)
    for name, solution in {"trained": trained, "exact": exact}.items():
        exploitability = smfg.solvers.exploitability(game, solution.policy, kind="non_anticipative")
        print(f"{name}: {solution.result.value} Exploitability {exploitability.value:.2g}.")
    return trained, exact


if __name__ == "__main__":
    main()
