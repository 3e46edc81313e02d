"""`self_test`: whether `verify` finds faults that are put in on purpose, and passes a game without faults."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from structmfg.policies import TabularPolicy
from structmfg.verification import laws, oracles, populations
from structmfg.verification._check import CheckResult
from structmfg.verification._figures import mutation_figure
from structmfg.verification._private_history import private_history_table
from structmfg.verification._report import Report, Stage, Table
from structmfg.verification._stages import Task, history_table, memory_does_no_harm, worst_of
from structmfg.verification._verify import run, timed
from structmfg.verification.selftest._mutations import Mutation, baseline_game, mutations

SAMPLES = populations.FAST._replace(rate_sizes=(), rate_replicates=())
STATISTICAL_CHECKS = ("transitions", "counts", "returns", "noise")
_FAULTS_IN_MEMORY = 8  # whose programs are kept: each has hundreds, and a process may hold so many memory maps only
_REJECTION = 1e-3  # probability of more false alarms than are allowed if their rate is the level


def self_test(
    *,
    key: PRNGKeyArray | None = None,
    deep: bool = False,
    faults: Sequence[Mutation] | None = None,
    callback: Callable[[Stage], None] | None = None,
) -> Report:
    """Test the checks of `verify` on a small linear-quadratic game.

    - Mutation tests: some check must find every fault that is put into the game or into the package's methods. The
      report has a table of which check finds which fault.
    - False alarms: the game without faults must pass at 20 seeds (200 if `deep`), up to the level of the statistical
      checks.
    - Power: at how many of 20 seeds each statistical check finds a wrong operator.
    - The value of an agent's own past in tiny games, by enumeration; at equilibria too if `deep`.

    Args:
        key: Random key; a fixed one by default.
        deep: Whether to use more seeds, and equilibria.
        faults: The faults to put in, one at a time; by default all of the package's own.
        callback: Called with every stage when it is done.

    Returns:
        The report; it `passed` where every fault was found and no other stage failed.
    """
    key = jax.random.key(0) if key is None else key
    chosen = mutations() if faults is None else list(faults)
    done = []
    for stage in timed(_stages(key, chosen, deep)):
        done.append(stage)
        if callback:
            callback(stage)
    basis = (
        f"{len(chosen)} faults in {baseline_game()!r} or in the package's methods, one at a time.",
        "The worth of a check is the faults that it finds. Games are verified as by `verify`, but at one path, and "
        "without the fitted rate.",
    )
    return Report("the verification itself", tuple(done), basis)


def _stages(key: PRNGKeyArray, faults: Sequence[Mutation], deep: bool) -> Iterator[Stage]:
    yield mutation_tests(key, faults)
    yield false_alarms(key, 200 if deep else 20)
    yield power(key, 20)
    yield private_histories(deep)


def _report(key: PRNGKeyArray, fault: Mutation | None = None) -> Report:
    task = Task(baseline_game(), key, num_points=1, model=oracles.LinearQuadratic(baseline_game()), samples=SAMPLES)
    if fault is not None:
        task = task._replace(game=fault.game, methods=fault.methods)
    return run(task)


def mutation_tests(key: PRNGKeyArray, faults: Sequence[Mutation]) -> Stage:
    """Put in every fault, and collect the checks that find it."""
    failures = []
    for number, fault in enumerate(faults, 1):
        failures.append([result for result in _report(key, fault).results if not result.passed])
        if number % _FAULTS_IN_MEMORY == 0:
            jax.clear_caches()
    every = [*_report(key).results, *(result for failed in failures for result in failed)]
    checks = list(dict.fromkeys(result.name for result in every))  # some are made only where something raised
    results, rows, finds = [], [], np.zeros((len(faults), len(checks)))
    for number, (fault, failed) in enumerate(zip(faults, failures, strict=True)):
        for result in failed:
            finds[number, checks.index(result.name)] = 1
        first = f"{failed[0].name}: {failed[0].where}" if failed else ""
        meaning = "this fault is found by at least one check"
        names = ", ".join(result.name for result in failed)
        results.append(CheckResult(fault.name, float(not failed), 0.0, bool(failed), meaning, f"by {names}"))
        rows.append((fault.name, len(failed), first))
    by_check = [(name, int(count)) for name, count in zip(checks, finds.sum(0), strict=True)]
    tables = (
        Table("What the first check to fail says", ("fault", "checks that find it", "the first says"), rows),
        Table("How many faults each check finds", ("check", "faults"), by_check),
    )
    picture = mutation_figure([fault.name for fault in faults], checks, finds)
    return Stage(tuple(results), "Faults put in on purpose", tables, (picture,))


def false_alarms(key: PRNGKeyArray, num_seeds: int) -> Stage:
    """Count how often a game without faults is rejected."""
    from scipy.stats import beta, binom

    keys = jax.random.split(jax.random.fold_in(key, 1), num_seeds)
    failed = [[result.name for result in _report(seed).results if not result.passed] for seed in keys]
    alarms = sum(map(bool, failed))
    level = Task._field_defaults["level"]
    allowed = int(binom.ppf(1 - _REJECTION, num_seeds, level))
    meaning = f"a game without faults is rejected at a rate that the level {level:g} allows"
    highest = beta.ppf(0.95, alarms + 1, num_seeds - alarms)
    where = f"{alarms} of {num_seeds} reports failed: a rate of at most {highest:.3g}, with 95 % confidence"
    where += f"; {[names for names in failed if names]}" if alarms else ""
    result = CheckResult("false alarms", alarms / num_seeds, allowed / num_seeds, alarms <= allowed, meaning, where)
    return Stage((result,), "False alarms")


def power(key: PRNGKeyArray, num_seeds: int) -> Stage:
    """Count the share of seeds at which each statistical check finds a wrong operator or wrong noise."""
    level = Task(baseline_game(), key).statistical_level
    rows, results = [], []
    for fault in mutations():
        if fault.name not in (*STATISTICAL, SLIGHT):
            continue
        rejections = dict.fromkeys(STATISTICAL_CHECKS, 0)
        for seed in jax.random.split(jax.random.fold_in(key, 2), num_seeds):
            path_key, study_key = jax.random.split(seed)
            path = laws.random_path(fault.game, path_key)
            study = populations.study(
                fault.game, TabularPolicy(path.policy), path.noise, key=study_key, level=level, samples=SAMPLES
            )
            for result in study.results:
                rejections[result.name] = rejections.get(result.name, 0) + (not result.passed)
        shares = {name: count / num_seeds for name, count in rejections.items()}
        rows.append((fault.name, *(shares[name] for name in STATISTICAL_CHECKS)))
        if fault.name == SLIGHT:
            continue
        best = max(shares[name] for name in STATISTICAL_CHECKS)
        meaning = "a statistical check finds this fault at nine seeds in ten or more"
        results.append(CheckResult(fault.name, 1 - best, 0.1, best >= 0.9, meaning, f"power {best:.2f}"))
    table = Table("Power: share of seeds at which a check finds the fault", ("fault", *STATISTICAL_CHECKS), rows)
    return Stage(tuple(results), "Power of the statistical checks", (table,))


SLIGHT = "one probability off by 0.02"  # in the table for scale; too small to be required
STATISTICAL = (
    "push by P instead of its transpose",
    "push one cell too far",
    "everything one cell too far",
    "walls left open",
    "noise applied twice",
    "actions reversed",
    "common shock with the wrong sign",
    "kernel of the next time",
    "coin with probability 0.6 when sampled",
    "scenarios weighted 0.4 and 0.6",
)


def private_histories(deep: bool) -> Stage:
    """Measure Assumption 2 of the paper on tiny games; at their equilibria too if `deep`."""
    table = private_history_table(equilibria=deep)
    checked = worst_of(memory_does_no_harm(row.value) for row in table)
    rows = [(row.game, row.population, row.value) for row in table]
    return Stage(checked, "What an agent's own past is worth", (history_table("Tiny games, enumerated", rows),))
