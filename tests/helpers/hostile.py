"""Run folders spoiled on purpose: how, with the file at fault and the words by which each is refused."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from structmfg import policies, runs, solvers
from structmfg.games import CarmonaFouqueSun, Game, LinearQuadratic, Macro, noise_tree
from structmfg.policies._tree import tree_policy

GAME = LinearQuadratic(num_states=7, max_action=1, horizon=3, first=1, last=1)
MACRO = Macro(num_wealth=4, num_income=2, num_actions=3, horizon=3)
CARMONA = CarmonaFouqueSun(num_steps=2)
SMALL = {"hidden": 3, "width": 3, "rank": 2, "depth": 1}
SETTINGS, POLICY, RESULT = "settings.json", "policy.npz", "result.json"


class Case(NamedTuple):
    """A good run of a kind (see `good_run`) is spoiled, and refused with the name of the `file` and what is `said`."""

    name: str
    kind: str
    file: str
    said: str
    spoil: Callable[[Path], object]


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


# JSON.


def raw(file: str, content: bytes | str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def field(where: str, value: Any, file: str = SETTINGS) -> Callable[[Path], object]:
    """One value of a JSON file is another; `where` is the path to it, with dots."""

    def spoil(folder: Path) -> None:
        whole = json.loads((folder / file).read_text())
        inner, names = whole, where.split(".")
        for name in names[:-1]:
            inner = inner[name]
        inner[names[-1]] = value
        (folder / file).write_text(json.dumps(whole))

    return spoil


def spliced(old: str, new: str, file: str = SETTINGS) -> Callable[[Path], object]:
    """A piece of the text is another: what `json.dumps` would not write."""

    def spoil(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return spoil


# What is no plain file.


def in_place(file: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        make(folder / file)

    return spoil


def sparse(size: int) -> Callable[[Path], object]:
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


def arrays(**changed: np.ndarray | None) -> Callable[[Path], object]:
    """Some arrays are others, or are not there."""

    def spoil(folder: Path) -> None:
        with np.load(folder / POLICY) as saved:
            kept = {**saved, **changed}
        np.savez(folder / POLICY, **{name: array for name, array in kept.items() if array is not None})

    return spoil


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def headed(header: str, data: bytes = b"", length: int | None = None) -> bytes:
    """A .npy of version 2 with any header."""
    size = len(header) + 1 if length is None else length
    return b"\x93NUMPY\x02\x00" + size.to_bytes(4, "little") + header.encode() + b"\n" + data


def described(shape: str, dtype: str = "<f4", data: bytes = b"") -> bytes:
    return headed(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}", data)


def member(content: bytes, name: str = "logits.npy", how: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], object]:
    """A member takes the place of the one of its name, or comes to the others."""

    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / POLICY) as saved:
            kept = {info.filename: saved.read(info) for info in saved.infolist()}
        with zipfile.ZipFile(folder / POLICY, "w", how) as archive:
            for filename, data in {**kept, name: content}.items():
                archive.writestr(filename, data)

    return spoil


def alone(*members: tuple[str, bytes]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        with zipfile.ZipFile(folder / POLICY, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                archive.writestr(name, data)

    return spoil


def patched(offset: int, value: bytes, *, also: Callable[[Path], object]) -> Callable[[Path], object]:
    """After `also`, the archive's only member is told of otherwise: at `offset` of its local header, and centrally."""

    def spoil(folder: Path) -> None:
        also(folder)
        data = bytearray((folder / POLICY).read_bytes())
        for start in (offset, data.rfind(b"PK\x01\x02") + offset + 2):
            data[start : start + len(value)] = value
        (folder / POLICY).write_bytes(data)

    return spoil


def flipped(folder: Path) -> None:
    """One bit of a number."""
    member(npy(np.zeros((6, 7, 3), np.float32)), how=zipfile.ZIP_STORED)(folder)
    data = bytearray((folder / POLICY).read_bytes())
    data[data.find(b"\x93NUMPY") + 300] ^= 1
    (folder / POLICY).write_bytes(data)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def pickled(folder: Path) -> None:
    """As `np.save` would with pickle; and a pickle in place of the whole file."""
    evil = np.array([Evil(folder / "unpickled")])
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    member(headed(header, pickle.dumps(evil)))(folder)


def bomb(size: int, name: str = "logits.npy", shape: str | None = None) -> Callable[[Path], object]:
    """A thousandth of that on disk."""

    def spoil(folder: Path) -> None:
        start = described(shape or f"({size // 4},)")
        with zipfile.ZipFile(folder / POLICY, "a", zipfile.ZIP_DEFLATED) as archive:
            pass
        with zipfile.ZipFile(folder / POLICY, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
            file.write(start)
            for _ in range(size // 2**20):
                file.write(bytes(2**20))

    return spoil


def many(count: int, name: str) -> Callable[[Path], object]:
    return alone(*((f"{name}{i}.npy", b"") for i in range(count)))
