"""Every way in which the tests spoil a run folder."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from helpers.hostile import (
    POLICY,
    RESULT,
    SETTINGS,
    Case,
    Evil,
    Spoil,
    arrays,
    bomb,
    field,
    filled,
    flipped,
    headed,
    header_field,
    in_place,
    linked_away,
    pickled,
    raw,
    sparse,
    spliced,
)

ZEROS = np.zeros((6, 7, 3), np.float32)
EVIL_NAMES = ("../logits", "/logits", "a/../../b", "a\\..\\b", "./a", "", "a\x07\x1b[31m")
NOT_NUMBERS = ("BF16", "C64", "F8_E4M3", "F4", "I128", "<f4", "O", "F32\n", "")


def archive(**members: Any) -> bytes:
    """What `np.savez` writes."""
    file = io.BytesIO()
    np.savez(file, **members)
    return file.getvalue()


SPOILED_JSON = {
    "empty": (b"", "Expecting value"),
    "cut short": (b'{"game": "linear', "Unterminated string"),
    "too little": (b'{"game": "macro"}', "it lacks "),
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
    ("tree", "game_parameters.num_states", 8, "does not fit the game of settings.json: logits"),
    ("network", "network.width", 4, "does not fit the network of settings.json"),
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
# What is done to the policy of a run on the tree.
EMPTY = {f"a{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(20_000)}
ARRAYS: list[tuple[str, str, Spoil]] = [
    ("an archive in its place", "a header of", raw(POLICY, archive(logits=ZEROS))),
    ("a pickle in its place", "a header of", raw(POLICY, pickle.dumps({"logits": 1}))),
    ("an evil pickle in its place", "a header of", pickled),
    ("a file of nothing", "Expecting value", raw(POLICY, b"")),
    ("half a length", "Expecting value", raw(POLICY, b"\x01\x00")),
    ("header of 4 GB", "a header of 4294967295 bytes, of at most", headed("{}", length=2**32 - 1)),
    ("header beyond all", "a header of 18446744073709551615 bytes", headed("{}", length=2**64 - 1)),
    ("header beyond the end", "after its header", headed("{}", length=100)),
    ("header of many", "a header of", headed(json.dumps(EMPTY))),
    ("header of code", "not a readable safetensors file", headed("__import__('os').system('true')")),
    ("arrays in hundreds", "does not fit the game", headed(json.dumps(dict([*EMPTY.items()][:900])))),
    ("arrays of nothing", "after its header", header_field("signals", ...)),
    ("twice", "'logits' stands there twice", headed('{"logits": {}, "logits": {}}')),
    ("a list of arrays", "must hold a JSON object", headed("[]")),
    ("header of brackets", "not a readable safetensors file", headed("[" * 200_000)),
    ("header of bytes", "can't decode byte", headed(b"\xff\xfe")),
    ("header of digits", "a whole number of 5000 digits", headed('{"logits": ' + "9" * 5000 + "}")),
    ("a text as array", "must be an object", header_field("logits", "zeros")),
    ("metadata of no kind", "not a readable safetensors file", header_field("__metadata__", [])),
    ("no metadata", "checksum does not fit", header_field("__metadata__", ...)),
    ("another checksum", "checksum does not fit", header_field("__metadata__.crc32", "00000000")),
    ("a flipped bit", "checksum does not fit", flipped),
    *((f"no {name}", f"it lacks {name}", header_field(f"logits.{name}", ...)) for name in ("dtype", "shape")),
    ("no place", "it lacks data_offsets", header_field("logits.data_offsets", ...)),
    *((f"array {name!r}", "does not fit the game", arrays(**{name: ZEROS})) for name in EVIL_NAMES),
    *((f"dtype {name!r}", "which is none of BOOL, F16", header_field("logits.dtype", name)) for name in NOT_NUMBERS),
    ("dtype of no kind", "dtype must be a text", header_field("logits.dtype", ["F32"])),
    ("wider than it is", "after its header", header_field("logits.dtype", "F64")),
    ("negative shape", "has shape [-1]", header_field("logits.shape", [-1])),
    ("shape beyond all", "after its header", header_field("logits.shape", [10**19] * 20)),
    ("overflowing shape", "after its header", header_field("logits.shape", [2**32, 2**32])),
    ("shape of many axes", "has shape [1, 1", header_field("logits.shape", [1] * 33)),
    ("shape true", "shape must be a list, each a whole number", header_field("logits.shape", [True])),
    ("shape of floats", "shape must be a list, each a whole number", header_field("logits.shape", [6.0, 7.0, 3.0])),
    ("shape of text", "shape must be a list", header_field("logits.shape", "6, 7, 3")),
    ("another shape", "does not fit the game of settings.json: logits", header_field("logits.shape", [7, 6, 3])),
    ("places that cross", "not a readable safetensors file", header_field("parent.data_offsets", [0, 24])),
    ("places turned round", "not a readable safetensors file", header_field("logits.data_offsets", [504, 0])),
    ("places outside", "not a readable safetensors file", header_field("logits.data_offsets", [10**6, 10**6 + 504])),
    ("places below", "not a readable safetensors file", header_field("logits.data_offsets", [-504, 0])),
    ("places of three", "not a readable safetensors file", header_field("logits.data_offsets", [0, 504, 504])),
    ("places of text", "data_offsets must be a list", header_field("logits.data_offsets", "0, 504")),
    ("more than is said", "after its header", header_field("logits.dtype", "F32", more=b"more")),
    ("missing", "does not fit the game of settings.json: logits", arrays(logits=None)),
    ("more", "does not fit the game of settings.json: more", arrays(more=ZEROS)),
    ("empty", "does not fit the game", headed("{}")),
    ("no pages", "does not fit the game", arrays(parent=np.zeros(0, int))),
    ("parents on a plane", "does not fit the game", arrays(parent=np.zeros((6, 2), int))),
    ("signals of another kind", "settings.json: signals", arrays(signals=np.zeros((6, 5), np.float32))),
    ("NaN", "finite real numbers, but logits", arrays(logits=np.full((6, 7, 3), np.nan, np.float32))),
    ("infinite signal", "finite real numbers, but signals", arrays(signals=np.full((6, 1), np.inf))),
    ("beyond single precision", "finite real numbers, but logits", arrays(logits=np.full((6, 7, 3), 1e300))),
    ("whole logits", "finite real numbers, but logits", arrays(logits=np.zeros((6, 7, 3), int))),
    ("parents of reals", "whole numbers from 0 to 5 in parent", arrays(parent=np.zeros(6))),
    ("parents of booleans", "whole numbers from 0 to 5 in parent", arrays(parent=np.zeros(6, bool))),
    ("parents beyond", "whole numbers from 0 to 5 in parent", arrays(parent=np.full(6, 2**62))),
    ("members before", "whole numbers from 0 to 5 in members", arrays(members=np.full(6, -1))),
    ("times beyond", "whole numbers from 0 to 2 in time", arrays(time=np.full(6, 3))),
    ("a bomb", "does not fit the game", bomb(2**30)),
    ("a bomb by another name", "does not fit the game", bomb(2**30, "more")),
    ("a bomb that says less", "after its header", bomb(2**30, shape=(6, 7, 3))),
]
# A policy.npz beside: that of an older version, or what somebody takes for one.
OLD: list[tuple[str, bytes]] = [
    ("an old policy", archive(logits=ZEROS)),
    ("an old policy of objects", archive(logits=np.array([Evil(Path("unpickled"))], object))),
    ("an old policy of nothing", b""),
]

FILES = (SETTINGS, POLICY, RESULT)
PLACES: list[tuple[str, str, Spoil]] = [
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
    *(Case(name, "tree", POLICY, words, spoil) for name, words, spoil in ARRAYS),
    *(Case(name, "tree", "policy.npz", "written by structmfg", raw("policy.npz", data)) for name, data in OLD),
    Case("NaN for a network", "network", POLICY, "must hold finite real numbers", filled(np.nan)),
    Case("NaN seconds", "tree", RESULT, "NaN is not a finite number", spliced("1.0", "NaN", RESULT)),
    Case("a bomb for a network", "network", POLICY, "does not fit the network", bomb(2**30)),
]
BOMBS = [
    case
    for case in CASES
    if any(word in case.name for word in ("bomb", "000000", "of at most", "header of", "beyond all"))
]
