"""States over devices: every product against its dense twin and one device, and what the compiled programs send."""

import itertools
import os
import re

import helpers.numpy_kernels as twin
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.kernels import KERNELS, MASS, OPERATORS, POLICY, VALUES, assert_close
from jax.sharding import NamedSharding, PartitionSpec

import structmfg as smfg
from structmfg import operators as ops
from structmfg.benchmarks import states
from structmfg.evaluation import policy_values, rollout
from structmfg.parallel import make_mesh, over_states, spread

S, DEVICES = 72, 4  # 18 states a device
OFFSETS, STENCIL, WEIGHTS = (-2, 0, 3), (-2, 0, 1), (0.2, 0.5, 0.3)
_random = np.random.default_rng(3)
PI, V, MU = _random.dirichlet(np.ones(3), S), _random.normal(size=S), _random.dirichlet(np.ones(S))
COLLECTIVE = re.compile(
    r"= \(?[a-z0-9]+\[([\d,]*)\]\S* .*?(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)"
    r"(?:-start)?\("
)
# Cases of `helpers.kernels`; walls and patches have a test of their own.
NAMED = ("successors", "factored_kronecker", "mixture", "mixture_even", "kron")
NO_FORM = ("patched_wider", "lattice2d", "direct_sum")


@pytest.fixture
def optimised():
    """Compile as for users: what a program holds and computes is compared."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")


def sends(program):
    """What a compiled program sends, as pairs of the operation and how many numbers it results in."""
    return sorted(
        (kind, int(np.prod([int(n) for n in shape.split(",") if n]))) for shape, kind in COLLECTIVE.findall(program)
    )


def products(kernel, policy, values, mass):
    """The four products of a kernel."""
    return (
        kernel.expect(values),
        kernel.push(mass[:, None] * policy),
        kernel.expect_under(policy, values),
        kernel.push_under(policy, mass),
    )


def dense_products(dense, policy, values, mass):
    expected = dense @ values
    arrived = np.einsum("sa,sat->t", mass[:, None] * policy, dense)
    return expected, arrived, np.sum(policy * expected, axis=1), arrived


def walled_steps(shift, barriers):
    """A move with walls at two cells and a shift, followed by noise; who stands on the first of them passes walls."""
    move = ops.LatticeKernel(S, OFFSETS, shift=shift, max_shift=2, barriers=barriers, checks=False)
    steps = move >> ops.LatticeNoise(S, STENCIL, WEIGHTS, barriers=barriers, checks=False)
    free = ops.LatticeKernel(S, OFFSETS, shift=shift, max_shift=2) >> ops.LatticeNoise(S, STENCIL, WEIGHTS)
    return ops.PatchedKernel(steps, free, barriers[0], checks=False)


def dense_steps(shift, barriers):
    move, free = (twin.lattice(S, OFFSETS, shift=shift, barriers=b) for b in (barriers, ()))
    noise, free_noise = (twin.noise(S, STENCIL, WEIGHTS, barriers=b) for b in (barriers, ()))
    return twin.patched(move @ noise, free @ free_noise, barriers[0])


@pytest.mark.parametrize("precision", ["float32", pytest.param("float64", marks=pytest.mark.slow)], indirect=True)
def test_walls_and_shifts_at_the_ends_of_devices(precision):
    """All four products for every place of a barrier within reach of where two devices meet, or of an end."""
    firsts = [0, *range(10, 26), 35, 36, 53, 54, 70]
    pairs = [(b, min(b + d, S - 1)) for b, d in itertools.product(firsts, (1, 8))]
    places = [(shift, pair) for shift, pair in itertools.product((-2, 0, 2), pairs)]
    shifts, barriers = jnp.array([p[0] for p in places]), jnp.array([p[1] for p in places])

    def all_products(shift, walls, policy, values, mass):
        return products(spread(walled_steps(shift, walls)), policy, values, mass)

    arrays = [jnp.asarray(x, float) for x in (PI, V, MU)]
    with jax.set_mesh(make_mesh(states=DEVICES)):
        mapped = jax.jit(jax.vmap(all_products, in_axes=(0, 0, None, None, None)))(shifts, barriers, *arrays)
    for i, (shift, walls) in enumerate(places):
        for actual, expected in zip(mapped, dense_products(dense_steps(shift, walls), PI, V, MU), strict=True):
            assert_close(actual[i], expected, precision)


def test_kernels_and_operators_are_their_dense_twins(double):
    """On two devices, some made outside jit, where the entries of sparse matrices are known."""
    policy, values, mass = (jnp.asarray(x) for x in (POLICY, VALUES, MASS))
    operators = {"noise": OPERATORS["noise_walls"], "power": OPERATORS["power"], "chain": OPERATORS["kronecker"]}
    twins = {name: KERNELS[name].twin for name in NAMED} | {"explicit": KERNELS["lattice_walls"].twin}
    closed = {name: case.twin for name, case in operators.items()}
    closed["compressed"] = closed["noise"]
    closed["under"] = twin.under(twins["mixture"], POLICY)
    with jax.set_mesh(make_mesh(states=2)):
        kernels = {name: KERNELS[name].build() for name in NAMED}
        kernels["explicit"] = KERNELS["lattice_walls"].build().explicit()
        made = {name: case.build() for name, case in operators.items()}
        made |= {"compressed": made["noise"].compressed(), "under": kernels["mixture"].under(policy)}
        spread_ones = jax.tree.map(
            spread, (kernels, made), is_leaf=lambda x: isinstance(x, ops.TransitionKernel | ops.TransitionOperator)
        )
        assert not any(spread_ones[0][name] is kernels[name] for name in kernels)
        found, moved = jax.jit(
            lambda pair: (
                {name: products(kernel, policy, values, mass) for name, kernel in pair[0].items()},
                {name: (A.mv(values), A.T.mv(mass)) for name, A in pair[1].items()},
            )
        )(spread_ones)
        for name in NO_FORM:
            with pytest.raises(ValueError, match=r"has no form .* a SuccessorKernel of its successors\(\)"):
                spread(KERNELS[name].build())
        lists = spread(ops.SuccessorKernel(*KERNELS["lattice2d"].build().successors())).expect(values)
    for name, dense in twins.items():
        for actual, right in zip(found[name], dense_products(dense, POLICY, VALUES, MASS), strict=True):
            assert_close(actual, right, "float64")
    for name, dense in closed.items():
        assert_close(moved[name][0], dense @ VALUES, "float64")
        assert_close(moved[name][1], MASS @ dense, "float64")
    assert_close(lists, KERNELS["lattice2d"].twin @ VALUES, "float64")


def kronecker_kernels(probabilities, weights):
    """Kernels with blocks of states, on 72 states over 4 devices: 18 a device, in blocks of 3, 6 and 9."""
    walk, chain = ops.LatticeKernel(24, (-1, 0, 2)), jnp.array([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.5, 0.0, 0.5]])
    noise = ops.LatticeNoise(24, (-1, 0, 1), probabilities, checks=False)
    mixed = ops.MixtureKernel([walk, ops.LatticeKernel(24, (0, 1, 1))], weights, checks=False)
    place = ops.ArbitraryGrid(jnp.linspace(0.0, 1.0, 18)).lottery(jnp.asarray(_random.random((S, 3)), float))
    return {
        "noisy walk x chain": ops.kron(walk >> noise, jnp.asarray(chain, float)),
        "mixture x operator": ops.kron(mixed, ops.LatticeNoise(3, (0, 1), (0.5, 0.5))),
        "blocks of a chain": ops.LatticeKernel(S, (-2, 0, 2))
        >> ops.LiftedOperator(ops.LatticeNoise(9, (1,), (1.0,)), 8, 1),
        "lottery": ops.LotteryKernel(18, *place),  # 4 inner states, which do not divide 18
    }


@pytest.mark.slow
def test_gradients_and_products_of_kronecker_kernels_are_those_of_one_device(double):
    """In policy, values, mass, and what the kernels are made of, weights over states among them."""
    target = jnp.asarray(_random.normal(size=(S, 3)))

    def total(given, spread_or_not):
        policy, values, mass, *parts = given
        kernels = kronecker_kernels(*parts)
        found = {name: products(spread_or_not(kernel), policy, values, mass) for name, kernel in kernels.items()}
        return sum(
            jnp.sum(jnp.sin(x) * (target if x.ndim == 2 else target[:, 0])) for x in jax.tree.leaves(found)
        ), found

    weights = _random.dirichlet(np.ones(2), 24).T
    given = tuple(map(jnp.asarray, (PI, V, MU, np.array([0.3, 0.5, 0.2]), weights)))
    state = _random.bit_generator.state
    right, dense = jax.jit(jax.grad(lambda x: total(x, lambda k: k), has_aux=True))(given)
    _random.bit_generator.state = state
    with jax.set_mesh(make_mesh(states=DEVICES)):
        gradient, found = jax.jit(jax.grad(lambda x: total(x, spread), has_aux=True))(given)
    for actual, expected in zip(jax.tree.leaves((gradient, found)), jax.tree.leaves((right, dense)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)
    assert all(np.abs(leaf).max() > 0.01 for leaf in jax.tree.leaves(right))


def compiled(function, num_states, devices, *, tables=1, vectors=1):
    """A program of arrays over states on so many devices: tables (S, 3), then vectors (S,)."""
    mesh = make_mesh(states=devices)
    where = NamedSharding(mesh, PartitionSpec("states"))
    given = [jax.ShapeDtypeStruct((num_states, 3), np.float32, sharding=where)] * tables
    given += [jax.ShapeDtypeStruct((num_states,), np.float32, sharding=where)] * vectors
    with jax.set_mesh(mesh):
        return jax.jit(function).lower(jnp.asarray(1), *given).compile()


def noisy_walk(num_states, shift):
    move = ops.LatticeKernel(num_states, OFFSETS, shift=shift, max_shift=2)
    return spread(move >> ops.LatticeNoise(num_states, STENCIL, WEIGHTS))


PRODUCTS = {
    "expect": ((0, 1), lambda k, v: k.expect(v)),
    "push": ((1, 0), lambda k, m: k.push(m)),
    "expect_under": ((1, 1), lambda k, pi, v: k.expect_under(pi, v)),
    "push_under": ((1, 1), lambda k, pi, mu: k.push_under(pi, mu)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_sends_the_halo_and_holds_its_share(name, optimised):
    """Two permutes of reach numbers, 5 + 2 states, whatever S; a device has 1/P of the memory, and no table twice."""
    (tables, vectors), product = PRODUCTS[name]

    def program(num_states, devices):
        return compiled(
            lambda shift, *arrays: product(noisy_walk(num_states, shift), *arrays),
            num_states, devices, tables=tables, vectors=vectors,
        )  # fmt: skip

    def memory(program):
        held = program.memory_analysis()
        return held.temp_size_in_bytes + held.argument_size_in_bytes + held.output_size_in_bytes

    alone, four, eight = program(400_000, 1), program(400_000, 4), program(800_000, 8)
    assert not sends(alone.as_text())
    assert sends(four.as_text()) == sends(eight.as_text()) == [("collective-permute", 7)] * 2
    assert memory(four) <= 1.05 / 4 * memory(alone)
    assert memory(eight) <= 1.001 * memory(four)
    for figure in ("flops", "bytes accessed"):
        assert eight.cost_analysis()[figure] == pytest.approx(four.cost_analysis()[figure], rel=0.001)


def test_rows_gather_values_and_scatter_sums():
    """Kernels that lead anywhere, as the documentation says: S numbers a product, and nothing else."""

    def kernel(shift):
        places = (jnp.arange(S)[:, None] * (2 + jnp.arange(3)) + shift) % S
        return spread(ops.SuccessorKernel(over_states(places)[:, :, None], jnp.ones((S, 3, 1))))

    expect = compiled(lambda shift, v: kernel(shift).expect(v), S, DEVICES, tables=0)
    push = compiled(lambda shift, m: kernel(shift).push(m), S, DEVICES, vectors=0)
    assert sends(expect.as_text()) == [("all-gather", S)]
    assert sends(push.as_text()) == [("reduce-scatter", S // DEVICES)]


def test_work_of_a_device_is_the_same_on_one_to_eight(optimised):
    """Arithmetic, bytes and memory of a roll-out, 3000 states a device."""
    figures = []
    for devices in (1, 2, 8):
        game = smfg.games.LinearQuadratic(num_states=3000 * devices, horizon=4)
        policy = smfg.policies.recurrent(game, width=16, rank=8, hidden=8)
        with jax.set_mesh(make_mesh(states=devices)):
            parameters = jax.eval_shape(policy.initialised, jax.random.key(0)).parameters
            program = jax.jit(
                lambda parameters, noise, game=game, policy=policy: rollout(
                    game, policy.with_parameters(parameters), noise
                ).aggregates.mean_field[-1]
            ).lower(parameters, jax.ShapeDtypeStruct((5,), np.int32)).compile()  # fmt: skip
        cost = program.cost_analysis()
        figures.append([cost["flops"], cost["bytes accessed"], program.memory_analysis().temp_size_in_bytes])
    np.testing.assert_allclose(np.array(figures) / figures[0], 1, atol=0.03)


@pytest.fixture(scope="module")
def game():
    return smfg.games.LinearQuadratic(num_states=400, horizon=6, push=4.0)


def test_an_update_is_that_of_one_device(game):
    """Of RSPG: return, gradient and parameters; in the program no array over states is gathered or summed up."""
    solver = smfg.solvers.RSPG(smfg.policies.recurrent(game, width=8, rank=4, hidden=8), num_paths=2)
    start = solver.init(game, jax.random.key(1))
    right, metrics = jax.jit(lambda state: solver.step(game, state, 10))(start)
    with jax.set_mesh(make_mesh(states=DEVICES)):
        program = jax.jit(lambda state: solver.step(game, state, 10)).lower(start).compile()
        found, found_metrics = program(start)
    sent = sends(program.as_text())
    assert {kind for kind, _ in sent} == {"collective-permute", "all-reduce"}
    assert max(size for _, size in sent) < game.num_states // DEVICES
    # The optimiser keeps the gradient and its square; the step that it makes of an entry that is zero is noise.
    pairs = [(found_metrics, metrics), (found.optimiser, right.optimiser)]
    for actual, expected in zip(*map(jax.tree.leaves, zip(*pairs, strict=True)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-6 * np.abs(expected).max())
    moved = jax.tree.map(lambda new, old: float(jnp.median(jnp.abs(new - old))), found.parameters, right.parameters)
    assert max(jax.tree.leaves(moved)) < 0.01 * solver.learning_rate


@pytest.mark.slow
def test_evaluation_is_that_of_one_device(game):
    """Mean field, values and exploitability of a policy, each by its own program."""
    policy = smfg.policies.recurrent(game, width=8, rank=4, hidden=8).initialised(jax.random.key(2))
    noise = jnp.ones(7, int)

    def along(policy):
        path = rollout(game, policy, noise)
        return path.aggregates.mean_field, policy_values(game, path.aggregates, path.policy)

    right = jax.jit(along)(policy), smfg.solvers.exploitability(game, policy).value
    with jax.set_mesh(make_mesh(states=DEVICES)):
        found = jax.jit(lambda policy: along(policy))(policy), smfg.solvers.exploitability(game, policy).value
    for actual, expected in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    assert right[1] > 1


def test_a_long_line_is_that_of_one_device():
    """The script that measures it, at a size of which noise would be rounded in single precision."""
    row = states.measure(2**21 + 8, DEVICES, 3, compare=True)
    assert row["difference"] < 1e-6
    assert row["mass_error"] < 1e-6
    assert row["sent"] == "all-reduce[], collective-permute[11]"


def test_states_within_paths(precision):
    """Nested in a map over the other axis of the mesh: two by four devices, each with two of four paths."""
    values = jnp.asarray(_random.normal(size=(4, S)), float)

    def of_path(v):
        return spread(ops.LatticeKernel(S, OFFSETS) >> ops.LatticeNoise(S, STENCIL, WEIGHTS)).expect(v)

    def over_paths(values):
        mapped = jax.shard_map(
            jax.vmap(of_path), in_specs=PartitionSpec("paths"), out_specs=PartitionSpec("paths"),
            axis_names={"paths"}, check_vma=False,
        )  # fmt: skip
        return mapped(values)

    with jax.set_mesh(make_mesh(paths=2, states=4)):
        found = jax.jit(over_paths)(values)
    dense = twin.lattice(S, OFFSETS) @ twin.noise(S, STENCIL, WEIGHTS)
    assert_close(found, np.einsum("sat,nt->nsa", dense, values), precision)


def test_what_cannot_be_spread():
    with jax.set_mesh(make_mesh(states=DEVICES)):
        with pytest.raises(
            ValueError, match="74 states cannot be spread over 4 devices: the next number that can is 76"
        ):
            spread(ops.LatticeKernel(74, OFFSETS))
        with pytest.raises(ValueError, match=r"36 states .* 4 devices, in blocks of 2: the next number that can is 40"):
            spread(ops.KroneckerOperator(36, np.full((2, 2), 0.5)))
        with pytest.raises(
            ValueError, match=r"up to 10 states away, so a device needs 20 .* 72 states over 4 .* 18 for"
        ):
            spread(ops.LatticeKernel(S, (-10, 0)))
        with pytest.raises(ValueError, match=r"LatticeKernel2d has no form .* SuccessorKernel of its successors\(\)"):
            spread(ops.LatticeKernel2d((8, 9)))
        with pytest.raises(ValueError, match=r"sparse matrix must be known .* but are traced"):
            jax.jit(lambda shift: spread(ops.LatticeKernel(S, (0, 1), shift=shift).explicit()).expect(jnp.ones(S)))(0)


def test_nothing_changes_where_one_device_has_all_states():
    kernel = ops.LatticeKernel(S, OFFSETS)
    values = jnp.arange(S)
    assert spread(kernel) is kernel
    with jax.set_mesh(make_mesh(paths=8)):
        assert spread(kernel) is kernel
        assert over_states(values) is values
    with jax.set_mesh(make_mesh(states=2)):
        both = spread(spread(kernel))
        assert not isinstance(both.law, type(both))
        assert "over devices" in both.structure
        assert (both.num_states, both.num_actions, both.branching, both.span) == (S, 3, 3, kernel.span)
        assert both.as_bcoo().shape == (S * 3, S)
