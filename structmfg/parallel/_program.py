"""What a compiled program does on one of its devices, counted in XLA's text of it.

XLA's own `cost_analysis` counts the body of a loop once. Here a body counts as often as the loop runs, which XLA writes
down wherever it knows it.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_SIZES = {"pred": 1, "bf16": 2, "f16": 2, "c64": 8, "c128": 16}  # bytes of a number; of others from their names
_ARRAY = re.compile(r"\b(pred|bf16|[fsuc][0-9]+)(?:e\w+)?\[([0-9,]*)\]")
_HEADER = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_LINE = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id"}
_MOVES = {"broadcast", "iota", "copy", "reshape", "transpose", "slice", "dynamic-slice", "dynamic-update-slice", "pad"}
_MOVES |= {"gather", "concatenate", "reverse", "custom-call", "optimization-barrier", "copy-start"}
_SENDS = ("collective-permute", "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all")
_TRIPS = r'"known_trip_count":\{"n":"([0-9]+)"'
_READS_PART = {"dynamic-slice", "slice", "gather"}


class ProgramCost(NamedTuple):
    """What one device does in a run of a program.

    Attributes:
        flops: Arithmetic operations: two for each product of a matrix product, one for each number that another
            instruction computes, whatever its type.
        bytes_moved: Bytes that instructions read and write; those within a fusion read and write nothing.
        kernels: Instructions that are run one after the other, a fusion being one: on a GPU each is a launch.
        messages: Messages, one after the other: one for a permutation, and as many as a binary tree of the devices has
            levels for a gather or a sum in parts, twice as many for a sum.
        bytes_sent: Bytes that the device sends.
        open_loops: Loops of which XLA does not know how often they run. Their bodies are counted once.
    """

    flops: float = 0.0
    bytes_moved: float = 0.0
    kernels: float = 0.0
    messages: float = 0.0
    bytes_sent: float = 0.0
    open_loops: float = 0.0

    def plus(self, other: "ProgramCost", times: float = 1.0) -> "ProgramCost":
        """This and another, so many times; loops are counted where they stand in the program, and not multiplied."""
        total = ProgramCost(*(a + times * b for a, b in zip(self, other, strict=True)))
        return total._replace(open_loops=self.open_loops + other.open_loops)


class _Instruction(NamedTuple):
    name: str
    kind: str
    type: str
    operands: list[str]
    attributes: str
    is_root: bool


def program_cost(text: str) -> ProgramCost:
    """Count what a device does in a run of a compiled program.

    Args:
        text: The optimised program, of `compiled.as_text()`. With several devices it is that of each of them.

    Returns:
        The cost for one device.

    Raises:
        ValueError: The text is not that of a program of XLA.
    """
    computations: dict[str, dict[str, _Instruction]] = {}
    entry, current = None, {}
    for line in text.splitlines():
        if header := _HEADER.match(line):
            current = computations.setdefault(header[2], {})
            entry = header[2] if header[1] else entry
        elif found := _LINE.match(line):
            current[found[2]] = _parsed(found[2], re.sub(r"/\*.*?\*/", "", found[3]), found[1] is not None)
    if entry is None:
        raise ValueError("a program must be the text of a compiled program (compiled.as_text()), but has no ENTRY")
    return _Counter(computations, _devices(text)).of_computation(entry)


def _devices(text: str) -> int:
    counts = re.findall(r"(?:num_partitions|replica_count)=([0-9]+)", text.partition("\n")[0])
    return math.prod(map(int, counts))


def _parsed(name: str, text: str, is_root: bool) -> _Instruction:
    """The instruction `TYPE KIND(OPERANDS), ATTRIBUTES`."""
    end = _closing(text) if text.startswith("(") else text.index(" ")
    kind, _, rest = text[end:].strip().partition("(")
    end_of_operands = _closing("(" + rest) - 1
    operands = re.findall(r"%([\w.\-]+)", rest[:end_of_operands])
    return _Instruction(name, kind.strip(), text[:end], operands, rest[end_of_operands:], is_root)


def _closing(text: str) -> int:
    """The place after the bracket that closes the first one."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place + 1
    return len(text)


def _shapes(type_text: str) -> list[tuple[str, list[int]]]:
    return [(kind, [int(n) for n in shape.split(",") if n]) for kind, shape in _ARRAY.findall(type_text)]


def _numbers(type_text: str) -> int:
    return sum(math.prod(shape) for _, shape in _shapes(type_text))


def _bytes(type_text: str) -> int:
    sizes = ((_SIZES.get(kind) or int(kind[1:]) // 8, shape) for kind, shape in _shapes(type_text))
    return sum(size * math.prod(shape) for size, shape in sizes)


class _Counter:
    """Costs of the computations of a program for so many devices."""

    def __init__(self, computations: dict[str, dict[str, _Instruction]], devices: int) -> None:
        self._computations, self._devices = computations, devices
        self.of_computation: Callable[[str], ProgramCost] = functools.cache(self._of_computation)

    def _of_computation(self, name: str) -> ProgramCost:
        known = self._computations[name]
        return functools.reduce(ProgramCost.plus, (self._of(each, known) for each in known.values()), ProgramCost())

    def _of(self, each: _Instruction, known: dict[str, _Instruction]) -> ProgramCost:
        called = {text.split("=")[0]: text.split("=%")[-1] for text in re.findall(r"\w+=%[\w.\-]+", each.attributes)}
        if each.kind == "while":
            turn, trips = self.of_computation(called["body"]), re.search(_TRIPS, each.attributes)
            if trips:  # the condition need not be looked at
                return ProgramCost().plus(turn, float(trips[1]))
            cost = turn.plus(self.of_computation(called["condition"]))
            return cost._replace(open_loops=cost.open_loops + 1)
        if each.kind in ("call", "async-start"):
            return self.of_computation(called.get("to_apply") or called["calls"])
        if each.kind == "conditional":
            listed = re.search(r"branch_computations=\{([^}]*)\}", each.attributes)
            branches = re.findall(r"%([\w.\-]+)", listed[1]) if listed else [
                called["true_computation"], called["false_computation"],
            ]  # fmt: skip
            return max(map(self.of_computation, branches), key=lambda cost: cost.flops + cost.bytes_moved)
        if each.kind in _FREE or each.kind.endswith("-done"):
            return ProgramCost()
        if each.kind in ("fusion", "fusion-start"):  # the second on another stream of a GPU
            inner = self._computations[called["calls"]]
            flops = sum(self._flops(other, inner) for other in inner.values())
            return ProgramCost(flops, _bytes_of_fusion(inner), 1.0)
        messages, sent = self._sent(each, known)
        return ProgramCost(self._flops(each, known), _bytes_of(each, known), 1.0, messages, sent)

    def _sent(self, each: _Instruction, known: dict[str, _Instruction]) -> tuple[float, float]:
        """Messages, and bytes that are sent in them."""
        kind = each.kind.removesuffix("-start")
        if kind not in _SENDS:
            return 0.0, 0.0
        data = sum(_bytes(known[name].type) for name in each.operands)
        if kind == "collective-permute":
            return 1.0, float(data)
        size = self._group_size(each.attributes)
        levels, share = math.ceil(math.log2(size)), (size - 1) / size
        if kind == "all-reduce":
            return 2.0 * levels, 2 * share * data
        return float(levels), (size - 1) * data if kind == "all-gather" else share * data

    def _group_size(self, attributes: str) -> int:
        """How many devices take part in one group."""
        if iota := re.search(r"replica_groups=\[([0-9,]+)\]", attributes):  # groups x size, or size alone
            return int(iota[1].split(",")[-1])
        listed = re.search(r"replica_groups=\{\{([0-9,]+)\}", attributes)
        return len(listed[1].split(",")) if listed else self._devices

    def _flops(self, each: _Instruction, known: dict[str, _Instruction]) -> float:
        """Operations of one instruction; within a fusion, of an inner one."""
        kind, result = each.kind, _numbers(each.type)
        if kind in _FREE or kind in _MOVES or kind.removesuffix("-start") in _SENDS[:1]:
            return 0.0
        if kind == "fusion":
            inner = self._computations[re.search(r"calls=%?([\w.\-]+)", each.attributes)[1]]  # type: ignore[index]
            return sum(self._flops(other, inner) for other in inner.values())
        if kind == "dot":
            left = _shapes(known[each.operands[0]].type)[0][1]
            axes = re.search(r"lhs_contracting_dims=\{([0-9,]*)\}", each.attributes)
            return 2.0 * result * math.prod(left[int(axis)] for axis in axes[1].split(",") if axis) if axes else 0.0
        if kind == "convolution":
            kernel = _shapes(known[each.operands[1]].type)[0][1]
            labels = re.search(r"dim_labels=\w+_(\w+)->", each.attributes)
            return 2.0 * result * math.prod(kernel) / kernel[labels[1].index("o")] if labels else 0.0
        if kind == "reduce-window":
            window = re.search(r"size=([0-9x]+)", each.attributes)
            return float(result * math.prod(map(int, window[1].split("x")))) if window else float(result)
        if kind in ("reduce", "all-reduce", "reduce-scatter"):
            return float(_numbers(known[each.operands[0]].type))
        if kind == "scatter":
            return float(_numbers(known[each.operands[-1]].type))
        return 0.0 if kind.removesuffix("-start") in _SENDS else float(result)


def _bytes_of(each: _Instruction, known: dict[str, _Instruction]) -> float:
    """Bytes that an instruction of its own reads and writes."""
    types = [known[name].type for name in each.operands]
    result = _bytes(each.type)
    if each.kind in _READS_PART:
        return 2.0 * result + sum(map(_bytes, types[1:]))
    if each.kind == "dynamic-update-slice":  # in place
        return 2.0 * _bytes(types[1])
    if each.kind == "scatter":  # in place: reads and writes what it changes
        return 3.0 * _bytes(types[-1]) + _bytes(types[-2])
    return float(result + sum(map(_bytes, types)))


def _bytes_of_fusion(inner: dict[str, _Instruction]) -> float:
    """Bytes that a fusion reads and writes: of an array of which it uses slices, or changes one, only these."""
    users: dict[str, list[_Instruction]] = {}
    for each in inner.values():
        for name in {*each.operands}:
            users.setdefault(name, []).append(each)

    def read(array: _Instruction) -> float:
        parts = 0.0
        for user in users.get(array.name, []):
            if user.kind == "bitcast":
                parts += read(user)
            elif user.kind in _READS_PART and user.operands[0] == array.name:
                parts += _bytes(user.type)
            elif user.kind == "dynamic-update-slice" and user.operands[0] == array.name:
                pass
            elif user.kind == "scatter" and user.operands[0] == array.name:
                parts += _bytes(inner[user.operands[-1]].type)
            else:
                return float(_bytes(array.type))
        return min(parts, float(_bytes(array.type)))

    def written(result: _Instruction) -> float:
        if result.kind == "tuple":
            return sum(written(inner[name]) for name in result.operands)
        if result.kind == "bitcast":
            return written(inner[result.operands[0]])
        if result.kind == "dynamic-update-slice":
            return float(_bytes(inner[result.operands[1]].type))
        if result.kind == "scatter":
            return float(_bytes(inner[result.operands[-1]].type))
        return float(_bytes(result.type))

    parameters: list[Any] = [each for each in inner.values() if each.kind == "parameter"]
    return sum(map(read, parameters)) + sum(written(each) for each in inner.values() if each.is_root)
