"""A function of PyTorch as one of JAX: its graph of ATen operations, recorded once and evaluated with `jax.numpy`."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


class CannotTranslateError(Exception):
    """The function decides by the values of its input, or uses an operation that has no translation here."""


class TorchFunction:
    """A function of one array that was recorded from PyTorch, as plain data.

    Attributes:
        constants: The tensors that the function held.
        steps: For each operation its name, its positional and its named arguments; results of earlier operations and
            constants are `_Result` and `_Constant`.
        output: What the function returns.
        depends: Whether its value depends on its input.
    """

    def __init__(self, function: Callable[[Any], Any], example: Any) -> None:
        graph = _recorded(function, example)
        known: dict[Any, Any] = {}
        varying: set[Any] = set()
        self.constants: list[np.ndarray] = []
        self.steps: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

        def read(argument: Any) -> Any:
            if isinstance(argument, list | tuple):
                return tuple(map(read, argument))
            if type(argument).__module__.startswith("torch") and not hasattr(argument, "op"):
                return _setting(argument)  # a dtype, a device, a layout
            return known[argument] if hasattr(argument, "op") else argument

        for node in graph.graph.nodes:
            if node.op == "placeholder":
                known[node] = _Result(-1)
                varying.add(node)
            elif node.op == "get_attr":
                known[node] = _Constant(len(self.constants))
                self.constants.append(_as_array(operator.attrgetter(node.target)(graph)))
            elif node.op == "output":
                (returned,) = node.args
                self.output = read(returned)
                self.depends = returned in varying
            else:
                name = str(node.target).split(".")[1] if str(node.target).startswith("aten.") else str(node.target)
                if name not in OPERATIONS:
                    raise CannotTranslateError(f"the operation {node.target}")
                if any(each in varying for each in node.all_input_nodes):
                    varying.add(node)
                named = {key: read(value) for key, value in node.kwargs.items() if key in _NAMED}
                known[node] = _Result(len(self.steps))
                self.steps.append((name, tuple(map(read, node.args)), named))

    def __call__(self, value: Array) -> Array:
        """The function's value, in JAX's default precision."""
        results: list[Any] = []

        def find(argument: Any) -> Any:
            if isinstance(argument, tuple):
                return tuple(map(find, argument))
            if isinstance(argument, _Constant):
                constant = self.constants[argument.index]
                return jnp.asarray(constant, _KINDS.get(constant.dtype.kind))
            if isinstance(argument, _Result):
                return value if argument.index < 0 else results[argument.index]
            return argument

        for name, arguments, named in self.steps:
            results.append(OPERATIONS[name](*map(find, arguments), **{key: find(each) for key, each in named.items()}))
        return find(self.output)


class _Place:
    def __init__(self, index: int) -> None:
        self.index = index


class _Result(_Place):
    """The result of an operation; of index -1, the input."""


class _Constant(_Place):
    """A tensor that the function held."""


def _recorded(function: Callable[[Any], Any], example: Any) -> Any:
    """The graph of a function in ATen operations that write nowhere.

    Raises:
        CannotTranslateError: If the function decides by the values of its input.
    """
    from torch._decomp import core_aten_decompositions
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    pure = functionalize(function, remove="mutations_and_views")
    try:
        graph = make_fx(pure, decomposition_table=core_aten_decompositions())(example)
    except RuntimeError as error:  # what PyTorch raises where a number of a recorded tensor is asked for
        raise CannotTranslateError(str(error).partition("\n")[0]) from error
    graph.graph.eliminate_dead_code()
    return graph


def _as_array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _setting(value: Any) -> Any:
    """A dtype of PyTorch as one of JAX; None for a device or a layout."""
    name = str(value)
    if name in ("torch.float16", "torch.float32", "torch.float64", "torch.bfloat16"):
        return float
    if name == "torch.bool":
        return bool
    return int if name.startswith(("torch.int", "torch.uint")) else None


_KINDS = {"f": float, "i": int, "u": int, "b": bool}  # JAX's default precision for each kind of number
_NAMED = {"dim", "keepdim", "min", "max", "alpha", "rounding_mode", "dtype"}


def _sum(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.sum(x, axis=_axes(dim), keepdims=keepdim, dtype=dtype)


def _mean(x: Array, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return jnp.mean(x, axis=_axes(dim), keepdims=keepdim, dtype=dtype)


def _axes(dim: Any) -> Any:
    return None if dim in (None, ()) else dim


def _slice(x: Array, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> tuple[Any, ...]:
    return (slice(None),) * (dim % x.ndim) + (slice(start, end, step),)


def _at(x: Array, dim: int, index: int) -> tuple[Any, ...]:
    return (slice(None),) * (dim % x.ndim) + (index,)


def _expand(x: Array, sizes: Sequence[int]) -> Array:
    padded = (1,) * (len(sizes) - x.ndim) + x.shape
    return jnp.broadcast_to(x, tuple(old if new == -1 else new for new, old in zip(sizes, padded, strict=True)))


def _squeeze(x: Array, dim: Any = None) -> Array:
    dims = range(x.ndim) if dim is None else (dim if isinstance(dim, tuple) else (dim,))
    return jnp.squeeze(x, tuple(each for each in dims if x.shape[each] == 1))


def _div(x: Any, y: Any, rounding_mode: str | None = None) -> Array:
    exact = jnp.divide(x, y)
    return exact if rounding_mode is None else (jnp.floor if rounding_mode == "floor" else jnp.trunc)(exact)


def _arange(first: Any, end: Any = None, step: Any = 1, dtype: Any = None) -> Array:
    return jnp.arange(0 if end is None else first, first if end is None else end, step, dtype)


def _like(value: Any) -> Callable[..., Array]:
    return lambda x, dtype=None: jnp.full_like(x, value, dtype=dtype)


def _filled(value: Any) -> Callable[..., Array]:
    return lambda shape, dtype=None: jnp.full(shape, value, dtype=dtype or float)


def _indexed(x: Array, indices: tuple[Any, ...]) -> Array:
    return x[tuple(slice(None) if index is None else index for index in indices)]


def _index_put(x: Array, indices: tuple[Any, ...], values: Array, accumulate: bool = False) -> Array:
    place = x.at[tuple(slice(None) if index is None else index for index in indices)]
    return place.add(values) if accumulate else place.set(values)


def _same(x: Array, *_: Any, **__: Any) -> Array:
    return x


def _as_type(x: Any, dtype: Any = None) -> Array:
    return jnp.asarray(x, dtype) if dtype is not None else jnp.asarray(x)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y, alpha=1: x + alpha * y,
    "sub": lambda x, y, alpha=1: x - alpha * y,
    "rsub": lambda x, y, alpha=1: y - alpha * x,
    "mul": jnp.multiply,
    "div": _div,
    "pow": jnp.power,
    "remainder": jnp.remainder,
    "fmod": jnp.fmod,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "clamp": lambda x, min=None, max=None: jnp.clip(x, min, max),
    "clamp_min": jnp.maximum,
    "clamp_max": jnp.minimum,
    "where": jnp.where,
    "eq": jnp.equal,
    "ne": jnp.not_equal,
    "lt": jnp.less,
    "le": jnp.less_equal,
    "gt": jnp.greater,
    "ge": jnp.greater_equal,
    "logical_and": jnp.logical_and,
    "logical_or": jnp.logical_or,
    "logical_not": jnp.logical_not,
    "bitwise_and": jnp.bitwise_and,
    "bitwise_or": jnp.bitwise_or,
    "bitwise_not": jnp.bitwise_not,
    "neg": jnp.negative,
    "abs": jnp.abs,
    "sign": jnp.sign,
    "reciprocal": lambda x: 1 / x,
    "sqrt": jnp.sqrt,
    "rsqrt": jax.lax.rsqrt,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log2": jnp.log2,
    "log10": jnp.log10,
    "log1p": jnp.log1p,
    "sin": jnp.sin,
    "cos": jnp.cos,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "erf": jax.scipy.special.erf,
    "floor": jnp.floor,
    "ceil": jnp.ceil,
    "round": jnp.round,
    "trunc": jnp.trunc,
    "sum": _sum,
    "mean": _mean,
    "prod": lambda x, dim=None, keepdim=False, dtype=None: jnp.prod(x, axis=dim, keepdims=keepdim, dtype=dtype),
    "amax": lambda x, dim=None, keepdim=False: jnp.max(x, axis=_axes(dim), keepdims=keepdim),
    "amin": lambda x, dim=None, keepdim=False: jnp.min(x, axis=_axes(dim), keepdims=keepdim),
    "cumsum": lambda x, dim, dtype=None: jnp.cumsum(x, axis=dim, dtype=dtype),
    "_softmax": lambda x, dim, half_to_float=False: jax.nn.softmax(x, axis=dim),
    "_log_softmax": lambda x, dim, half_to_float=False: jax.nn.log_softmax(x, axis=dim),
    "mm": jnp.matmul,
    "bmm": jnp.matmul,
    "mv": jnp.matmul,
    "dot": jnp.dot,
    "addmm": lambda c, a, b: c + a @ b,
    "zeros": _filled(0),
    "ones": _filled(1),
    "full": lambda shape, value, dtype=None: jnp.full(shape, value, dtype=dtype),
    "scalar_tensor": _as_type,
    "zeros_like": _like(0),
    "ones_like": _like(1),
    "full_like": lambda x, value, dtype=None: jnp.full_like(x, value, dtype=dtype),
    "arange": _arange,
    "copy": lambda x, y, non_blocking=False: jnp.broadcast_to(jnp.asarray(y, x.dtype), x.shape),
    "_to_copy": _as_type,
    "cat": lambda xs, dim=0: jnp.concatenate(xs, axis=dim),
    "stack": lambda xs, dim=0: jnp.stack(xs, axis=dim),
    "flip": jnp.flip,
    "roll": lambda x, shifts, dims=(): jnp.roll(x, shifts, dims or None),
    "gather": lambda x, dim, index: jnp.take_along_axis(x, index, axis=dim),
    "index_select": lambda x, dim, index: jnp.take(x, index, axis=dim),
    "index": _indexed,
    "index_put": _index_put,
    "select_scatter": lambda x, y, dim, index: x.at[_at(x, dim, index)].set(y),
    "slice_scatter": lambda x, y, *place: x.at[_slice(x, *place)].set(y),
    "repeat": lambda x, counts: jnp.tile(x, counts),
}
_VIEWS: dict[str, Callable[..., Any]] = {
    "view": lambda x, shape: jnp.reshape(x, shape),
    "permute": lambda x, dims: jnp.transpose(x, dims),
    "transpose": lambda x, first, second: jnp.swapaxes(x, first, second),
    "t": jnp.transpose,
    "squeeze": _squeeze,
    "unsqueeze": lambda x, dim: jnp.expand_dims(x, dim),
    "expand": _expand,
    "select": lambda x, dim, index: x[_at(x, dim, index)],
    "slice": lambda x, *place: x[_slice(x, *place)],
    "diagonal": lambda x, offset=0, first=0, second=1: jnp.diagonal(x, offset, first, second),
    "detach": _same,
    "alias": _same,
}
OPERATIONS |= _VIEWS | {f"{name}_copy": view for name, view in _VIEWS.items()}
OPERATIONS |= {"reshape": OPERATIONS["view"], "_unsafe_view": OPERATIONS["view"]}
OPERATIONS |= dict.fromkeys(("clone", "lift_fresh", "lift_fresh_copy"), _same)
