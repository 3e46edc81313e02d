"""The forms of one game's operators, each timed in both directions along one path and along eight.

- `structured`: the kernel of the game. `successors`: the generic list of successors, gathered and scattered.
  `bcoo`, `bcsr`: the explicit matrix. `jax_bcoo`: the same matrix in JAX's own product. `jax_cusparse`: that product
  by NVIDIA's cuSPARSE (`jax_bcoo_cusparse_lowering`), along one path.
- forward: mu <- A^T mu; adjoint: v <- A v. The policy differs from step to step, as it does in a rollout: otherwise the
  compiler would move what depends on the policy alone out of the loop. An explicit matrix is that of one policy.
- `prebuilt`: kernels, lists and matrices are made outside the loop. `rebuilt`: they are made at every step, from the
  mean field (adjoint: from one of a few), as a rollout must where the kernel depends on it.
- build: one call that makes the matrix.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from structmfg.benchmarks.suite._cases import NotRun
from structmfg.benchmarks.suite._device import GPU, PeakMemory
from structmfg.benchmarks.suite._timing import CYCLE, Timing, TimingBudget, time_calls, time_scan
from structmfg.games import AggregateState, Game, make
from structmfg.operators import SuccessorKernel, TransitionKernel

EXPLICIT = ("bcoo", "bcsr", "jax_bcoo", "jax_cusparse")
MAX_LISTED = 60_000_000  # successors in the lists of all paths: 8 bytes each, and as much for temporaries
MAX_SORTED = 6_000_000  # entries that are sorted into matrices
MAX_POLICY_ENTRIES = 150_000_000  # entries of the policies that a loop cycles through


def operator_forms(
    game: str, parameters: dict[str, Any], seed: int, budget: list[float], listed: int = MAX_LISTED
) -> Callable[..., dict[str, Any]]:
    """A function that measures one form of a game's operators."""
    built, time_budget = make(game, **parameters), TimingBudget(budget[0], int(budget[1]))
    memory = PeakMemory()

    def measure(*, form: str, kernel: str, direction: str, paths: int, batch: str) -> dict[str, Any]:
        _check_size(built, form, paths, listed)
        memory.forget()
        if direction == "build":
            timing = _time_build(built, form, seed, time_budget)
        else:
            with allow_cusparse(form):
                timing = _time_product(built, form, kernel, direction, paths, batch, seed, time_budget)
        seconds = timing.seconds / paths
        return {
            **timing._asdict(),
            "seconds": seconds,
            "least": timing.least / paths,
            "peak_bytes": memory.read(),
            "bytes_per_second": product_bytes(built) / seconds,
        }

    return measure


def product_bytes(game: Game) -> int:
    """The bytes that a product moves at least, in single precision: the policy (S, A), a vector in and a vector out."""
    return 4 * game.num_states * (game.num_actions + 2)


def _check_size(game: Game, form: str, paths: int, listed: int) -> None:
    def refuse(count: int, what: str, limit: int) -> None:
        if count > limit:
            raise NotRun(f"{count:,} {what} are more than {limit:,}")

    refuse(_stack_length(paths) * paths * game.num_states * game.num_actions, "policy entries", MAX_POLICY_ENTRIES)
    if form != "structured":
        width = jax.eval_shape(lambda: game.kernel(game.initial(jax.random.key(0))).successors()).indices.shape[-1]
        count = paths * game.num_states * game.num_actions * width
        refuse(count, "listed successors", listed)
        if form in EXPLICIT:
            refuse(count, "entries to be sorted", MAX_SORTED)


def _stack_length(paths: int) -> int:
    """The number of policies of a path: fewer for many paths, whose policies fill the caches anyway."""
    return CYCLE if paths == 1 else CYCLE // 2


def aggregates_of(game: Game, paths: int, batch: str, seed: int) -> AggregateState:
    """An initial aggregate state, or one for each of many paths, with its own noise."""
    key = jax.random.key(seed)
    if batch == "single":
        return jax.jit(game.initial)(key)
    return jax.jit(jax.vmap(game.initial))(jax.random.split(key, paths))


def _policies(game: Game, paths: int, batch: str, seed: int) -> list[Float[Array, "*paths states actions"]]:
    """A few random policies, which take turns."""
    many = () if batch == "single" else (paths,)
    draws = np.random.default_rng(seed).random(
        (_stack_length(paths), *many, game.num_states, game.num_actions), np.float32
    )
    return [jnp.asarray(draw / draw.sum(-1, keepdims=True)) for draw in draws]


def successor_kernel(kernel: TransitionKernel) -> SuccessorKernel:
    """A kernel as a list of successors."""
    return SuccessorKernel(*kernel.successors(), checks=False)


@contextlib.contextmanager
def allow_cusparse(form: str) -> Iterator[None]:
    """Within, JAX's product of a sparse matrix is by cuSPARSE, where that is the form; else nothing is changed.

    Raises:
        NotRun: The device is no GPU.
    """
    if form != "jax_cusparse":
        yield
        return
    if (platform := jax.devices()[0].platform) != GPU:
        raise NotRun(f"cuSPARSE is a library for NVIDIA's GPUs, and the device is a {platform}")
    before = jax.config.jax_bcoo_cusparse_lowering  # type: ignore[attr-defined]
    jax.config.update("jax_bcoo_cusparse_lowering", True)
    try:
        yield
    finally:
        jax.config.update("jax_bcoo_cusparse_lowering", before)


def check_cusparse(product: Callable[..., Array], *arguments: Any) -> None:
    """Raise `NotRun` where JAX did not choose cuSPARSE, as it may for reasons of its own."""
    if "cusparse" not in jax.jit(product).lower(*arguments).as_text():
        raise NotRun("JAX chose its own product and not cuSPARSE")


def product_of(game: Game, form: str, kernel: str, forward: bool) -> Callable[..., Array]:
    """A function (what was made outside the loop, policy, aggregate, vector) -> the next vector."""
    as_form = successor_kernel if form == "successors" else lambda kernel: kernel

    def product(prebuilt: Any, policy: Array, aggregate: AggregateState, vector: Array) -> Array:
        if form.startswith("jax"):
            return vector @ prebuilt if forward else prebuilt @ vector
        if form in EXPLICIT:
            operator = prebuilt
        else:
            operator = (as_form(game.kernel(aggregate)) if kernel == "rebuilt" else prebuilt).under(policy)
        return operator.T.mv(vector) if forward else operator.mv(vector)

    return product


def prebuild(game: Game, form: str) -> Callable[[AggregateState, Array], Any]:
    """A function that makes from an aggregate state and a policy what is made outside the loop."""

    def prebuild(aggregate: AggregateState, policy: Array) -> Any:
        kernel = game.kernel(aggregate)
        if form == "structured":
            return kernel
        if form == "successors":
            return successor_kernel(kernel)
        operator = kernel.under(policy)
        if form.startswith("jax"):
            return operator.as_bcoo()
        return operator.explicit() if form == "bcoo" else operator.compressed()

    return prebuild


def _time_product(
    game: Game, form: str, kernel: str, direction: str, paths: int, batch: str, seed: int, budget: TimingBudget
) -> Timing:
    forward, stack = direction == "forward", _stack_length(paths)
    aggregates, policies = aggregates_of(game, paths, batch, seed), _policies(game, paths, batch, seed)
    prebuilt = None
    if kernel == "prebuilt":
        make_one = prebuild(game, form)
        make_all = make_one if batch == "single" else jax.vmap(make_one)
        prebuilt = jax.block_until_ready(jax.jit(make_all)(aggregates, policies[0]))
    vectors = aggregates.mean_field
    if not forward:
        vectors = jnp.asarray(np.random.default_rng(seed).random(vectors.shape, np.float32))
    # The adjoint direction carries no mean field: a few of them take turns.
    fields = [jnp.roll(aggregates.mean_field, i, axis=-1) * (1 + 0.01 * i) for i in range(stack)]
    product = product_of(game, form, kernel, forward)
    if form == "jax_cusparse":
        check_cusparse(product, prebuilt, policies[0], aggregates, vectors)
    step = _step(product, forward, batch, stack)
    return time_scan(step, vectors, (prebuilt, policies, aggregates, fields), budget)


def _step(product: Callable[..., Array], forward: bool, batch: str, stack: int) -> Callable[..., Array]:
    along: dict[str, Callable[..., Array]] = {
        "single": product,
        "vmap": jax.vmap(product),
        "map": lambda *inputs: lax.map(lambda path: product(*path), inputs),
    }

    def step(vector: Array, index: int, arguments: Any) -> Array:
        prebuilt, policies, aggregate, fields = arguments
        policy, field = policies[index % stack], fields[index % stack]
        field = field + 1e-30 * vector  # is `field`, but the compiler cannot know that
        at = AggregateState(vector if forward else field, aggregate.noise, aggregate.time)
        return along[batch](prebuilt, policy, at, vector)

    return step


def _time_build(game: Game, form: str, seed: int, budget: TimingBudget) -> Timing:
    aggregate, policy = aggregates_of(game, 1, "single", seed), _policies(game, 1, "single", seed)[0]
    kernel = jax.jit(game.kernel)(aggregate)

    def build(kernel: TransitionKernel, policy: Array) -> Any:
        operator = kernel.under(policy)
        return operator.as_bcoo() if form == "bcoo" else operator.as_bcsr()

    return time_calls(build, (kernel, policy), budget)
