"""Beartype, with an int where a float is annotated, as Python's own type checkers have it."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
