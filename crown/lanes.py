"""Several lanes of work with one reader: critical before all else, then normal and bulk at eight to one. What
one lane does not use, the next may."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from crown.pull import Message, Pull

_WEIGHTS: Mapping[str, int] = {"normal": 8, "bulk": 1}


def shares(room: int, waiting: Mapping[str, int]) -> dict[str, int]:
    """How many messages to take from each lane when `room` may be taken and `waiting` wait in each. A lane
    with messages is never left out while there is room for two."""
    taken = {"critical": min(room, waiting.get("critical", 0))}
    left = room - taken["critical"]
    both = sum(_WEIGHTS.values())
    for lane, weight in _WEIGHTS.items():
        share = max(left * weight // both, min(left, 1))
        taken[lane] = min(share, waiting.get(lane, 0))
    for lane in _WEIGHTS:
        spare = room - sum(taken.values())
        taken[lane] += max(0, min(spare, waiting.get(lane, 0) - taken[lane]))
    while sum(taken.values()) > room:
        taken["bulk"] -= 1
    return taken


class Lanes:
    """The pulls of each lane behind one `take`."""

    def __init__(self, pulls: Mapping[str, Sequence[Pull]], wake: asyncio.Event) -> None:
        self._pulls = pulls
        self.wake = wake

    async def start(self) -> None:
        """Starts every pull."""
        for pull in self._all():
            await pull.start()

    async def stop(self) -> None:
        """Stops every pull; what waits unread goes back."""
        for pull in self._all():
            await pull.stop()

    def pause(self) -> None:
        """Asks for nothing more until `resume`."""
        for pull in self._all():
            pull.pause()

    async def resume(self) -> None:
        """Goes on asking."""
        for pull in self._all():
            await pull.resume()

    async def take(self, most: int) -> list[Message]:
        """Up to `most` waiting messages, fairly from the lanes; empty where none wait."""
        waiting = {lane: sum(len(pull) for pull in pulls) for lane, pulls in self._pulls.items()}
        found: list[Message] = []
        for lane, share in shares(most, waiting).items():
            for pull in self._pulls.get(lane, ()):
                taken = await pull.take(share)
                found.extend(taken)
                share -= len(taken)
        return found

    def __len__(self) -> int:
        """Messages that wait here."""
        return sum(len(pull) for pull in self._all())

    async def give_back(self, keep: int, delay_s: float) -> None:
        """Gives back what waits here but the first `keep` of each pull; it comes again after `delay_s`."""
        for pull in self._all():
            await pull.give_back(keep, delay_s)

    async def extend(self) -> None:
        """Keeps what waits here from going to others."""
        for pull in self._all():
            await pull.extend()

    def _all(self) -> list[Pull]:
        return [pull for pulls in self._pulls.values() for pull in pulls]
