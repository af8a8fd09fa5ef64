"""Changes that the fault battery has to see by itself, whatever smaller tests say: load, a fault, and the checker."""

from __future__ import annotations

from tools.mutants.mutant import Mutant

_DIE = "tests/fault/test_quick.py::test_processes_and_servers_die_and_hang"
_LIMIT_S = 240.0

BATTERY = (
    Mutant(
        "under faults: the answer comes before the bus has stored",
        "accepted means on disk",
        "services/ingest/intake/commit.py",
        "        await asyncio.shield(unit.future)",
        "        await asyncio.sleep(0)",
        (_DIE,),
        limit_s=_LIMIT_S,
    ),
    Mutant(
        "under faults: ack before send",
        "a worker that dies loses nothing",
        "crown/delivery.py",
        "        entry = await self._ledger.load(event)\n        if entry is None:\n",
        "        entry = await self._ledger.load(event)\n        await message.ack()\n        if entry is None:\n",
        (_DIE,),
        limit_s=_LIMIT_S,
    ),
    Mutant(
        "under faults: the breaker never opens",
        "who is down is left alone",
        "crown/circuit.py",
        "        if self._too_bad():\n",
        "        if False:\n",
        ("tests/fault/test_quick.py::test_providers_are_out_and_waited_for",),
        limit_s=_LIMIT_S,
    ),
)
