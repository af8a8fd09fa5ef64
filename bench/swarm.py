"""Thousands of subscribers of one topic, and who speaks to them, in a process of its own. New messages are said as
the first subscriber gets earlier ones, so that the server always has work and never more than so much."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle, islice

from bench import numbered, wire
from bench.bus import Bus
from bench.child import Answer, Cpu, serve
from bench.entrance import Entrance
from bench.latency import Latencies
from bench.stream import Follower, Reference, Wrong
from bench.visitors import guests
from crown import subjects, vault
from crown.notification.v1.events_pb2 import LiveEvent

_CHUNK_BYTES = 256 << 10
_SILENCE_S = 10.0
_ENTER_LIMIT_S = 60.0
_BREATH_S = 0.01
# Seconds without a word after which nothing is said any more that has to do with coming in.
_QUIET_S = 0.5

Say = Callable[[bytes], None]


class Subscriber:
    """One who has to get what the first one got."""

    __slots__ = ("_follower", "_socket")

    def __init__(self, connected: socket.socket, reference: Reference) -> None:
        self._socket = connected
        self._follower = Follower(reference)

    def read(self) -> None:
        """Reads and checks what is there. Raises Wrong."""
        try:
            chunk = self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        if not chunk:
            raise Wrong("the server closed")
        self._follower.take(chunk)

    @property
    def level(self) -> bool:
        """True where it got all that the first one got, and nothing else. Raises Wrong."""
        return self._follower.level


class Swarm:
    """All of them."""

    def __init__(self, sockets: list[socket.socket], say: Say) -> None:
        self.size = len(sockets)
        self.reference = Reference()
        self._say = say
        self._first, rest = sockets[0], sockets[1:]
        self._first.settimeout(_SILENCE_S)
        self._rest = [Subscriber(one, self.reference) for one in rest]
        self._turns = cycle(self._rest)
        self._said = 0

    def run(self, seconds: float, in_flight: int, read_every: int) -> list[float]:
        """Talks for so long, at most `in_flight` messages ahead of the first subscriber, and waits until everybody
        has everything. The others are read once in `read_every` messages. Answers how many seconds each message
        took to the first one. Raises Wrong."""
        ends = time.perf_counter() + seconds
        said_at, taken_s, got = list[float](), list[float](), 0
        while (going_on := time.perf_counter() < ends) or self.reference.next < self._said:
            while going_on and self._said - self.reference.next < in_flight:
                self._say(numbered.payload(self._said))
                said_at.append(time.perf_counter())
                self._said += 1
            # Only now, so that the server has its next message meanwhile.
            for subscriber in islice(self._turns, got * len(self._rest) // read_every):
                subscriber.read()
            got = self.reference.take(self._first.recv(_CHUNK_BYTES))
            now, seen = time.perf_counter(), len(taken_s)
            taken_s += [now - said for said in said_at[seen : seen + got]]
        self._finish()
        return taken_s

    def _finish(self) -> None:
        """Reads until everybody has the same. Raises Wrong."""
        self._first.setblocking(False)
        limit = time.monotonic() + _SILENCE_S
        while not all(subscriber.level for subscriber in self._rest):
            if time.monotonic() > limit:
                raise Wrong("a subscriber got more or less than the first one")
            time.sleep(_BREATH_S)
            with suppress(BlockingIOError):
                self.reference.take(self._first.recv(_CHUNK_BYTES))
            for subscriber in self._rest:
                subscriber.read()
        self._first.settimeout(_SILENCE_S)


class Load:
    """The child."""

    def __init__(self) -> None:
        self._swarms: dict[str, Swarm] = {}

    async def handle(self, order: Answer) -> Answer:
        """`open` brings a swarm in, under a name; `run` lets one talk."""
        if "open" in order:
            self._open(order["open"])
            return {}
        swarm, cpu, began = self._swarms[order["run"]], Cpu(), time.perf_counter()
        taken_s = swarm.run(order["seconds"], order["in_flight"], order["read_every"])
        return {
            "deliveries": len(taken_s) * swarm.size,
            "seconds": time.perf_counter() - began,
            "latencies": Latencies.of(taken_s).text(),
            "cpu": cpu.share(),
        }

    def _open(self, order: Answer) -> None:
        address, host = (order["host"], order["port"]), f"{order['host']}:{order['port']}"
        entrance = Entrance(address)
        members = [(order["path"], order.get("topic", ""))] * order["size"]
        entrance.enter(guests(host, members), _ENTER_LIMIT_S)
        say = _topic_speaker(order) if "topic" in order else _bare_speaker(address, host)
        sockets = [line.socket for line in entrance.lines.values()]
        while _said_meanwhile(sockets):
            pass
        self._swarms[order["name"]] = Swarm(sockets, say)


def _said_meanwhile(sockets: Sequence[socket.socket]) -> bool:
    """Waits, throws away what came, and tells whether that was anything."""
    time.sleep(_QUIET_S)
    came = False
    for one in sockets:
        with suppress(BlockingIOError):
            came = bool(one.recv(_CHUNK_BYTES)) or came
    return came


def _topic_speaker(order: Answer) -> Say:
    """Says things on a topic: numbered events, published into the stream that the nodes hear."""
    bus, key = Bus(order["nats"]), vault.Key(base64.b64decode(order["data_key"]))
    subject = subjects.live_source(order["topic"])

    def say(payload: bytes) -> None:
        event = LiveEvent(event="message", content=vault.seal(key, payload))
        bus.publish(subject, event.SerializeToString())

    return say


def _bare_speaker(address: tuple[str, int], host: str) -> Say:
    """Says things to all who listen to bench/bare.py."""
    entrance = Entrance(address)
    entrance.enter(guests(host, [("/speak", "")]), _ENTER_LIMIT_S)
    (line,) = entrance.lines.values()
    line.socket.setblocking(True)

    def say(payload: bytes) -> None:
        line.socket.sendall(wire.said(payload))

    return say


if __name__ == "__main__":
    serve(Load().handle)
