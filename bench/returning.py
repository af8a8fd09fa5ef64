"""People who come back when they are cut off, and go on from where they were, in a process of its own."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from bench import sockets, wire
from bench.child import Answer, Cpu, serve
from bench.entrance import Entrance
from bench.visitors import join, path

_ABREAST = 256
_TURN_S = 0.05
_OFFSET = b'"offset":'


@dataclass(slots=True)
class Tally:
    """What became of everything, for all of them together."""

    heard: int = 0
    lost: int = 0
    repeated: int = 0
    # Who came back and was told that nothing is missing, or that something may be.
    recovered: int = 0
    unrecovered: int = 0


class Person:
    """One of them, with a topic of their own. Messages are numbered from 0."""

    __slots__ = ("_epoch", "_next", "_offset", "_tally", "_topic", "request")

    def __init__(self, request: bytes, topic: str, tally: Tally) -> None:
        self.request = request
        self._topic = topic
        self._tally = tally
        self._next = 0
        # Where the topic stood when this one last heard of it; no epoch: they were never there.
        self._offset, self._epoch = 0, ""

    @property
    def join(self) -> bytes:
        """Goes on from where it was."""
        return join(self._topic, {"since": self._offset, "epoch": self._epoch} if self._epoch else {})

    def welcome(self, reply: bytes) -> bool:
        """See Visitor."""
        answer = json.loads(reply)[4]
        if answer["status"] != "ok":
            return False
        stands = answer["response"]
        if self._epoch:
            self._tally.recovered += stands["recovered"]
            self._tally.unrecovered += not stands["recovered"]
        self._epoch = stands["epoch"]
        if not stands["recovered"]:
            self._offset = stands["offset"]
        return True

    def hear(self, text: bytes) -> None:
        """Counts a message."""
        number, tally = sockets.number(text), self._tally
        if number < 0:
            return
        tally.heard += 1
        tally.repeated += number < self._next
        tally.lost += max(0, number - self._next)
        self._next = max(self._next, number + 1)
        self._offset = _offset(text)


def _offset(text: bytes) -> int:
    at = text.rfind(_OFFSET) + len(_OFFSET)
    return int(text[at:].partition(b",")[0].rstrip(b"}]"))


class Load:
    """The child."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._entrance = Entrance(("", 0))

    async def handle(self, order: Answer) -> Answer:
        """`enter` brings all in; `ride` lets them listen until `expect` messages came and all are back."""
        if "enter" in order:
            self._enter(order)
            return {}
        return self._ride(order["expect"], order["limit_s"])

    def _enter(self, order: Answer) -> None:
        address = (order["host"], order["port"])
        self._entrance = Entrance(address, _ABREAST, again=True)
        host = f"{order['host']}:{order['port']}"
        people = [
            Person(wire.request(host, path(token)), topic, self._tally) for token, topic in order["enter"]
        ]
        self._entrance.enter(people, order["limit_s"])

    def _ride(self, expect: int, limit_s: float) -> Answer:
        entrance, tally, cpu = self._entrance, self._tally, Cpu()
        size, cut_at, back_at = entrance.inside, 0.0, 0.0
        limit = time.perf_counter() + limit_s
        while tally.heard + tally.lost < expect or not back_at:
            entrance.turn(_TURN_S)
            now = time.perf_counter()
            if now > limit:
                break
            if not cut_at and entrance.cut:
                cut_at = now
            elif cut_at and not back_at and entrance.inside == size:
                back_at = now
        return {
            "away_s": back_at - cut_at if back_at else None,
            "cpu": cpu.share(),
            "heard": tally.heard,
            # What did not come by the end is lost as well.
            "lost": max(tally.lost, expect - tally.heard + tally.repeated),
            "repeated": tally.repeated,
            "recovered": tally.recovered,
            "unrecovered": tally.unrecovered,
        }


if __name__ == "__main__":
    serve(Load().handle)
