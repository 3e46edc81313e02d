"""Equality of games by their content, so that equal games share one compiled program.

A program is compiled for a game once and serves every game that is equal to it: a game of the same class with the same
content. The content is everything that the game's attributes and the attributes of its classes hold, with whatever lies
inside them (arrays, lists, dictionaries, other objects), and the code of its methods, with the variables they close
over and the numbers, functions and classes of their own module that they name. What a method takes from another module,
from a file or from a call is not part of the content: after such a thing has changed, call `jax.clear_caches()`.

The content is summed up in a digest. The digest of a game is kept from its first use on.
"""

import copy
import enum
import functools
import hashlib
import inspect
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np

AnyGame = TypeVar("AnyGame")
Pieces: TypeAlias = Iterator[bytes | memoryview]

_ATOMS = (str, bytes, bool, float, complex, type(None), type(...), range, slice, np.dtype)
_FLAT = {bool, float, str, type(None)}  # a list of these is read at once, by its `repr`
_DATA = (bool, int, float, complex, str, np.ndarray, np.generic, jax.Array, list, tuple, dict, set, frozenset)
# The content of classes and functions of these libraries is not read, as nobody changes them.
_LIBRARIES = {"builtins", "collections", "dataclasses", "enum", "equinox", "functools", "jax", "jaxlib"}
_LIBRARIES |= {"jaxtyping", "numpy", "pandas", "scipy", "types", "typing"}


class _Record(NamedTuple):
    """The digest of a game at one time; `kept_alive` holds the objects that the digest names by their address."""

    game: "weakref.ref[Any]"
    digest: bytes
    kept_alive: list[Any]


_FIRST_USE: dict[int, _Record] = {}  # by the address of the game
_JAX_ARRAYS: dict[int, tuple["weakref.ref[jax.Array]", bytes]] = {}  # by address; a JAX array never changes


def current_version(game: AnyGame) -> AnyGame:
    """The game itself, or a copy if its content has changed since its first use.

    So a compiled program never meets a game whose content differs from the one it was compiled for.
    """
    now = _record(game)
    if now.digest == _record_of_first_use(game, now).digest:
        return game
    renewed = copy.copy(game)
    for name in _cached_properties(type(game)) & vars(renewed).keys():  # they hold values of the old content
        del vars(renewed)[name]
    if _record_of_first_use(renewed, _record(renewed)).digest != now.digest:
        raise ValueError("the game has changed since it was first used, and a copy of it is not like it: make it anew")
    return renewed


def digest_at_first_use(game: Any) -> bytes:
    """The digest of a game's content when it was first used."""
    known = _FIRST_USE.get(id(game))
    return known.digest if known and known.game() is game else _record_of_first_use(game, _record(game)).digest


def _record(game: Any) -> _Record:
    reader = _Reader()
    digest = reader.digest(game)
    return _Record(weakref.ref(game, functools.partial(_forget, id(game))), digest, reader.kept_alive)


def _record_of_first_use(game: Any, now: _Record) -> _Record:
    known = _FIRST_USE.get(id(game))
    if known is None or known.game() is not game:
        known = _FIRST_USE[id(game)] = now
    return known


def _forget(address: int, _: Any) -> None:
    known = _FIRST_USE.get(address)
    if known is not None and known.game() is None:
        del _FIRST_USE[address]


def _cached_properties(cls: type) -> set[str]:
    """The names of cached properties; their values follow from the other attributes."""
    members = (member for base in cls.__mro__ for member in vars(base).items())
    return {name for name, member in members if isinstance(member, functools.cached_property)}


def _hash(pieces: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


class _Reader:
    """Reads the content of a value. `kept_alive` then holds the objects that it could name only by their address."""

    def __init__(self) -> None:
        self.kept_alive: list[Any] = []
        self._open: list[int] = []  # the addresses of the containers that are being read, outermost first
        self._read: dict[int, tuple[bytes, Any]] = {}  # digests by address; the value is kept so that it stays there

    def digest(self, value: Any) -> bytes:
        """The digest of a value's content."""
        return _hash(self._pieces(value))

    def _pieces(self, value: Any) -> Pieces:
        if isinstance(value, enum.Enum | types.ModuleType | types.BuiltinFunctionType):
            yield self._address(value)
        elif isinstance(value, _ATOMS):
            yield f"{type(value).__name__} {value!r};".encode("utf-8", "surrogatepass")
        elif isinstance(value, int):
            yield f"{type(value).__name__} {value:x};".encode()
        elif isinstance(value, np.generic):
            yield f"{value.dtype} {value!r};".encode()
        elif isinstance(value, jax.Array):
            yield self._jax_array(value)
        elif id(value) in self._open:  # the value contains itself
            yield f"{len(self._open) - self._open.index(id(value))} levels up;".encode()
        else:
            if id(value) not in self._read:
                self._read[id(value)] = self._digest_of_container(value), value
            yield self._read[id(value)][0]

    def _digest_of_container(self, value: Any) -> bytes:
        self._open.append(id(value))
        try:
            pieces = list(self._container(value))
        except Exception:  # the code of a user's object may raise anything
            pieces = [self._address(value)]
        self._open.pop()
        return _hash(pieces)

    def _container(self, value: Any) -> Pieces:
        """The content of a value that holds other values."""
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
        self.kept_alive.append(value)
        return f"{type(value).__name__} at {id(value)};".encode()

    def _reduced(self, value: Any) -> Pieces:
        """The parts that a copy would be made from, or the address if the value cannot be copied."""
        try:
            parts = value.__reduce_ex__(4)
        except Exception:  # a type that cannot be copied may raise anything
            parts = ""
        if isinstance(parts, str):
            yield self._address(value)
        else:
            yield from self._pieces([list(part) if isinstance(part, Iterator) else part for part in parts])

    def _array(self, value: np.ndarray) -> Pieces:
        yield f"{type(value).__name__} {value.dtype} {value.shape};".encode()
        if value.dtype.hasobject:
            yield from self._pieces(value.ravel().tolist())
        else:
            yield np.ascontiguousarray(value).reshape(-1).view(np.ndarray).view(np.uint8).data
        if type(value) is not np.ndarray:  # a masked array, for instance
            yield from self._pieces(getattr(value, "__dict__", None))

    def _collection(self, value: Any) -> Pieces:
        yield f"{type(value).__module__}.{type(value).__qualname__} {len(value)};".encode()
        if isinstance(value, set | frozenset):
            yield from sorted(b"".join(self._pieces(item)) for item in value)
        elif type(value) in (list, tuple) and set(map(type, value)) <= _FLAT:
            yield repr(value).encode("utf-8", "surrogatepass")
        else:
            for item in value.items() if isinstance(value, Mapping) else value:
                yield from self._pieces(item)

    def _jax_array(self, value: jax.Array) -> bytes:
        if isinstance(value, jax.core.Tracer) or value.is_deleted():
            return self._address(value)
        address, known = id(value), _JAX_ARRAYS.get(id(value))
        if known is None or known[0]() is not value:
            is_key = jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)
            digest = _Reader().digest(np.asarray(jax.random.key_data(value) if is_key else value))
            known = _JAX_ARRAYS[address] = weakref.ref(value, lambda _: _JAX_ARRAYS.pop(address, None)), digest
        return f"jax {value.dtype} {value.weak_type};".encode() + known[1]

    def _class(self, value: type) -> Pieces:
        """The class itself, and the members of those of its bases that are the user's or this package's."""
        for cls in value.__mro__:
            yield self._address(cls)
            origin = cls.__module__.partition(".")[0]
            if origin in _LIBRARIES:
                continue
            for name, member in vars(cls).items():
                if (name.startswith("__") and name.endswith("__")) or name.startswith("_abc_"):
                    continue
                yield name.encode()
                if origin == "structmfg" and (callable(member) or hasattr(type(member), "__get__")):
                    yield self._address(member)
                elif not isinstance(member, types.MemberDescriptorType | types.GetSetDescriptorType):
                    yield from self._pieces(_functions_within(member))

    def _function(self, value: types.FunctionType) -> Pieces:
        """Its code and defaults, and the variables that it closes over or takes from its module."""
        yield f"function {value.__module__}.{value.__qualname__};".encode()
        if value.__module__ and value.__module__.partition(".")[0] in _LIBRARIES | {"structmfg"}:
            yield self._address(value)
            return
        yield from self._pieces((value.__defaults__, value.__kwdefaults__))
        for cell in value.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:  # the cell is still empty
                content = None
            yield from self._pieces(content)
        yield from self._code(value.__code__, value)

    def _code(self, code: types.CodeType, function: types.FunctionType) -> Pieces:
        yield code.co_code
        yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
        variables = function.__globals__
        for name in code.co_names:
            if name in variables and _belongs_to_module(variables[name], function.__module__):
                yield from self._pieces(variables[name])
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from self._code(constant, function)
            else:
                yield from self._pieces(constant)


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, without the values of its cached properties."""
    cached, slots = _cached_properties(type(value)), _slots(type(value))
    own = {name: attribute for name, attribute in getattr(value, "__dict__", {}).items() if name not in cached}
    return own | {name: getattr(value, name) for name in slots if hasattr(value, name)}


def _slots(cls: type) -> list[str]:
    members = (member for base in cls.__mro__ for member in vars(base).items())
    return [name for name, member in members if isinstance(member, types.MemberDescriptorType)]


def _functions_within(member: Any) -> Any:
    """The functions that a descriptor wraps; any other member as it is."""
    if isinstance(member, property):
        return member.fget, member.fset
    if isinstance(member, functools.cached_property):
        return member.func
    return member.__func__ if isinstance(member, staticmethod | classmethod) else member


def _belongs_to_module(value: Any, module: str | None) -> bool:
    """Whether a value is data, or a function, a class or an object of that module."""
    if isinstance(value, (*_DATA, types.SimpleNamespace)):
        return True
    return module in (getattr(value, "__module__", None), type(value).__module__)


def within_a_class(equal: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An `__eq__` for objects of one class only: JAX's caches compare a game with games of any other class."""

    @functools.wraps(equal)
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807
        return equal(self, other) if type(self) is type(other) else NotImplemented

    return __eq__
