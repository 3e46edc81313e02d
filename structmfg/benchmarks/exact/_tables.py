"""The tables of the exact solvers' benchmark, as plain text."""

from structmfg.benchmarks._tables import Row, table

_CLOSED_FORM = {
    "num_steps": "steps of time", "states": "states", "actions": "actions", "rms_start": "rms t=0",
    "max_start": "max t=0", "rms_middle": "rms t=T/2", "max_middle": "max t=T/2", "variance": "variance",
    "dependence_rms": "dependence rms", "dependence": "dependence max", "exploitability": "exploitability",
    "steps": "steps", "seconds": "seconds", "total_seconds": "total s",
}  # fmt: skip
_OPTIMUM = {
    "game": "game", "paths": "paths", "return": "return", "exploitability": "exploitability", "floor": "floor",
    "result": "result", "steps": "steps", "seconds": "seconds", "total_seconds": "total s",
}  # fmt: skip
_FLOORS = {"information": "information", "floor": "floor", "gap": "exploitability", "result": "result"}
_FLOORS |= {"total_seconds": "total s"}
_CLOCK = {"game": "game", "solver": "solver", "setting": "setting", "exploitability": "at the end"}
_CLOCK |= {"least": "least on the way", "steps": "steps", "seconds": "seconds", "result": "result"}
_MESHES = {"mesh": "mesh", "points": "points", "difference": "to the next", "order": "order"}
_MESHES |= {"steps": "steps", "total_seconds": "total s"}


def tables(result: Row) -> list[str]:
    """The tables of all parts in a result."""
    texts = []
    if part := result.get("linear_quadratic"):
        texts += _comparison("linear_quadratic", part)
        texts.append(table("linear_quadratic: floors of clairvoyant exploitability", _FLOORS, part["floors"]))
    if part := result.get("beach_bar"):
        texts.append(table("Exact equilibria, and floors of clairvoyant exploitability at them", _OPTIMUM, part))
    if part := result.get("carmona_fouque_sun"):
        fitted = {"num_steps": "order", **part["orders"]}
        title = "carmona_fouque_sun: errors of control and variance, and how far the control depends on the noise"
        texts.append(table(title, _CLOSED_FORM, [*part["rows"], fitted]))
    if part := result.get("crowd_modelling"):
        texts += _comparison("crowd_modelling", part)
    if part := result.get("equal_seconds"):
        texts.append(table("Exploitability after equal seconds, the best setting of each", _CLOCK, part))
    for size, rows in result.get("master_equation", {}).items():
        texts.append(table(f"Master equation, {size} states: values by mesh", _MESHES, rows))
    return texts


def _comparison(game: str, part: Row) -> list[str]:
    columns = {"solver": "solver", "setting": "setting", "exploitability": "exploitability", "result": "result"}
    times = {f"after_{steps}": f"after {steps}" for steps in part["at"]}
    columns |= {**times, "steps": "steps", "seconds": "seconds", "total_seconds": "total s"}
    exact = table(f"{game}: the exact solver", columns, part["exact"])
    columns = {"marked": "solver", "setting": "setting"}
    columns |= {
        **times,
        "steps_to_zero": "zero after",
        "steps": "steps",
        "seconds": "seconds",
        "total_seconds": "total s",
    }
    rows = [{**row, "marked": row["solver"] + " *" * row["best"]} for row in part["others"]]
    return [exact, table(f"{game}: exploitability of the classical iterations (*: best setting)", columns, rows)]
