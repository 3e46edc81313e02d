"""Games of other libraries: `from_openspiel` makes a game of one of OpenSpiel's."""

from structmfg.games.imports._game import ImportedGame
from structmfg.games.imports._openspiel import PREFIX, OpenSpielGame, from_openspiel, openspiel_class

__all__ = ["PREFIX", "ImportedGame", "OpenSpielGame", "from_openspiel", "openspiel_class"]
