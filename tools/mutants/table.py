"""Every mutant there is."""

from __future__ import annotations

from tools.mutants.access import ACCESS
from tools.mutants.battery import BATTERY
from tools.mutants.delivery import DELIVERY
from tools.mutants.edge import EDGE
from tools.mutants.mutant import Mutant
from tools.mutants.outside import OUTSIDE
from tools.mutants.parts import PARTS
from tools.mutants.people import PEOPLE
from tools.mutants.realtime import REALTIME
from tools.mutants.secrecy import SECRECY
from tools.mutants.tokens import TOKENS

MUTANTS: tuple[Mutant, ...] = (
    *DELIVERY,
    *TOKENS,
    *ACCESS,
    *SECRECY,
    *OUTSIDE,
    *PARTS,
    *EDGE,
    *PEOPLE,
    *REALTIME,
    *BATTERY,
)
