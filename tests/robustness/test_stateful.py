"""Run folders through any order of solving, resuming, saving, loading, evaluating and damage: nothing changes."""

import shutil
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, multiple, rule

from structmfg import _files, reports, runs, solvers
from structmfg.games import LinearQuadratic

GAME = LinearQuadratic(num_states=7, max_action=1, horizon=3, first=1, last=1)
FILES = ("settings.json", "policy.safetensors", "result.json")


def chosen(information):
    return solvers.preset(GAME, "exact", information=information).solver


def numbers(policy):
    """The pages, and what they evaluate to."""
    evaluation = reports.evaluate(GAME, policy, kinds=["clairvoyant"])
    pages = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(policy)]
    return [*pages, evaluation.exploitability["clairvoyant"], evaluation.mean_return]


class Runs(RuleBasedStateMachine):
    """Solutions (information, solution) and folders (path, the numbers of what was saved in it)."""

    solutions, folders = Bundle("solutions"), Bundle("folders")

    def __init__(self):
        super().__init__()
        self.root, self.known, self.made = Path(tempfile.mkdtemp()), {}, 0

    def teardown(self):
        shutil.rmtree(self.root)

    def same(self, information, policy):
        """What a solve leads to is the same every time, bit for bit."""
        found = numbers(policy)
        assert found == self.known.setdefault(information, found)

    @rule(target=solutions, information=st.sampled_from(("full", "public")))
    def solve(self, information):
        solution = solvers.solve(GAME, chosen(information), max_steps=2)
        self.same(information, solution.policy)
        return information, solution

    @rule(target=solutions, information=st.sampled_from(("full", "public")))
    def solve_in_two_parts(self, information):
        def stop(progress):
            raise KeyboardInterrupt

        self.made += 1
        for callback in (stop, None):
            with solvers.Snapshots(self.root / str(self.made)) as kept:
                solution = solvers.solve(GAME, chosen(information), max_steps=2, callback=callback, snapshots=kept)
        self.same(information, solution.policy)
        return information, solution

    @rule(target=folders, solved=solutions)
    def save(self, solved):
        information, solution = solved
        self.made += 1
        folder = _files.new_folder(self.root / str(self.made), "unused")
        asked = runs.Settings.of(
            GAME, chosen(information), name="exact", preset="default", overrides={"information": information},
            max_steps=2, max_seconds=None, seed=0,
        )  # fmt: skip
        runs.save_settings(folder, asked)
        runs.save_policy(folder, solution)
        return folder, information

    @rule(saved=folders)
    def load(self, saved):
        folder, information = saved
        run = runs.load_run(folder)
        assert (run.game, run.settings.information, run.result) == (GAME, information, {})
        self.same(information, run.policy)

    @rule(saved=folders)
    def save_again(self, saved):
        """A used folder is refused, and what is in it stays."""
        with pytest.raises(ValueError, match="is not empty; a run is never overwritten"):
            _files.new_folder(saved[0], "unused")
        self.load(saved)

    @rule(target=folders, saved=consumes(folders), name=st.sampled_from(FILES), garbage=st.booleans(), data=st.data())
    def damage(self, saved, name, garbage, data):
        """A file cut short or overwritten is refused as bad input, and put back it is as good as before."""
        file = saved[0] / name
        before = file.read_bytes() if file.exists() else None
        length = data.draw(st.integers(0, len(before or b"{}") - 2))  # without the last byte, JSON is still whole
        file.write_bytes(data.draw(st.binary(max_size=9)) if garbage else (before or b"{}")[:length])
        with pytest.raises(ValueError, match=r"."):
            runs.load_run(saved[0])
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
        return multiple(saved)


Runs.TestCase.settings = settings(max_examples=3, stateful_step_count=8)
TestRuns = Runs.TestCase
