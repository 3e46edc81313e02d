"""Imported games: the exact solver beside the other library's own solvers. Run it by its folder's name, with `-m`."""
