"""Run folders spoiled on purpose: how, with the file at fault and the words by which each is refused."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from structmfg import policies, runs, solvers
from structmfg._files import write_arrays
from structmfg.games import CarmonaFouqueSun, Game, LinearQuadratic, Macro, noise_tree
from structmfg.policies._tree import tree_policy

GAME = LinearQuadratic(num_states=7, max_action=1, horizon=3, first=1, last=1)
MACRO = Macro(num_wealth=4, num_income=2, num_actions=3, horizon=3)
CARMONA = CarmonaFouqueSun(num_steps=2)
SMALL = {"hidden": 3, "width": 3, "rank": 2, "depth": 1}
SETTINGS, POLICY, RESULT = "settings.json", runs.POLICY_FILE, "result.json"

Spoil = Callable[[Path], object]


class Case(NamedTuple):
    """A good run of a kind (see `good_run`) is spoiled, and refused with the name of the `file` and with `words`."""

    name: str
    kind: str
    file: str
    words: str
    spoil: Spoil


def good_run(folder: Path, kind: str) -> Path:
    """A run that nobody trained: "tree", "network" or "table", or a network for "macro" or "carmona"."""
    game: Game = {"macro": MACRO, "carmona": CARMONA}.get(kind, GAME)
    name = {"tree": "exact", "table": "tabular_spg"}.get(kind, "rspg")
    chosen = solvers.preset(game, name, **({} if kind == "tree" else {"bins": 2} if kind == "table" else SMALL))
    policy: Any
    if kind == "tree":
        tree = noise_tree(game)
        policy = tree_policy(tree, jnp.zeros((tree.num_decisions, game.num_states, game.num_actions)))
    else:
        shapes = jax.eval_shape(lambda key: chosen.solver.policy.initialised(key).parameters, jax.random.key(0))
        policy = chosen.solver.policy.with_parameters(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
    settings = runs.Settings.of(
        game, chosen.solver, name=name, preset="default", overrides={}, max_steps=2, max_seconds=None, seed=0
    )
    folder.mkdir()
    runs.save_settings(folder, settings)
    runs.save_policy(folder, solvers.Solution(policy, solvers.RESULTS.completed, {}))
    reached = {"iterations": 2, "train_seconds": 1.0, "compile_seconds": 0.5, "result": "completed", "message": "Done."}
    (folder / RESULT).write_text(json.dumps({"game": settings.game, "solver": name, "seed": 0, **reached}))
    assert isinstance(runs.load_run(folder).policy, policies.Policy)
    return folder


def raw(file: str, content: bytes | str) -> Spoil:
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def replaced(whole: Any, where: str, value: Any) -> str:
    """As JSON, with another value at the path `where`, which has dots; without it if the value is `...`."""
    inner, (*names, last) = whole, where.split(".")
    for name in names:
        inner = inner[name]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(whole)


def field(where: str, value: Any, file: str = SETTINGS) -> Spoil:
    """One value of a JSON file is another."""

    def spoil(folder: Path) -> None:
        (folder / file).write_text(replaced(json.loads((folder / file).read_text()), where, value))

    return spoil


def spliced(old: str, new: str, file: str) -> Spoil:
    """A piece of the text is another: what `json.dumps` would not write."""

    def spoil(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return spoil


def in_place(file: str, make: Spoil) -> Spoil:
    """What is no plain file takes the place of one."""

    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        make(folder / file)

    return spoil


def sparse(size: int) -> Spoil:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, size)

    return make


def linked_away(path: Path) -> None:
    """To what is outside the folder: the file of another run, say."""
    outside = path.parent.parent / f"outside-{path.parent.name}-{path.name}"
    outside.write_bytes(b"{}")
    path.symlink_to(outside)


# Arrays.


def arrays(**changed: np.ndarray | None) -> Spoil:
    """Some arrays are others, or are not there."""

    def spoil(folder: Path) -> None:
        kept = {**safetensors.numpy.load_file(folder / POLICY), **changed}
        write_arrays(folder / POLICY, {name: array for name, array in kept.items() if array is not None})

    return spoil


def filled(value: float) -> Spoil:
    """All numbers are the same."""

    def spoil(folder: Path) -> None:
        saved = safetensors.numpy.load_file(folder / POLICY)
        write_arrays(folder / POLICY, {name: np.full_like(array, value) for name, array in saved.items()})

    return spoil


def file_of(header: bytes | str, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with any header, which is said to have so many bytes."""
    header = header.encode() if isinstance(header, str) else header
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def headed(header: bytes | str, *, length: int | None = None) -> Spoil:
    return raw(POLICY, file_of(header, length=length))


def header_field(where: str, value: Any, *, more: bytes = b"") -> Spoil:
    """One value of the header is another, and `more` stands after the data."""

    def spoil(folder: Path) -> None:
        content = (folder / POLICY).read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        header = replaced(json.loads(content[8:start]), where, value)
        (folder / POLICY).write_bytes(file_of(header, content[start:] + more))

    return spoil


def flipped(folder: Path) -> None:
    """One bit of a number."""
    data = bytearray((folder / POLICY).read_bytes())
    data[-1] ^= 1
    (folder / POLICY).write_bytes(data)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def pickled(folder: Path) -> None:
    (folder / POLICY).write_bytes(pickle.dumps({"logits": Evil(folder / "unpickled")}))


def bomb(size: int, name: str = "logits", shape: Any = None) -> Spoil:
    """Zeros that take no room on the disk."""

    def spoil(folder: Path) -> None:
        entry = {"dtype": "F32", "shape": shape or [size // 4], "data_offsets": [0, size]}
        header = file_of(json.dumps({name: entry}))
        (folder / POLICY).write_bytes(header)
        os.truncate(folder / POLICY, len(header) + size)

    return spoil
