"""The targets of the package, and whether this run met them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from structmfg._statistics import log_log_slope
from structmfg.benchmarks.suite._cases import OK, Row, find
from structmfg.benchmarks.suite._correctness import PRODUCTS
from structmfg.benchmarks.suite._peers import BUILT_IN

Status = Literal["met", "missed", "not measured", "for comparison"]


class Target(NamedTuple):
    """A target.

    Attributes:
        name: What is measured.
        wanted: The value that is wanted, in words.
        measured: The value that was measured; None where a measurement is missing.
        status: "met", "missed" or "not measured"; "for comparison" for a figure without a target, shown for comparison.
    """

    name: str
    wanted: str
    measured: float | None
    status: Status


class Scaling(NamedTuple):
    """A fitted power law, seconds ~ states ** exponent, over these sizes."""

    game: str
    form: str
    kernel: str
    direction: str
    sizes: list[int]
    exponent: float


_SINGLE = {"kind": "operator", "paths": 1}
_MACRO = ((1000, "200x5"), (7000, "1000x7"))
_WORDS = {"forward": "A^T mu", "adjoint": "A v"}


def targets(rows: Sequence[Row]) -> list[Target]:
    """All targets, with what the rows say of them."""
    groups = _differences, _ratios, _bandwidth, _exponents, _memory, _peers, _updates
    return [target for group in groups for target in group(rows)]


def _target(name: str, wanted: str, measured: float | None, met: Callable[[float], bool]) -> Target:
    if measured is None:
        return Target(name, wanted, None, "not measured")
    return Target(name, wanted, measured, "met" if met(measured) else "missed")


def _at_least(name: str, measured: float | None, least: float, unit: str = "x") -> Target:
    return _target(name, f"at least {least:g}{unit}", measured, lambda value: value >= least)


def _at_most(name: str, measured: float | None, most: float, unit: str) -> Target:
    return _target(name, f"at most {most:g}{unit}", measured, lambda value: value <= most)


def _ratio(slow: Row | None, fast: Row | None) -> float | None:
    return slow["seconds"] / fast["seconds"] if slow and fast else None


def _differences(rows: Sequence[Row]) -> Iterator[Target]:
    """The largest difference of what the device computes, in units of what is allowed."""
    for precision in PRODUCTS:
        checked = [row for row in rows if row["kind"] == "check" and row["precision"] == precision]
        shares = [row["difference"] / row["tolerance"] for row in checked if "difference" in row]
        worst = float(np.max(np.nan_to_num(shares, nan=np.inf))) if shares else None
        yield _at_most(f"difference to the processor in {precision}, over what is allowed", worst, 1, "x")


def _ratios(rows: Sequence[Row]) -> Iterator[Target]:
    """The times of lists of successors over those of structured operators."""

    def against(game: str, states: int, direction: str, slow: str, fast: str) -> float | None:
        labels = {**_SINGLE, "game": game, "states": states, "direction": direction}
        return _ratio(
            find(rows, form="successors", kernel=slow, **labels), find(rows, form="structured", kernel=fast, **labels)
        )

    for game, states, least in (
        ("linear_quadratic", 10_000, 20),
        ("linear_quadratic", 100_000, 50),
        ("beach_bar", 10_000, 15),
    ):
        for direction, words in _WORDS.items():
            name = f"{game} {words}, S = {states:,}, against successors"
            yield _at_least(name, against(game, states, direction, "prebuilt", "prebuilt"), least)
    # The list of `macro` depends on the mean field, so making it is part of the time; once more without that part.
    for direction, sharing, kernel, least in (
        ("forward", "lottery found at every step", "rebuilt", 4),
        ("adjoint", "sharing the forward pass's lottery", "prebuilt", 20),
    ):
        for states, size in _MACRO:
            name = f"macro {_WORDS[direction]}, {size}, {sharing}, against successors"
            yield _at_least(name, against("macro", states, direction, "rebuilt", kernel), least)
            listed_in_advance = against("macro", states, direction, "prebuilt", kernel)
            yield Target(f"{name} listed in advance", "–", listed_in_advance, "for comparison")


def _bandwidth(rows: Sequence[Row]) -> Iterator[Target]:
    copy = find(rows, kind="copy")
    for game in ("linear_quadratic", "beach_bar"):
        for states in (100_000, 1_000_000):
            for direction, words in _WORDS.items():
                row = find(rows, **_SINGLE, game=game, states=states, form="structured", direction=direction)
                share = 100 * row["bytes_per_second"] / copy["bytes_per_second"] if row and copy else None
                yield _at_least(f"{game} {words}, S = {states:,}, share of the copy's bandwidth", share, 40, " %")


def scaling(rows: Sequence[Row]) -> list[Scaling]:
    """The fitted exponent of every form along one path, over sizes from 10,000 states (`macro`: over all)."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        if row["kind"] == "operator" and row["status"] == OK and row["paths"] == 1 and row["direction"] != "build":
            groups.setdefault((row["game"], row["form"], row["kernel"], row["direction"]), []).append(row)
    fits = []
    for group, members in groups.items():
        fitted = [row for row in members if row["states"] >= 10_000 or row["game"] == "macro"]
        slope = log_log_slope((row["states"], row["seconds"]) for row in fitted)
        if slope is not None:
            fits.append(Scaling(*group, [row["states"] for row in fitted], slope))
    return fits


def _exponents(rows: Sequence[Row]) -> Iterator[Target]:
    fitted = {(fit.game, fit.direction): fit for fit in scaling(rows) if fit.form == "structured"}
    for game in ("linear_quadratic", "beach_bar"):
        for direction, words in _WORDS.items():
            fit = fitted.get((game, direction))
            spans = fit is not None and min(fit.sizes) == 10_000 and max(fit.sizes) == 1_000_000
            yield _target(
                f"{game} {words}, exponent of seconds against S, 10,000 to 1,000,000",
                "1.0 +- 0.1",
                fit.exponent if fit and spans else None,
                lambda value: abs(value - 1) <= 0.1,
            )


def _memory(rows: Sequence[Row]) -> Iterator[Target]:
    for direction, words in _WORDS.items():
        row = find(
            rows, **_SINGLE, game="linear_quadratic", states=1_000_000, form="structured", direction=direction
        )  # fmt: skip
        peak = row["peak_bytes"] / 2**30 if row else None
        yield _at_most(f"linear_quadratic {words}, S = 1,000,000, peak memory", peak, 1, " GiB")


def _peers(rows: Sequence[Row]) -> Iterator[Target]:
    own = find(
        rows, **_SINGLE, game="linear_quadratic", states=99, form="structured", direction="forward"
    )  # fmt: skip
    for peer in BUILT_IN:
        measured = _ratio(find(rows, kind="peer", peer=peer), own)
        yield _at_least(
            f"{peer.rpartition(':')[2]}'s update at 99 states, against linear_quadratic A^T mu", measured, 5000
        )


def _updates(rows: Sequence[Row]) -> Iterator[Target]:
    for game, most in (("beach_bar", 1 / 4), ("macro", 1 / 10)):
        ours = find(rows, kind="update", game=game, update="default, 8 paths")
        paper = find(rows, kind="update", game=game, update="paper, successors")
        name = f"{game}, one RSPG update with 8 paths, against the paper preset's with successors"
        yield _at_most(name, _ratio(ours, paper), most, "x")
