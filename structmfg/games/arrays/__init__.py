"""Games from arrays: `from_arrays` makes a game of tables of transition probabilities and rewards."""

from structmfg.games.arrays._game import ArrayGame, from_arrays

__all__ = ["ArrayGame", "from_arrays"]
