"""A game that goes on for ever: what its solvers need of it, and the exploitability of a policy.

An equilibrium is a pair of a policy pi and a mean field mu with mu = (A^pi)^T mu, such that pi is a best response to
mu for ever. Values are those of the resolvent, V^pi = (I - gamma A^pi)^-1 r^pi, those of a best response come from
Howard's policy iteration, and the exploitability is

    mu . (V* - V^pi)  =  mu . (I - gamma A^pi)^-1 (V* - sum_a pi(a | .) q*(., a)),

a resolvent of losses that are not negative (Kakade & Langford 2002), so that nothing cancels. Nothing is hidden or
random for all, so the three kinds of exploitability are one.

**Which stationary mean field.** A policy may have several, or a chain with a period. Its mean field is the limit of the
lazy flow mu <- (mu + A^T mu) / 2 from a start: the game's initial mean field, or that of a `StationaryPolicy`. Where
moves do not depend on the mean field this is the limit of the Cesaro means, the mixture of the distributions of the
closed classes by the probabilities of ending in each, and elimination without subtraction gives it
(`linear.cesaro_limit`). Elsewhere the flow is followed, and Newton's method takes its end to a fixed point.

All is computed on the host, by matrices of SciPy in double precision.
"""

from typing import NamedTuple, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, ArrayLike, Float

from structmfg._checks import check_rows
from structmfg._flags import own_rules
from structmfg.evaluation._best_response import BestResponse
from structmfg.evaluation._tree_problem import greedy
from structmfg.games import (
    AggregateState,
    Game,
    Noise,
    as_game,
    check_block_masses,
    check_blocks_closed,
    check_stationary,
)
from structmfg.linear import cesaro_limit, solve_resolvent
from structmfg.policies import Policy, StationaryPolicy, TabularPolicy, as_policy

RESIDUAL = 1e-10  # the largest ||(A^pi)^T mu - mu||_1 of a mean field that counts as stationary
_MAX_FLOW = 20_000  # steps of the lazy flow
_MAX_NEWTON = 20
_NEAR = 0.05  # how far in the 1-norm Newton's method may lead from the end of the flow
_IMPROVES = 1e-13  # relative to the action values: an action that is better by less does not replace another
_MAX_IMPROVEMENTS = 1000
_ROWS = 1e-5  # how far from one the rows of kernels may sum

Matrix: TypeAlias = scipy.sparse.csr_array
Probabilities: TypeAlias = Float[np.ndarray, "states actions"]
Vector: TypeAlias = Float[np.ndarray, " states"]


class Response(NamedTuple):
    """A best response to a mean field for ever: its values (S,), action values (S, A), and a policy (S, A)."""

    values: Vector
    action_values: Probabilities
    policy: Probabilities


class StationaryCertificate(NamedTuple):
    """What is known of a policy at a mean field.

    Attributes:
        gain: The exploitability mu . (V* - V^pi), in units of the return.
        mean_return: mu . V^pi.
        residual: ||(A^pi)^T mu - mu||_1.
        gains: V* - V^pi (S,).
        response: A best response.
    """

    gain: float
    mean_return: float
    residual: float
    gains: Vector
    response: Response


class Linearised(NamedTuple):
    """At (mu, V, x): action values q = r + gamma P V (S, A), the push P^T x (S,), and their derivatives in mu."""

    action_values: Float[np.ndarray, "states actions"]
    pushed: Vector
    values_in_mean_field: Float[np.ndarray, "states actions states"]
    push_in_mean_field: Float[np.ndarray, "states states"]


class StationaryProblem:
    """A game that goes on for ever, as matrices on the host.

    Attributes:
        game: The game.
        noise: Its one noise point.
        start: The initial mean field (S,).
    """

    def __init__(self, game: Game) -> None:
        """Make the problem of a game.

        Raises:
            ValueError: If the game ends, its noise takes several values, or masses or rows of kernels do not sum to one
                at the start.
        """
        self.game = game
        with jax.enable_x64(True):
            self.noise = check_stationary(game)
            self.start: Vector = np.array(game.initial_mean_field(self.noise), float)
        check_rows("initial_mean_field", self.start[None])
        if (fault := self.fault(self.start)) is not None:
            raise ValueError(fault)

    def fault(self, mean_field: Vector) -> str | None:
        """In words, why the game is not one at a mean field; None where it is."""
        moves, _ = self.tables(mean_field)
        sums, least = moves.sum(axis=1), moves.min()
        worst = int(np.abs(sums - 1).argmax())
        if np.abs(sums[worst] - 1) <= _ROWS and least >= -_ROWS:
            return self._fault_of_populations(moves, mean_field)
        state, action = divmod(worst, self.game.num_actions)
        return (
            "the rows of kernel must be nonnegative and sum to 1, but that of "
            f"state {state}, action {action} sums to {sums[worst]:.6g}, and the least entry of all is {least:.6g}"
        )

    def _fault_of_populations(self, moves: Matrix, mean_field: Vector) -> str | None:
        """In words, that a population has not its mass or does not keep its agents."""
        blocks, kept = self.game.populations, np.ones((self.game.num_states, self.game.num_actions))
        for each in blocks:
            kept[each.block] = moves[:, each.block].sum(axis=1).reshape(kept.shape)[each.block]
        try:
            check_block_masses(blocks, mean_field, "at the mean field")
            check_blocks_closed(blocks, kept, "")
        except ValueError as error:
            return str(error)
        return None

    def uniform(self) -> Probabilities:
        """The uniform policy (S, A)."""
        return np.full((self.game.num_states, self.game.num_actions), 1 / self.game.num_actions)

    def tables(self, mean_field: Vector) -> tuple[Matrix, Probabilities]:
        """The transition probabilities (S*A, S) and the rewards (S, A) at a mean field."""
        with jax.enable_x64(True):
            targets, probabilities, rewards = map(np.array, _tables(self.game, self.noise, mean_field))
        rows = rewards.size
        starts = np.arange(rows + 1) * targets.shape[2]
        moves = Matrix((probabilities.ravel(), targets.ravel(), starts), shape=(rows, self.game.num_states))
        moves.sum_duplicates()
        return moves, rewards

    def linearised(self, mean_field: Vector, values: Vector, occupancy: Probabilities) -> Linearised:
        """Action values and push at (mu, V, x), with their derivatives in mu."""
        with jax.enable_x64(True):
            return Linearised(*map(np.asarray, _linearised(self.game, self.noise, mean_field, values, occupancy)))

    def settle(self, policy: Probabilities, start: Vector) -> Vector:
        """The stationary mean field of a policy, from a start: see the module."""
        before = under(self.tables(start)[0], policy)
        limit = cesaro_limit(before, start).mass
        after = under(self.tables(limit)[0], policy)
        if abs(after - before).max() <= 1e-15:  # moves do not depend on the mean field
            return limit
        with jax.enable_x64(True):
            flown = np.array(_flow(self.game, self.noise, policy, start))
        return self._polish(policy, flown)

    def _polish(self, policy: Probabilities, mean_field: Vector) -> Vector:
        """Newton's method for mu = (A^pi)^T mu, where it stays near."""
        best, residual = mean_field, self.residual(policy, mean_field)
        current, size = mean_field, len(mean_field)
        for _ in range(_MAX_NEWTON):
            if residual <= 1e-16:
                break
            mass = current[:, None] * policy
            at = self.linearised(current, np.zeros(size), mass)
            slope = under(self.tables(current)[0], policy).toarray().T + at.push_in_mean_field
            matrix = np.concatenate([np.eye(size) - slope, np.ones((1, size))])
            change = np.linalg.lstsq(matrix, np.append(at.pushed - current, 0.0), rcond=None)[0]
            current = np.maximum(current + change, 0)
            current = current / current.sum()
            if (
                not np.abs(current - mean_field).sum() <= _NEAR
                or not (now := self.residual(policy, current)) < residual
            ):
                break
            best, residual = current, now
        return best

    def residual(self, policy: Probabilities, mean_field: Vector) -> float:
        """||(A^pi)^T mu - mu||_1."""
        return float(np.abs(under(self.tables(mean_field)[0], policy).T @ mean_field - mean_field).sum())

    def action_values(self, policy: Probabilities, mean_field: Vector) -> Probabilities:
        """The action values (S, A) of a policy that is played for ever at a mean field."""
        moves, rewards = self.tables(mean_field)
        return self._look_ahead(moves, rewards, self._values(moves, rewards, policy))

    def _values(self, moves: Matrix, rewards: Probabilities, policy: Probabilities) -> Vector:
        return solve_resolvent(under(moves, policy), np.sum(policy * rewards, axis=1), self.game.discount)

    def _look_ahead(self, moves: Matrix, rewards: Probabilities, values: Vector) -> Probabilities:
        return rewards + self.game.discount * (moves @ values).reshape(rewards.shape)

    def respond(self, mean_field: Vector) -> Response:
        """A best response to a mean field, by policy iteration (Howard 1960).

        Of equally good actions its policy takes those of `greedy`.
        """
        moves, rewards = self.tables(mean_field)
        states = np.arange(len(rewards))
        chosen = rewards.argmax(axis=1)
        for _ in range(_MAX_IMPROVEMENTS):
            values = self._values(moves, rewards, np.eye(rewards.shape[1])[chosen])
            q = self._look_ahead(moves, rewards, values)
            better = q.max(axis=1) > q[states, chosen] + _IMPROVES * (1 + np.abs(q).max())
            if not better.any():
                break
            chosen = np.where(better, q.argmax(axis=1), chosen)
        return Response(q.max(axis=1), q, self.greedy(q))

    def greedy(self, action_values: Probabilities) -> Probabilities:
        """The greedy policy, with the ties of `greedy`."""
        with jax.enable_x64(True):
            return np.array(_greedy(action_values))

    def certify(self, policy: Probabilities, mean_field: Vector) -> StationaryCertificate:
        """The certificate of a policy at a mean field; its numbers are NaN where rewards are not finite."""
        moves, rewards = self.tables(mean_field)
        chain = under(moves, policy)
        residual = float(np.abs(chain.T @ mean_field - mean_field).sum())
        if not (np.isfinite(rewards).all() and np.isfinite(mean_field).all() and np.isfinite(policy).all()):
            nothing = np.full(len(mean_field), np.nan)
            return StationaryCertificate(np.nan, np.nan, residual, nothing, Response(nothing, rewards, policy))
        response = self.respond(mean_field)
        losses = np.sum(policy * (response.values[:, None] - response.action_values), axis=1)
        gains = solve_resolvent(chain, losses, self.game.discount)
        mean_return = float(mean_field @ self._values(moves, rewards, policy))
        return StationaryCertificate(float(mean_field @ gains), mean_return, residual, gains, response)


def under(moves: Matrix, policy: Probabilities) -> Matrix:
    """The matrix (S, S) of A^pi, from that (S*A, S) of P."""
    states, actions = policy.shape
    starts = np.arange(states + 1) * actions
    mixing = Matrix((policy.ravel(), np.arange(policy.size), starts), shape=(states, policy.size))
    chain = Matrix(mixing @ moves)
    chain.eliminate_zeros()
    return chain


_greedy = jax.jit(greedy)


def _at(noise: Noise, mean_field: Array) -> AggregateState:
    return AggregateState(mean_field, noise, jnp.zeros((), int))


@eqx.filter_jit
def _tables(game: Game, noise: Noise, mean_field: ArrayLike) -> tuple[Array, Array, Array]:
    """The successors (S, A, K), their probabilities, and the rewards (S, A)."""
    aggregate = _at(noise, jnp.asarray(mean_field, float))
    targets, probabilities = game.kernel(aggregate).successors()
    return targets, probabilities, game.reward(aggregate, aggregate)


@eqx.filter_jit
def _linearised(
    game: Game, noise: Noise, mean_field: ArrayLike, values: ArrayLike, occupancy: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    def both(mean_field: Array) -> tuple[Array, Array]:
        aggregate = _at(noise, mean_field)
        kernel = game.kernel(aggregate)
        q = game.reward(aggregate, aggregate) + game.discount * kernel.expect(jnp.asarray(values, float))
        return q, kernel.push(jnp.asarray(occupancy, float))

    point = jnp.asarray(mean_field, float)
    return *both(point), *jax.jacfwd(both)(point)


@eqx.filter_jit
def _flow(game: Game, noise: Noise, policy: ArrayLike, start: ArrayLike) -> Array:
    """The lazy flow of the mean field, until it stands still or the steps are used up."""

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        mass, _, steps = state
        moved = game.kernel(_at(noise, mass)).push(mass[:, None] * jnp.asarray(policy, float))
        following = (mass + moved) / 2
        return following / jnp.sum(following), jnp.sum(jnp.abs(moved - mass)), steps + 1

    def goes_on(state: tuple[Array, Array, Array]) -> Array:
        return (state[1] > 1e-15) & (state[2] < _MAX_FLOW)

    first = jnp.asarray(start, float), jnp.ones(()), jnp.zeros((), int)
    return jax.lax.while_loop(goes_on, step, first)[0]


def settled(problem: StationaryProblem, policy: Policy | ArrayLike) -> tuple[Probabilities, Vector]:
    """The table (S, A) of a policy, with rows that sum to one, and its stationary mean field.

    Raises:
        ValueError: If the policy is neither a table nor stationary.
    """
    given = as_policy(problem.game, policy)
    if not isinstance(given, StationaryPolicy | TabularPolicy):
        raise ValueError(
            "the policy of a game that goes on for ever must be a table (S, A), or a policies.StationaryPolicy, but is "
            f"a {type(given).__name__}"
        )
    numbers = given.table if isinstance(policy, Policy) else policy  # a table in double precision stays so
    table = np.asarray(numbers, np.float64).reshape(problem.uniform().shape)
    table = table / table.sum(axis=1, keepdims=True)
    start = problem.start
    if isinstance(given, StationaryPolicy):
        start = np.asarray(given.mean_field, np.float64)
        start = start / start.sum()
    return table, problem.settle(table, start)


@own_rules()
def stationary_response(game: Game, policy: Policy | ArrayLike) -> BestResponse:
    """The best response to a population that follows a policy for ever, at the policy's stationary mean field.

    Args:
        game: A game with horizon None.
        policy: A table (S, A), whose mean field is the limit from the game's initial one, or a `StationaryPolicy`.

    Returns:
        The best response, with one path. Its mean field is the stationary one.

    Raises:
        ValueError: If the game ends or its noise takes several values, it is no game at the mean field, numbers are not
            finite, or the mean field does not settle.
    """
    problem = StationaryProblem(as_game(game))
    table, mean_field = settled(problem, policy)
    if (fault := problem.fault(mean_field)) is not None:
        raise ValueError(fault)
    certificate = problem.certify(table, mean_field)
    if not np.isfinite(certificate.gain):
        raise ValueError("exploitability is not defined: a reward is not finite at the policy's stationary mean field")
    if not certificate.residual <= RESIDUAL:
        raise ValueError(
            f"the mean field of this policy does not settle: after {_MAX_FLOW} steps it still moves by "
            f"{certificate.residual:.3g} a step in the 1-norm"
        )
    response = StationaryPolicy(certificate.response.policy, mean_field)
    values, gains = certificate.response.values[None], certificate.gains[None]
    blocks = problem.game.populations
    return BestResponse(values, values - gains, mean_field[None], np.ones(1), response, gains, populations=blocks)
