"""Every way in which the tests spoil a run folder."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers.hostile import (
    POLICY,
    RESULT,
    SETTINGS,
    Case,
    alone,
    arrays,
    bomb,
    described,
    field,
    flipped,
    headed,
    in_place,
    linked_away,
    many,
    member,
    npy,
    patched,
    pickled,
    raw,
    sparse,
    spliced,
)  # fmt: skip

ZEROS = np.zeros((6, 7, 3), np.float32)
EVIL_NAMES = ("../logits.npy", "/logits.npy", "a/../../b.npy", "a\\..\\b.npy", "./a.npy", "a//b.npy")
LYING = alone(("logits.npy", npy(ZEROS) + bytes(2**24)))
CLIPPED = len(npy(ZEROS)).to_bytes(4, "little")
NOT_NUMBERS = {
    "objects": "|O", "texts": "<U4", "bytes": "|S8", "dates": "<M8[s]", "complex": "<c8", "void": "|V4",
    "long double": "<f16", "other byte order": ">f4",
}  # fmt: skip
SPOILED_JSON = {
    "empty": (b"", "Expecting value"),
    "cut short": (b'{"game": "linear', "Unterminated string"),
    "a list": (b"[]", "must hold a JSON object, but holds a list"),
    "no text": (b"\xff\xfe\x00", "can't decode byte"),
    "bottomless": (b"[" * 200_000, "not a readable JSON file"),
    "deep": (b'{"a":' * 40 + b"1" + b"}" * 40, "nested more than 32 deep"),
    "twice": (b'{"game": "macro", "game": "beach_bar"}', "'game' stands there twice"),
    "Infinity": (b'{"seed": -Infinity}', "-Infinity is not a finite number"),
    "NaN": (b'{"seed": NaN}', "NaN is not a finite number"),
    "beyond floats": (b'{"seed": 1e999}', "1e999 is not a finite number"),
    "digits": (b'{"seed": ' + b"9" * 5000 + b"}", "a whole number of 5000 digits"),
    "long text": (b'{"game": "' + b"x" * 10_000 + b'"}', "a text of more than 8192 characters"),
    "long name": (b'{"' + b"x" * 10_000 + b'": 1}', "a text of more than 8192 characters"),
}

# The kind of run, a field of its settings.json, its new value, what is said of it.
FIELDS: list[tuple[str, str, Any, str]] = [
    *(
        ("tree", "game_parameters.num_states", value, "num_states must be a whole number")
        for value in (7.0, "7", True, None, [7], -7)
    ),
    ("tree", "game", "../../etc", "unknown game '../../etc'"),
    ("tree", "game", 3, "game must be a text, but is 3"),
    ("tree", "game_parameters", [1], "game_parameters must be an object"),
    ("tree", "game_parameters.__class__", 1, "'__class__'"),
    ("network", "game_parameters.num_states", 10**12, "num_states must be at most 2147483647"),
    ("network", "game_parameters.num_states", 2 * 10**9, "at most 2147483647 pairs"),
    ("tree", "game_parameters.num_states", 2 * 10**9, "at most 2147483647 pairs"),
    ("network", "game_parameters.max_action", 10**9, "at most 2147483647 pairs"),
    ("network", "game_parameters.horizon", 2 * 10**9, "horizon must be at most 1000000"),
    ("macro", "game_parameters.noise_states", 2 * 10**9, "noise_states must be at most 256"),
    ("carmona", "game_parameters.granularity", 1e-300, "does not describe a run"),
    ("carmona", "game_parameters.granularity", 5e-324, "does not describe a run"),
    ("tree", "game_parameters.push", True, "push must be a number, but is True"),
    ("macro", "game_parameters.discretisation", 3, "discretisation must be one of"),
    ("tree", "solver", "exacter", "unknown solver 'exacter'"),
    ("tree", "solver", ["exact"], "solver must be a text"),
    ("tree", "solver", "rspg", "unknown setting of rspg"),
    ("tree", "precision", "float16", "precision must be one of float32, float64"),
    ("tree", "seed", -1, "seed must be a whole number of at least 0"),
    ("tree", "seed", True, "seed must be a whole number, but is True"),
    ("tree", "seed", 2**32, "seed must be at most 4294967295"),
    ("tree", "max_steps", 0, "max_steps must be a whole number of at least 1"),
    ("tree", "max_steps", 2**40, "max_steps must lie in"),
    ("tree", "max_seconds", "soon", "max_seconds must be a number or null, but is 'soon'"),
    ("tree", "max_seconds", -1.5, "max_seconds must be finite and above 0"),
    ("tree", "overrides", "all", "overrides must be an object"),
    ("tree", "overrides", {"hidden": {"a": 1}}, "overrides: hidden must be"),
    ("tree", "versions", {"jax": 1}, "versions must be an object, each value a text"),
    ("tree", "hyper_parameters.eval", "1", "unknown setting of exact 'eval'"),
    ("tree", "hyper_parameters.information", "all", "information must be one of full, public"),
    ("tree", "hyper_parameters.tolerance", "1e-4", "tolerance must be a number"),
    ("network", "network", None, "there is no network"),
    ("network", "network.shell", "sh", "unknown network setting 'shell'"),
    ("network", "network.hidden", True, "hidden must be a whole number, but is True"),
    ("network", "network.recurrent", "yes", "recurrent must be true or false"),
    ("network", "network.width", 10**12, "width must be at most 1048576"),
    ("network", "network.hidden", 10**6, "the network does not fit"),
    ("network", "network.depth", 10**6, "depth must lie in [1, 256]"),
    ("network", "network.head", "hydra", "head must be one of categorical, ordered"),
    ("table", "network.bins", ["x"], "bins must be a whole number or a list"),
]
# The same where it is the policy that does not fit.
UNFIT: list[tuple[str, str, Any, str]] = [
    ("table", "network.bins", 10**6, "does not fit the table of settings.json: logits"),
    ("network", "network.rank", 10**6, "does not fit the network of settings.json"),
    ("network", "network.depth", 100, "arrays are too few"),
]
# A field of result.json.
REACHED: list[tuple[str, Any, str]] = [
    ("result", "perfect", "unknown result 'perfect'"),
    ("seed", 1, "seed is 1, but that of settings.json is 0"),
    ("train_seconds", -1.0, "train_seconds must not be negative"),
    ("iterations", "many", "iterations must be a whole number"),
    ("message", [], "message must be a text"),
    ("exploitability", {"public": "low"}, "exploitability must be an object"),
]
# What is done to the policy.npz of a run on the tree.
ARRAYS: list[tuple[str, str, Callable[[Path], object]]] = [
    ("no archive", "File is not a zip file", raw(POLICY, b"PK\x03\x04 and so on")),
    ("a bare array", "File is not a zip file", raw(POLICY, npy(ZEROS))),
    ("a bare pickle", "File is not a zip file", raw(POLICY, pickle.dumps({"logits": 1}))),
    ("member of another kind", "is not a NAME.npy", member(b"import os", "logits.py")),
    ("member that rings", "is not a NAME.npy", member(npy(ZEROS), "a\x07\x1b[31m.npy")),
    ("twice", "the same name stands there twice", alone(*[("logits.npy", npy(ZEROS))] * 2)),
    ("too many", "1025 arrays, of at most 1024", many(1025, "a")),
    ("a long directory", "a directory of", many(4000, "long" * 60)),
    ("encrypted", "is encrypted", patched(6, b"\x01", also=alone(("logits.npy", npy(ZEROS))))),
    ("lzma", "in another way than by deflate", member(npy(ZEROS), how=zipfile.ZIP_LZMA)),
    ("bzip2", "in another way than by deflate", member(npy(ZEROS), how=zipfile.ZIP_BZIP2)),
    *((f"member {name}", "is not a NAME.npy within the archive", member(npy(ZEROS), name)) for name in EVIL_NAMES),
    *((f"dtype {name}", "one of plain numbers", member(described("(1,)", of))) for name, of in NOT_NUMBERS.items()),
    ("a flipped bit", "Bad CRC-32", flipped),
    ("pickled", "is not one of plain numbers", pickled),
    ("records", "is not one of plain numbers", member(npy(np.zeros(3, [("a", "f4"), ("b", "i4")])))),
    ("negative shape", "has shape (-1,)", member(described("(-1,)"))),
    ("shape beyond all", "has shape (100000000000", member(described(f"({10**30}, 0)"))),
    ("overflowing shape", "has shape (4294967296, 4294967296)", member(described(f"({2**32}, {2**32})"))),
    ("shape true", POLICY, member(described("(True,)", data=bytes(4)))),
    ("shape of floats", "shape is not valid", member(described("(1.5,)"))),
    ("more than is said", "has shape (6, 7, 3)", member(npy(ZEROS) + b"more")),
    ("less than is said", "has shape (6, 7, 3)", member(npy(ZEROS)[:-4])),
    ("version 3", "is of .npy version (3, 0)", member(npy(ZEROS, (3, 0)))),
    ("not an array", "magic string", member(b"plain words, but long enough")),
    ("header of code", "policy.npz is not a readable", member(headed("__import__('os').system('true')"))),
    ("header of brackets", "policy.npz is not a readable", member(headed("(" * 9000 + ")" * 900))),
    ("header of 4 GB", "EOF: reading array header", member(headed("{}", length=2**32 - 1))),
    ("missing", "does not fit the game of settings.json: logits", arrays(logits=None)),
    ("more", "does not fit the game of settings.json: more", arrays(more=ZEROS)),
    ("empty", "does not fit the game", alone()),
    ("no pages", "does not fit the game", arrays(parent=np.zeros(0, int))),
    ("parents on a plane", "does not fit the game", arrays(parent=np.zeros((6, 2), int))),
    ("signals of another kind", "settings.json: signals", arrays(signals=np.zeros((6, 5), np.float32))),
    ("NaN", "finite real numbers, but logits", arrays(logits=np.full((6, 7, 3), np.nan, np.float32))),
    ("infinite signal", "finite real numbers, but signals", arrays(signals=np.full((6, 1), np.inf))),
    ("beyond single precision", "finite real numbers, but logits", arrays(logits=np.full((6, 7, 3), 1e300))),
    ("whole logits", "finite real numbers, but logits", arrays(logits=np.zeros((6, 7, 3), int))),
    ("parents of reals", "whole numbers from 0 to 5 in parent", arrays(parent=np.zeros(6))),
    ("parents beyond", "whole numbers from 0 to 5 in parent", arrays(parent=np.full(6, 2**62))),
    ("members before", "whole numbers from 0 to 5 in members", arrays(members=np.full(6, -1))),
    ("times beyond", "whole numbers from 0 to 2 in time", arrays(time=np.full(6, 3))),
    ("a bomb", "does not fit the game", bomb(2**27)),
    ("a bomb by another name", "does not fit the game", bomb(2**27, "more.npy")),
    ("a bomb that says less", "bytes", bomb(2**27, shape="(6, 7, 3)")),
    ("a bomb in disguise", "Bad CRC-32", patched(22, CLIPPED, also=LYING)),
    ("empty words", "more than", patched(22, b"\xff\xff\xff\x7f", also=alone(("logits.npy", npy(ZEROS))))),
]

FILES = (SETTINGS, POLICY, RESULT)
PLACES: list[tuple[str, str, Callable[[Path], object]]] = [
    *((file, "is not a plain file", os.mkfifo) for file in FILES),
    *((file, "is not a plain file", Path.mkdir) for file in FILES),
    *((file, "is a symbolic link", linked_away) for file in FILES),
    *((file, "is a symbolic link", lambda path: path.symlink_to("nowhere")) for file in FILES),
    *((file, "is a symbolic link", lambda path: path.symlink_to("/dev/zero")) for file in FILES),
    *((file, "bytes, of at most", sparse(2**40)) for file in FILES),
]

CASES = [
    *(
        Case(f"{file} {name}", "tree", file, said, raw(file, text))
        for name, (text, said) in SPOILED_JSON.items()
        for file in (SETTINGS, RESULT)
    ),
    *(
        Case(f"{i} {file} {said}", "tree", file, said, in_place(file, make))
        for i, (file, said, make) in enumerate(PLACES)
    ),
    *(
        Case(f"{kind}: {where} {value}", kind, SETTINGS, said, field(where, value))
        for kind, where, value, said in FIELDS
    ),
    *(Case(f"{where} {value}", kind, POLICY, said, field(where, value)) for kind, where, value, said in UNFIT),
    *(Case(f"{where} {value}", "tree", RESULT, said, field(where, value, RESULT)) for where, value, said in REACHED),
    *(Case(name, "tree", POLICY, said, spoil) for name, said, spoil in ARRAYS),
    Case("NaN seconds", "tree", RESULT, "NaN is not a finite number", spliced("1.0", "NaN", RESULT)),
    Case("a bomb for a network", "network", POLICY, "does not fit the network", bomb(2**27)),
]
BOMBS = [case for case in CASES if any(word in case.name for word in ("bomb", "000000", "of at most", "empty words"))]
