"""Games of other libraries: `from_openspiel` makes a game of one of OpenSpiel's."""

from structmfg.games.imports._game import ImportedGame
from structmfg.games.imports._nodes import name_of as openspiel_name_of
from structmfg.games.imports._openspiel import OPENSPIEL_PREFIX, OpenSpielGame, from_openspiel, openspiel_class

__all__ = [
    "OPENSPIEL_PREFIX",
    "ImportedGame",
    "OpenSpielGame",
    "from_openspiel",
    "openspiel_class",
    "openspiel_name_of",
]
