"""A policy of one's own: an equinox network, as a pair of pure functions.

python examples/own_policy.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import structmfg as smfg


class FunctionPolicyGradient(smfg.solvers.StructuralPolicyGradient):
    """Structural policy gradient for any policy that `policies.from_functions` makes."""

    trains = smfg.policies.FunctionPolicy


def equinox_policy(game, width=16):
    """pi(a | s, o_t, t): one perceptron over the features of a state beside the observation and the time."""
    features = jnp.asarray(game.state_features(), float)
    inputs = features.shape[1] + game.observation_size + 1

    def network(key):
        return eqx.nn.MLP(inputs, game.num_actions, width, 2, key=key)

    static = eqx.partition(network(jax.random.key(0)), eqx.is_array)[1]

    def init(key):
        return eqx.filter(network(key), eqx.is_array)

    def apply(parameters, hidden):
        pairs = jnp.concatenate([features, jnp.broadcast_to(hidden, (len(features), hidden.size))], axis=1)
        return jax.vmap(eqx.combine(parameters, static))(pairs)

    return smfg.policies.from_functions(game, init, apply)


def main(max_steps=200):
    game = smfg.games.make("linear_quadratic", num_states=21, max_action=2, horizon=6, first=1, last=3, push=4.0)
    policy = equinox_policy(game)
    solver = FunctionPolicyGradient(policy, num_paths=2, learning_rate=1e-2, temperature=1.0, final_temperature=1e-2)
    solution = smfg.solvers.solve(game, solver, key=jax.random.key(0), max_steps=max_steps)
    policies = {"uniform": smfg.policies.uniform(game), "trained": solution.policy}
    return {name: smfg.solvers.exploitability(game, policy).value for name, policy in policies.items()}


if __name__ == "__main__":
    print(main())
