"""Clients that say something, wait for the answer, and say something again, in a process of its own."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence

from bench import wire
from bench.child import Answer, BenchError, Cpu, serve
from bench.entrance import Entrance
from bench.visitors import guests

_CHUNK_BYTES = 4_096
_SILENCE_S = 5.0
_ENTER_LIMIT_S = 10.0


class Player:
    """One of them. Each answer has to be the one to what was said last."""

    __slots__ = ("_heard", "_said", "_socket", "_turn", "rounds")

    def __init__(self, connected: socket.socket, said: Sequence[bytes], heard: Sequence[bytes]) -> None:
        self._socket = connected
        self._said = said
        self._heard = heard
        self._turn = 0
        self.rounds = 0

    def say(self) -> None:
        """Says the next thing."""
        self._socket.send(self._said[self._turn])

    def listen(self) -> None:
        """Takes the answer. Raises BenchError where it is another one."""
        # On one machine a frame of a few bytes comes in one piece.
        found = self._socket.recv(_CHUNK_BYTES)
        if found != self._heard[self._turn]:
            raise BenchError(f"{found[:120]!r} is not the answer to {self._said[self._turn]!r}")
        self._turn = (self._turn + 1) % len(self._said)
        self.rounds += 1


class Table:
    """All who play, and how long."""

    def __init__(self, players: dict[int, Player], poll: select.epoll) -> None:
        self._players = players
        self._poll = poll

    def play(self, seconds: float) -> int:
        """How many rounds they made. Raises BenchError where an answer is missing."""
        before, players, poll = self._rounds(), self._players, self._poll
        for player in players.values():
            player.say()
        waiting, ends = len(players), time.perf_counter() + seconds
        while waiting:
            ready = poll.poll(_SILENCE_S)
            if not ready:
                raise BenchError(f"{waiting} answers are missing")
            going_on = time.perf_counter() < ends
            for number, _ in ready:
                player = players[number]
                player.listen()
                if going_on:
                    player.say()
                else:
                    waiting -= 1
        return self._rounds() - before

    def _rounds(self) -> int:
        return sum(player.rounds for player in self._players.values())


class Load:
    """The child."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    async def handle(self, order: Answer) -> Answer:
        """`open` brings players in, under a name; `play` lets them play."""
        if "open" in order:
            self._tables[order["open"]["name"]] = _open(order["open"])
            return {}
        cpu, began = Cpu(), time.perf_counter()
        rounds = self._tables[order["play"]].play(order["seconds"])
        return {"rounds": rounds, "per_s": rounds / (time.perf_counter() - began), "cpu": cpu.share()}


def _open(order: Answer) -> Table:
    entrance = Entrance((order["host"], order["port"]))
    host = f"{order['host']}:{order['port']}"
    entrance.enter(guests(host, [(order["path"], "")] * order["size"]), _ENTER_LIMIT_S)
    said = [wire.said(text.encode()) for text in order["said"]]
    heard = [wire.heard(text.encode()) for text in order["heard"]]
    poll, players = select.epoll(), {}
    for number, line in entrance.lines.items():
        players[number] = Player(line.socket, said, heard)
        poll.register(number, select.EPOLLIN)
    return Table(players, poll)


if __name__ == "__main__":
    serve(Load().handle)
