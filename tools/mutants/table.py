"""Every mutant there is."""

from __future__ import annotations

from tools.mutants.battery import BATTERY
from tools.mutants.delivery import DELIVERY
from tools.mutants.edge import EDGE
from tools.mutants.mutant import Mutant
from tools.mutants.parts import PARTS
from tools.mutants.people import PEOPLE
from tools.mutants.realtime import REALTIME
from tools.mutants.trust import TRUST

MUTANTS: tuple[Mutant, ...] = (*DELIVERY, *TRUST, *PARTS, *EDGE, *PEOPLE, *REALTIME, *BATTERY)
