"""Games of infinite horizon, as Bench-MFG has them, with its parameters: five small ones whose equilibria are known.

The source is the package bench-mfg-suite (Magnino, 2026; MIT licence). Its returns end after 100 steps, so that its
exploitabilities are smaller by up to .9^99 times a reward.
"""

from structmfg.games.stationary._chain import LasryLionsChain, TwoBeachBars
from structmfg.games.stationary._four_rooms import FourRooms
from structmfg.games.stationary._rock_paper_scissors import RockPaperScissors
from structmfg.games.stationary._sis import SISEpidemic

__all__ = ["FourRooms", "LasryLionsChain", "RockPaperScissors", "SISEpidemic", "TwoBeachBars"]
