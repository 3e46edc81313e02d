"""Games by content: what a program was compiled for is told by all that a game holds, not by which object it is.

A program is compiled for a game once, and serves every game that is equal to it: one of the same class that holds the
same. That is its attributes and those of its classes, with what lies inside them (arrays, lists, dictionaries, other
objects), and its methods, with the variables that they close over and the numbers, functions and classes of their own
module that they name. What they take from other modules, from files or from a call is not seen: after a change of such
a thing call `jax.clear_caches()`.
"""

import copy
import enum
import functools
import hashlib
import inspect
import types
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

T = TypeVar("T")

_WORDS = (str, bytes, bool, float, complex, type(None), type(...), range, slice, np.dtype)
_ROW = {bool, float, str, type(None)}  # lists of these are read at once
_DATA = (bool, int, float, complex, str, np.ndarray, np.generic, jax.Array, list, tuple, dict, set, frozenset)
_LIBRARIES = {"builtins", "collections", "dataclasses", "enum", "equinox", "functools", "jax", "jaxlib"}
_LIBRARIES |= {"jaxtyping", "numpy", "pandas", "scipy", "types", "typing"}  # whose classes nobody changes


class _Record(NamedTuple):
    """Of a game as it was when it was first used; `held`: what is told by its address, which must stay taken."""

    of: "weakref.ref[Any]"
    digest: bytes
    held: list[Any]


_RECORDS: dict[int, _Record] = {}
_ARRAYS: dict[int, tuple["weakref.ref[jax.Array]", bytes]] = {}  # of JAX, which never change


def settled(game: T) -> T:
    """The game itself, or, where it has changed since it was first used, a copy that is what it is now.

    So no compiled program meets a game in another state than the one it was compiled for.
    """
    now = _recorded(game)
    if now.digest == _first(game, now).digest:
        return game
    renewed = copy.copy(game)
    for name in _cached(type(game)) & vars(renewed).keys():  # of what it was before
        del vars(renewed)[name]
    if _first(renewed, _recorded(renewed)).digest != now.digest:
        raise ValueError("the game has changed since it was first used, and a copy of it is not like it: make it anew")
    return renewed


def digest_at_first_use(game: Any) -> bytes:
    """Of all that the game held when it was first used."""
    known = _RECORDS.get(id(game))
    return known.digest if known and known.of() is game else _first(game, _recorded(game)).digest


def _recorded(game: Any) -> _Record:
    reader = _Reader()
    digest = reader.digest(game)
    return _Record(weakref.ref(game, functools.partial(_forget, id(game))), digest, reader.held)


def _first(game: Any, now: _Record) -> _Record:
    known = _RECORDS.get(id(game))
    if known is None or known.of() is not game:
        known = _RECORDS[id(game)] = now
    return known


def _forget(number: int, _: Any) -> None:
    known = _RECORDS.get(number)
    if known is not None and known.of() is None:
        del _RECORDS[number]


def _cached(cls: type) -> set[str]:
    """The names of its cached properties, which only repeat what the others say."""
    return {name for of in cls.__mro__ for name, one in vars(of).items() if isinstance(one, functools.cached_property)}


class _Reader:
    """Reads a value through; `held` then keeps what it could tell by its address only."""

    def __init__(self) -> None:
        self.held: list[Any] = []
        self._open: list[int] = []  # the addresses of what is being read, one inside the other
        self._read: dict[
            int, tuple[bytes, Any]
        ] = {}  # digests; and keeps the values, so that no address is taken twice

    def digest(self, value: Any) -> bytes:
        """Of what it holds."""
        found = hashlib.blake2b(digest_size=16)
        for piece in self._pieces(value):
            found.update(piece)
        return found.digest()

    def _pieces(self, value: Any) -> Iterator[bytes | memoryview]:
        if isinstance(value, enum.Enum | types.ModuleType | types.BuiltinFunctionType):
            yield self._address(value)
        elif isinstance(value, _WORDS):
            yield f"{type(value).__name__} {value!r};".encode("utf-8", "surrogatepass")
        elif isinstance(value, int):
            yield f"{type(value).__name__} {value:x};".encode()
        elif isinstance(value, np.generic):
            yield f"{value.dtype} {value!r};".encode()
        elif isinstance(value, jax.Array):
            yield self._jax_array(value)
        elif id(value) in self._open:  # it holds itself
            yield f"{len(self._open) - self._open.index(id(value))} levels up;".encode()
        else:
            if id(value) not in self._read:
                self._read[id(value)] = self._digest_of_inner(value), value
            yield self._read[id(value)][0]

    def _digest_of_inner(self, value: Any) -> bytes:
        self._open.append(id(value))
        found = hashlib.blake2b(digest_size=16)
        try:
            pieces = list(self._inner(value))
        except Exception:  # of an object that cannot be read: a user's code may raise anything
            pieces = [self._address(value)]
        self._open.pop()
        for piece in pieces:
            found.update(piece)
        return found.digest()

    def _inner(self, value: Any) -> Iterator[bytes | memoryview]:
        """Of what holds other values."""
        if isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, np.ndarray):
            yield from self._array(value)
        elif isinstance(value, list | tuple | set | frozenset | Mapping):
            yield from self._collection(value)
        elif isinstance(value, types.MethodType):
            yield from self._pieces((value.__func__, value.__self__))
        elif isinstance(value, functools.partial):
            yield from self._pieces((value.func, value.args, value.keywords))
        elif hasattr(value, "__wrapped__") and callable(value):  # by jax.jit, functools.lru_cache and the like
            yield f"{type(value).__name__} of ".encode()
            yield from self._pieces(inspect.unwrap(value))
        elif hasattr(value, "__dict__") or _slots(type(value)):
            yield from self._pieces(type(value))
            yield from self._pieces(_attributes(value))
        else:
            yield from self._reduced(value)

    def _address(self, value: Any) -> bytes:
        self.held.append(value)
        return f"{type(value).__name__} at {id(value)};".encode()

    def _reduced(self, value: Any) -> Iterator[bytes | memoryview]:
        """By what a copy would be made of, or else by which object it is."""
        try:
            parts = value.__reduce_ex__(4)
        except Exception:  # whatever a type raises that cannot be copied
            parts = ""
        if isinstance(parts, str):
            yield self._address(value)
        else:
            yield from self._pieces([list(part) if isinstance(part, Iterator) else part for part in parts])

    def _array(self, value: np.ndarray) -> Iterator[bytes | memoryview]:
        yield f"{type(value).__name__} {value.dtype} {value.shape};".encode()
        if value.dtype.hasobject:
            yield from self._pieces(value.ravel().tolist())
        else:
            yield np.ascontiguousarray(value).reshape(-1).view(np.ndarray).view(np.uint8).data
        if type(value) is not np.ndarray:  # a mask, say
            yield from self._pieces(getattr(value, "__dict__", None))

    def _collection(self, value: Any) -> Iterator[bytes | memoryview]:
        yield f"{type(value).__module__}.{type(value).__qualname__} {len(value)};".encode()
        if isinstance(value, set | frozenset):
            yield from sorted(b"".join(self._pieces(item)) for item in value)
        elif isinstance(value, Mapping):
            for item in value.items():
                yield from self._pieces(item)
        elif type(value) in (list, tuple) and set(map(type, value)) <= _ROW:
            yield repr(value).encode("utf-8", "surrogatepass")
        else:
            for item in value:
                yield from self._pieces(item)

    def _jax_array(self, value: jax.Array) -> bytes:
        """It never changes, so that it is read only once."""
        if isinstance(value, jax.core.Tracer) or value.is_deleted():
            return self._address(value)
        number, known = id(value), _ARRAYS.get(id(value))
        if known is None or known[0]() is not value:
            key = jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
            digest = _Reader().digest(np.asarray(jax.random.key_data(value) if key else value))
            known = _ARRAYS[number] = weakref.ref(value, lambda _: _ARRAYS.pop(number, None)), digest
        return f"jax {value.dtype} {value.weak_type};".encode() + known[1]

    def _class(self, value: type) -> Iterator[bytes | memoryview]:
        """The class, and what those of its bases hold that are the user's or this package's."""
        for cls in value.__mro__:
            yield self._address(cls)
            origin = cls.__module__.partition(".")[0]
            if origin in _LIBRARIES:
                continue
            for name, of in vars(cls).items():
                if (name.startswith("__") and name.endswith("__")) or name.startswith("_abc_"):
                    continue
                yield name.encode()
                if origin == "structmfg" and (callable(of) or hasattr(type(of), "__get__")):
                    yield self._address(of)
                elif not isinstance(of, types.MemberDescriptorType | types.GetSetDescriptorType):
                    yield from self._pieces(_bare(of))

    def _function(self, value: types.FunctionType) -> Iterator[bytes | memoryview]:
        """Its code and defaults, and the variables it closes over or takes from its module."""
        yield f"function {value.__module__}.{value.__qualname__};".encode()
        if value.__module__ and value.__module__.partition(".")[0] in _LIBRARIES | {"structmfg"}:
            yield self._address(value)
            return
        yield from self._pieces((value.__defaults__, value.__kwdefaults__))
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                content = None  # not filled yet
            yield from self._pieces(content)
        yield from self._code(value.__code__, value)

    def _code(self, code: types.CodeType, of: types.FunctionType) -> Iterator[bytes | memoryview]:
        yield code.co_code
        yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
        for name in code.co_names:
            if name in of.__globals__ and _is_own(named := of.__globals__[name], of.__module__):
                yield from self._pieces(named)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self._code(constant, of)
            else:
                yield from self._pieces(constant)


def _attributes(value: Any) -> dict[str, Any]:
    """Of the object itself, but for what its cached properties keep."""
    cached, slots = _cached(type(value)), _slots(type(value))
    own = {name: of for name, of in getattr(value, "__dict__", {}).items() if name not in cached}
    return own | {name: getattr(value, name) for name in slots if hasattr(value, name)}


def _slots(cls: type) -> list[str]:
    members = ((name, one) for of in cls.__mro__ for name, one in vars(of).items())
    return [name for name, one in members if isinstance(one, types.MemberDescriptorType)]


def _bare(of: Any) -> Any:
    """The functions within a descriptor."""
    if isinstance(of, property):
        return of.fget, of.fset
    if isinstance(of, functools.cached_property):
        return of.func
    return of.__func__ if isinstance(of, staticmethod | classmethod) else of


def _is_own(value: Any, module: str | None) -> bool:
    """Whether it is data, or a function, a class or an object of that module."""
    if isinstance(value, (*_DATA, types.SimpleNamespace)):
        return True
    return module in (getattr(value, "__module__", None), type(value).__module__)
