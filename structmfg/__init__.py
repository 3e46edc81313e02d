from structmfg import games, operators
