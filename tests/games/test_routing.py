"""Routing: the theory of Braess's paradox, networks of one's own, incidents, and Sioux Falls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import structmfg as smfg
from structmfg.games import Demand, Link, Network, Routing
from structmfg.solvers import evaluate_paths, exploitability

BRAESS = [link.name for link in Routing().roads.links]


def split(game, by_link):
    """The policy that takes each link of Braess's network with this probability where it begins."""
    links = game.roads.links
    table = np.zeros((game.num_states, game.num_actions))
    states = game._states
    for s in range(game.num_states):
        for a in range(game.num_actions):
            if states.allowed[s, a]:
                table[s, a] = 1 if states.choice[s, a] == len(links) else by_link[links[states.choice[s, a]].name]
    return smfg.policies.TabularPolicy(jnp.tile(jnp.asarray(table), (game.horizon, 1, 1)))


def value_and_gain(game, policy):
    value = evaluate_paths(game, policy, game.scenarios().noise).returns[0]
    return float(value), exploitability(game, policy, kind="clairvoyant").value


@pytest.mark.parametrize("settings", [{"rounding": "lottery"}, {"time_step": 0.05, "horizon": 100, "rounding": "down"}])
def test_braess(settings, double):
    """At equilibrium 3.75; at best 3.5, where who goes A, B, C, D alone takes 1.5 + .25 + 1 and gains .75."""
    game = Routing(**settings)
    always = {"A->C": 0.25, "B->D": 1 / 3, "C->D": 1.0}
    value, gain = value_and_gain(game, split(game, always | {"A->B": 0.75, "B->C": 2 / 3}))
    np.testing.assert_allclose([value, gain], [-3.75, 0], atol=1e-9)
    best = split(game, always | {"A->B": 0.5, "A->C": 0.5, "B->C": 0.0, "B->D": 1.0})
    np.testing.assert_allclose(value_and_gain(game, best), [-3.5, 0.75], atol=1e-9)


def test_two_ways_of_one_s_own(double):
    """Two links between the same nodes, by way of a node of no length; two groups set out one after the other."""
    links = (Link("in", "out", 1.0, 1.0, 1.0, 10.0), Link("in", "way", 0.5), Link("way", "out", 1.0))
    game = Routing(
        network=Network(links, (Demand("in", "out", 6.0), Demand("in", "out", 4.0, 2.5))), time_step=0.5, horizon=12
    )
    states = game._states
    table = np.where(states.allowed, 1.0, 0.0)
    table[(states.choice != 3).sum(1) > 1, 2] = 0  # all take the first link where there are two
    direct = smfg.policies.TabularPolicy(jnp.tile(jnp.asarray(table), (game.horizon, 1, 1)))
    # Six cars take 1 * (1 + .6) = 1.6, which is 3.2 steps; four, that leave at 2.5, take 1.4.
    value, gain = value_and_gain(game, direct)
    np.testing.assert_allclose(value, -(0.6 * 1.6 + 0.4 * (2.5 + 1.4)), rtol=1e-9)
    np.testing.assert_allclose(gain, 0.6 * 0.1, rtol=1e-9)  # the other way takes 1.5
    saved = smfg.games.make("routing", network=tuple(game.network), time_step=0.5, horizon=12)
    assert saved == game


def test_incident(double):
    """With a certain incident, the link has half its capacity from the first step on."""
    game = Routing(incident_link="C->D", incident_start=1.0, incident_end=1e-9)
    free, hit = (game.travel_times(jnp.full(5, 2.0), jnp.asarray(z)) for z in (0, 1))
    np.testing.assert_allclose(free, [1.4, 2, 0.25, 2, 1.4])
    np.testing.assert_allclose(hit, [1.4, 2, 0.25, 2, 1.8])
    board = game.observe(game.aggregate(mean_field=game.initial_mean_field(jnp.asarray(0)), noise=1, time=3))
    np.testing.assert_allclose(board, [1, 1])
    assert game.noise_chain().validate().widths(game.horizon)[-1] < 300


def test_sioux_falls(double):
    """The network as published: 24 nodes, 76 links, 360600 cars; a uniform day for two of its demands."""
    game = Routing(network="sioux_falls", time_step=0.5, horizon=81)
    roads = game.roads
    assert (len(roads.nodes), len(roads.links), len(roads.demands), roads.cars) == (24, 76, 528, 360_600)
    assert all(Link(link.end, link.start, *link[2:]) in roads.links for link in roads.links)
    few = Network(roads.links, (Demand("19", "1", 7000.0), Demand("1", "19", 7000.0)))
    game = Routing(network=few, time_step=0.5, horizon=81)
    policy = smfg.policies.uniform(game)
    path = smfg.evaluation.rollout(game, policy, game.scenarios().noise[0]).aggregates
    arrived = path.mean_field @ game._states.arrived
    assert (jnp.diff(arrived) >= -1e-12).all()
    assert 0.01 < float(arrived[-1]) < 1
    volume = path.actions[20]
    times = game.travel_times(volume, jnp.asarray(0))
    by_hand = [
        link.free_flow * (1 + link.coefficient * float(v) ** 4) for link, v in zip(roads.links, volume, strict=True)
    ]
    np.testing.assert_allclose(times, by_hand, rtol=1e-12)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"network": "bress"}, "did you mean braess"),
        ({"network": 3}, "network must be one of line, braess, sioux_falls, or a Network of links and demands"),
        ({"network": ((), ())}, "at least one link and one demand"),
        ({"network": (((1, "A", "B"),), (("A", "B", 1.0),))}, "must lie in"),
        ({"network": ((("A", "B"), ("A", "B")), (("A", "B", 1.0),))}, "has A->B twice"),
        ({"network": ((("A", "B"),), (("B", "A", 1.0),))}, "has none from B to A"),
        ({"network": ((("A", "B"),), (("A", "B", 0.0),))}, r"cars from A to B must lie in \(0, 1e\+09\]"),
        ({"network": ((("A", "B", 1.0, 1.0, 1.0, 0.0),), (("A", "B", 1.0),))}, "capacity of link A->B must be finite"),
        ({"incident_link": "A->D"}, "unknown incident_link"),
        ({"rounding": "up"}, "unknown rounding"),
        ({"incident_loss": 0.5}, "incident_loss must lie in"),
    ],
)
def test_bad_networks(parameters, message):
    with pytest.raises(ValueError, match=message):
        Routing(**parameters)


def test_a_run_keeps_a_network():
    network = Network((Link("A", "B", 1.0),), (Demand("A", "B", 1.0),))
    game = Routing(network=network, horizon=5)
    assert jax.tree.leaves(game.network)[0] == "A"
    assert game.roads == network
